//! RFC 6062: connections to peers and from them, on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use fanfare_turn::budget::Rate;
use fanfare_turn::relay::Config;
use fanfare_turn::server::{Server, ServerConfig};
use fanfare_turn::stun::{AttributeType, Class, Message, Method};

mod live;

use live::{Client, PATIENCE, Wire, config, counted, start};

const TCP: [u8; 4] = [6, 0, 0, 0];

fn server(threads: u16) -> Server {
    let config = config();
    start(ServerConfig {
        threads,
        config: Config {
            has_tcp: true,
            connections_max: 4,
            ..config.config
        },
        ..config
    })
}

fn allocate(client: &mut Client) -> SocketAddr {
    let (code, answer) = client.ask(Method::ALLOCATE, |writer| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &TCP);
    });
    assert_eq!(code, None);
    let message = Message::parse(&answer).expect("a message");
    let relayed = message.first(AttributeType::XOR_RELAYED_ADDRESS);
    message
        .address(relayed.expect("an address"))
        .expect("an address")
}

/// Asks for a connection; its number, or the error.
fn connect(client: &mut Client, peer: SocketAddr) -> Result<[u8; 4], u16> {
    let (code, answer) = client.ask(Method::CONNECT, |writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    });
    code.map_or_else(|| Ok(id_in(&answer)), Err)
}

fn id_in(bytes: &[u8]) -> [u8; 4] {
    let message = Message::parse(bytes).expect("a message");
    let id = message
        .first(AttributeType::CONNECTION_ID)
        .expect("a number");
    id.try_into().expect("four bytes")
}

/// Opens another connection and asks for this one, whose peer has not said anything; the stream, or the error.
fn bind(server: &Server, id: [u8; 4]) -> Result<TcpStream, u16> {
    let (stream, rest) = bind_and_hear(server, id)?;
    assert!(rest.is_empty());
    Ok(stream)
}

/// The same, with what came right behind the answer.
fn bind_and_hear(server: &Server, id: [u8; 4]) -> Result<(TcpStream, Vec<u8>), u16> {
    let mut data = Client::tcp(server);
    let (code, _) = data.ask(Method::CONNECTION_BIND, |writer| {
        writer.attribute(AttributeType::CONNECTION_ID, &id);
    });
    match (code, data.wire) {
        (None, Wire::Tcp(stream, rest)) => Ok((stream, rest)),
        (code, _) => Err(code.expect("an error")),
    }
}

fn peer() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = listener.local_addr().expect("bound");
    (listener, at)
}

fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (stream, from) = listener.accept().expect("a connection");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket option");
    (stream, from)
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).expect("bytes in time");
    assert!(read == bytes);
}

#[test]
fn a_client_connects_to_a_peer_and_both_hear_each_other() {
    for threads in [1, 3] {
        let server = server(threads);
        let mut client = Client::tcp(&server);
        let relayed = allocate(&mut client);
        let (listener, at) = peer();
        let id = connect(&mut client, at).expect("connected");
        let (mut peer, from) = accept(&listener);
        assert_eq!(from, relayed);
        // What is said before anybody asks for it waits.
        peer.write_all(b"early").expect("sent");
        let (mut data, heard) = bind_and_hear(&server, id).expect("bound");
        let left = b"early".strip_prefix(&heard[..]).expect("what was said");
        expect(&mut data, left);
        for length in [1_usize, 4, 1_000, 100_000, 1_000_000] {
            let bytes: Vec<u8> = (0..=250_u8).cycle().take(length).collect();
            let mut writer = data.try_clone().expect("a copy");
            let sent = bytes.clone();
            let writing = std::thread::spawn(move || writer.write_all(&sent));
            expect(&mut peer, &bytes);
            writing.join().expect("no panic").expect("sent");
            let mut writer = peer.try_clone().expect("a copy");
            let sent = bytes.clone();
            let writing = std::thread::spawn(move || writer.write_all(&sent));
            expect(&mut data, &bytes);
            writing.join().expect("no panic").expect("sent");
        }
        // One end that goes takes the other with it, when it has heard everything.
        peer.write_all(b"goodbye").expect("sent");
        drop(peer);
        expect(&mut data, b"goodbye");
        assert_eq!(data.read(&mut [0; 1]).expect("the end"), 0);
        counted(&server, |it| it.connections == 0 && it.streams == 1);
        assert_eq!(client.refresh(0), None);
        counted(&server, |it| it.allocations == 0 && it.sockets == 0);
        server.stop();
    }
}

