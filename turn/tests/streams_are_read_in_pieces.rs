//! Clients that come over TCP, and what they may get wrong.

use std::io::{Read, Write};

use fanfare_turn::server::{ServerConfig, StreamLimits};
use fanfare_turn::stun::{AttributeType, Method};

mod live;

use live::{
    Client, Wire, channel_data, config, counted, receive_from, start, tcp_stream, udp_socket,
};

const CHANNEL: u16 = 0x4000;

#[test]
fn bytes_may_come_one_by_one_or_all_at_once() {
    let server = start(config());
    let mut client = Client::tcp(&server);
    let peer = udp_socket("127.0.0.1:0");
    let relayed = client.allocate();
    assert_eq!(
        client.bind(CHANNEL, peer.local_addr().expect("bound")),
        None
    );
    let mut all = Vec::new();
    for length in 0..9_u8 {
        all.extend(channel_data(CHANNEL, &vec![length; usize::from(length)], 4));
    }
    let refresh = client.request(Method::REFRESH, |writer| {
        writer.attribute(AttributeType::LIFETIME, &600_u32.to_be_bytes());
    });
    all.extend(&refresh);
    for byte in &all {
        client.send(std::slice::from_ref(byte));
    }
    client.send(&all);
    for _ in 0..2 {
        for length in 0..9_u8 {
            let data = vec![length; usize::from(length)];
            assert_eq!(receive_from(&peer), (data, relayed));
        }
        assert_eq!(client.receive()[..2], [1, 4]);
    }
    counted(&server, |it| it.packets_to_peers == 18 && it.streams == 1);
    server.stop();
}

#[test]
fn garbage_ends_a_connection_with_its_first_byte() {
    let server = start(config());
    for (count, bytes) in [&b"\x80"[..], b"\xff\xff", b"\x50\0\0\0", b"\x7f"]
        .into_iter()
        .enumerate()
    {
        let mut stream = tcp_stream(&server);
        stream.write_all(bytes).expect("sent");
        assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
        counted(&server, |it| {
            it.streams_garbage == count as u64 + 1 && it.streams == 0
        });
    }
    // An HTTP request reads as the beginning of ChannelData, longer than anything that may come from who has no allocation.
    let mut stream = tcp_stream(&server);
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
        .expect("sent");
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    counted(&server, |it| it.streams_garbage == 5 && it.streams == 0);
    server.stop();
}

#[test]
fn what_is_allocated_over_a_connection_ends_with_it() {
    let server = start(config());
    let mut client = Client::tcp(&server);
    client.allocate();
    counted(&server, |it| {
        (it.allocations, it.sockets, it.streams) == (1, 1, 1)
    });
    drop(client);
    counted(&server, |it| {
        (it.allocations, it.sockets, it.streams) == (0, 0, 0)
    });
    assert_eq!(server.handle().allocation_count(), 0);
    server.stop();
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let server = start(ServerConfig {
        streams: StreamLimits {
            idle_s: 1,
            ..StreamLimits::default()
        },
        ..config()
    });
    let mut client = Client::tcp(&server);
    client.allocate();
    // Half a message, byte by byte, is as good as nothing.
    let mut slow = tcp_stream(&server);
    slow.write_all(&[0, 3, 0]).expect("sent");
    assert_eq!(slow.read(&mut [0; 16]).unwrap_or(0), 0);
    counted(&server, |it| it.streams_idle == 1 && it.streams == 1);
    // Who has an allocation may stay.
    assert_eq!(client.refresh(600), None);
    server.stop();
}

#[test]
fn there_are_so_many_connections_and_so_many_strangers() {
    let server = start(ServerConfig {
        streams: StreamLimits {
            streams_max: 5,
            strangers_max: 2,
            ..StreamLimits::default()
        },
        ..config()
    });
    let strangers: Vec<_> = (0..2).map(|_| tcp_stream(&server)).collect();
    counted(&server, |it| it.streams == 2);
    let mut refused = tcp_stream(&server);
    assert_eq!(refused.read(&mut [0; 16]).unwrap_or(0), 0);
    counted(&server, |it| it.streams_refused == 1);
    drop(strangers);
    counted(&server, |it| it.streams == 0);
    let mut known: Vec<_> = (0..5)
        .map(|count| {
            let mut client = Client::tcp(&server);
            client.allocate();
            counted(&server, |it| it.streams == count + 1);
            client
        })
        .collect();
    let mut refused = tcp_stream(&server);
    assert_eq!(refused.read(&mut [0; 16]).unwrap_or(0), 0);
    counted(&server, |it| it.streams_refused == 2);
    assert_eq!(known[4].refresh(600), None);
    server.stop();
}

#[test]
fn one_source_has_so_many_strangers() {
    let server = start(ServerConfig {
        streams: StreamLimits {
            strangers_per_source_max: 3,
            ..StreamLimits::default()
        },
        ..config()
    });
    let mut refused = 0;
    let mut is_refused = || {
        let mut late = tcp_stream(&server);
        assert_eq!(late.read(&mut [0; 16]).unwrap_or(0), 0);
        refused += 1;
        counted(&server, |it| it.streams_refused == refused);
    };
    let mut clients: Vec<_> = (0..3).map(|_| Client::tcp(&server)).collect();
    counted(&server, |it| it.streams == 3);
    is_refused();
    // To speak is not enough, for anybody can.
    assert_eq!(clients[0].ask(Method::BINDING, |_| {}).0, None);
    is_refused();
    // Who has an allocation is none, and leaves the place to another.
    clients[0].allocate();
    let another = Client::tcp(&server);
    counted(&server, |it| it.streams == 4);
    is_refused();
    // So does who leaves, however they were counted.
    drop(clients);
    drop(another);
    counted(&server, |it| it.streams == 0);
    let clients: Vec<_> = (0..3).map(|_| Client::tcp(&server)).collect();
    counted(&server, |it| it.streams == 3);
    is_refused();
    drop(clients);
    server.stop();
}

#[test]
fn a_client_that_does_not_read_loses_what_it_does_not_take() {
    const MESSAGES: u64 = 4_000;
    let server = start(ServerConfig {
        streams: StreamLimits {
            unsent_bytes_max: 128 << 10,
            ..StreamLimits::default()
        },
        ..config()
    });
    let mut client = Client::tcp(&server);
    let peer = udp_socket("127.0.0.1:0");
    let relayed = client.allocate();
    assert_eq!(
        client.bind(CHANNEL, peer.local_addr().expect("bound")),
        None
    );
    // More than the kernel's queues and ours hold together.
    for number in 0..MESSAGES {
        let mut data = vec![0; 8_000];
        data[..8].copy_from_slice(&number.to_be_bytes());
        peer.send_to(&data, relayed).expect("sent");
        // As fast as the relay takes it, so that all that is lost is lost on the stream.
        counted(&server, |it| {
            it.packets_to_clients + it.stream_messages_dropped == number + 1
        });
    }
    let dropped = server.handle().counters()[0].stream_messages_dropped;
    assert!(dropped > 0, "the queues held everything");
    // What arrives is whole and in order, whatever is missing between.
    let mut last = None;
    for _ in 0..MESSAGES - dropped {
        let message = client.receive();
        assert_eq!(message.len(), 8_004);
        let number = u64::from_be_bytes(message[4..12].try_into().expect("eight bytes"));
        assert!(last < Some(number));
        last = Some(number);
    }
    // And it goes on from there.
    peer.send_to(b"news", relayed).expect("sent");
    assert_eq!(client.receive(), channel_data(CHANNEL, b"news", 4));
    assert!(matches!(client.wire, Wire::Tcp(..)));
    server.stop();
}