#[test]
fn a_peer_connects_to_a_client_that_has_permitted_it() {
    let server = server(1);
    let mut client = Client::tcp(&server);
    let relayed = allocate(&mut client);
    // Not without a permission.
    let mut stranger = TcpStream::connect(relayed).expect("a connection");
    stranger
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket option");
    assert_eq!(stranger.read(&mut [0; 1]).unwrap_or(0), 0);
    counted(&server, |it| it.connections_refused == 1);
    assert_eq!(
        client.permit("127.0.0.1:9".parse().expect("a socket")),
        None
    );
    let mut peer = TcpStream::connect(relayed).expect("a connection");
    peer.set_read_timeout(Some(PATIENCE))
        .expect("a socket option");
    let attempt = client.receive();
    let message = Message::parse(&attempt).expect("a message");
    assert_eq!(
        (message.class(), message.method()),
        (Class::Indication, Method::CONNECTION_ATTEMPT)
    );
    let from = message
        .first(AttributeType::XOR_PEER_ADDRESS)
        .expect("a peer");
    assert_eq!(
        message.address(from),
        Some(peer.local_addr().expect("bound"))
    );
    let mut data = bind(&server, id_in(&attempt)).expect("bound");
    peer.write_all(b"from the peer").expect("sent");
    expect(&mut data, b"from the peer");
    data.write_all(b"from the client").expect("sent");
    expect(&mut peer, b"from the client");
    // What belongs to an allocation ends with it.
    drop(client);
    assert_eq!(peer.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(data.read(&mut [0; 1]).unwrap_or(0), 0);
    counted(&server, |it| {
        (it.allocations, it.streams, it.connections) == (0, 0, 0)
    });
    server.stop();
}

#[test]
fn a_connection_is_for_who_has_its_number_once() {
    let server = server(1);
    let mut client = Client::tcp(&server);
    allocate(&mut client);
    let (listener, at) = peer();
    let id = connect(&mut client, at).expect("connected");
    let _peer = accept(&listener);
    // A second one to the same peer (446), and one to where nobody listens (447).
    assert_eq!(connect(&mut client, at), Err(446));
    let (gone, nobody_at) = peer();
    drop(gone);
    assert_eq!(connect(&mut client, nobody_at), Err(447));
    // A peer that may not be reached (403), whatever it is written as.
    for denied in ["10.0.0.1:80", "[::ffff:10.0.0.1]:80", "169.254.169.254:80"] {
        assert_eq!(
            connect(&mut client, denied.parse().expect("a socket")),
            Err(403)
        );
    }
    let mut wrong = id;
    wrong[3] ^= 1;
    assert!(matches!(bind(&server, wrong), Err(400)));
    let _data = bind(&server, id).expect("bound");
    assert!(matches!(bind(&server, id), Err(400)));
    // The connection that something was allocated over stays one for messages.
    let (other_listener, other_at) = peer();
    let other = connect(&mut client, other_at).expect("connected");
    let _other_peer = accept(&other_listener);
    let (code, _) = client.ask(Method::CONNECTION_BIND, |writer| {
        writer.attribute(AttributeType::CONNECTION_ID, &other);
    });
    assert_eq!(code, Some(400));
    assert_eq!(client.refresh(600), None);
    server.stop();
}

#[test]
fn an_allocation_has_so_many_connections() {
    let server = server(1);
    let mut client = Client::tcp(&server);
    allocate(&mut client);
    let peers: Vec<_> = (0..5).map(|_| peer()).collect();
    let mut open = Vec::new();
    for (listener, at) in &peers[..4] {
        connect(&mut client, *at).expect("connected");
        open.push(accept(listener));
    }
    assert_eq!(connect(&mut client, peers[4].1), Err(508));
    counted(&server, |it| it.connections == 4);
    server.stop();
}

#[test]
fn streams_are_asked_for_as_the_rfc_says() {
    let server = server(1);
    // Not over UDP, not with a pair of ports, not with anything but UDP and TCP.
    let mut udp = Client::udp(&server);
    let code = |client: &mut Client, attributes: &[(AttributeType, &[u8])]| {
        let (code, _) = client.ask(Method::ALLOCATE, |writer| {
            for (kind, value) in attributes {
                writer.attribute(*kind, value);
            }
        });
        code
    };
    let transport = (AttributeType::REQUESTED_TRANSPORT, &TCP[..]);
    assert_eq!(code(&mut udp, &[transport]), Some(400));
    let mut tcp = Client::tcp(&server);
    assert_eq!(
        code(&mut tcp, &[transport, (AttributeType::EVEN_PORT, &[0x80])]),
        Some(400)
    );
    assert_eq!(
        code(&mut tcp, &[transport, (AttributeType::DONT_FRAGMENT, &[])]),
        Some(400)
    );
    let unknown = (AttributeType::REQUESTED_TRANSPORT, &[33, 0, 0, 0][..]);
    assert_eq!(code(&mut tcp, &[unknown]), Some(442));
    allocate(&mut tcp);
    // An allocation of TCP has no channels.
    assert_eq!(
        tcp.bind(0x4000, "127.0.0.1:9".parse().expect("a socket")),
        Some(400)
    );
    server.stop();
    // And not at all unless the operator wants it.
    let server = start(config());
    assert_eq!(code(&mut Client::tcp(&server), &[transport]), Some(442));
    server.stop();
}

#[test]
fn a_pipe_waits_for_what_its_allocation_may_relay() {
    const AT_ONCE: u32 = 100_000;
    /// What one receive may bring beyond it.
    const RECEIVE: u64 = 1 << 17;
    let config = config();
    let server = start(ServerConfig {
        config: Config {
            has_tcp: true,
            // In the long run next to nothing.
            bytes: Rate::new(1, AT_ONCE),
            ..config.config
        },
        ..config
    });
    let send = |count: usize| {
        let mut client = Client::tcp(&server);
        allocate(&mut client);
        let (listener, at) = peer();
        let id = connect(&mut client, at).expect("connected");
        let (peer, _) = accept(&listener);
        let mut data = bind(&server, id).expect("bound");
        data.write_all(&vec![7; count]).expect("sent");
        (client, peer, data)
    };
    let _much = send(1 << 20);
    let slowed = counted(&server, |it| it.pipes_slowed == 1);
    assert!(slowed.bytes_piped >= u64::from(AT_ONCE));
    // Others are not held up, and by the time that they are through, no more has come.
    let (_client, mut peer, _data) = send(50_000);
    let mut buffer = vec![0; 50_000];
    peer.read_exact(&mut buffer).expect("all of it");
    let all = counted(&server, |it| it.bytes_piped >= 50_000);
    assert_eq!(all.pipes_slowed, 1);
    assert!(all.bytes_piped - 50_000 <= u64::from(AT_ONCE) + RECEIVE);
    server.stop();
}

#[test]
fn a_pipe_goes_on_when_it_has_waited() {
    const BYTES: usize = 300_000;
    let config = config();
    let server = start(ServerConfig {
        config: Config {
            has_tcp: true,
            bytes: Rate::new(200_000, 100_000),
            ..config.config
        },
        ..config
    });
    let mut client = Client::tcp(&server);
    allocate(&mut client);
    let (listener, at) = peer();
    let id = connect(&mut client, at).expect("connected");
    let (mut peer, _) = accept(&listener);
    let mut data = bind(&server, id).expect("bound");
    data.write_all(&vec![7; BYTES]).expect("sent");
    let mut buffer = vec![0; BYTES];
    peer.read_exact(&mut buffer).expect("all of it");
    peer.write_all(&buffer).expect("sent");
    data.read_exact(&mut buffer).expect("all of it");
    assert!(buffer.iter().all(|it| *it == 7));
    let all = counted(&server, |it| it.bytes_piped == 2 * BYTES as u64);
    assert!(all.pipes_slowed >= 2, "{all:?}");
    server.stop();
}

#[test]
fn a_pipe_holds_no_more_than_it_may() {
    let server = server(1);
    let mut client = Client::tcp(&server);
    allocate(&mut client);
    let (listener, at) = peer();
    let id = connect(&mut client, at).expect("connected");
    let (mut peer, _) = accept(&listener);
    let mut data = bind(&server, id).expect("bound");
    // The peer does not read: the client can send what the queues hold, and then has to wait.
    data.set_nonblocking(true).expect("a socket option");
    let block = [7; 65_536];
    let mut sent: usize = 0;
    let mut refused = 0;
    while refused < 50 {
        match data.write(&block) {
            Ok(count) => {
                sent += count;
                refused = 0;
            }
            Err(_) => {
                refused += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
    // Four queues of the kernel, of 4 MiB each at most, and ours.
    assert!(sent < 32 << 20, "{sent} bytes wait somewhere");
    // Nothing of it is lost.
    let mut read = 0;
    let mut buffer = vec![0; 1 << 16];
    while read < sent {
        let count = peer.read(&mut buffer).expect("bytes in time");
        assert!(count > 0 && buffer[..count].iter().all(|it| *it == 7));
        read += count;
    }
    assert_eq!(read, sent);
    // And it goes on in both directions.
    data.set_nonblocking(false).expect("a socket option");
    data.write_all(b"more").expect("sent");
    expect(&mut peer, b"more");
    peer.write_all(b"and back").expect("sent");
    expect(&mut data, b"and back");
    server.stop();
}
