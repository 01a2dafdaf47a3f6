//! Pipes of which one half has ended while the other has not taken everything yet (RFC 6062).
#![allow(missing_docs)]

mod live;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use fanfare_turn::relay::Config;
use fanfare_turn::server::{Server, ServerConfig, StreamLimits};
use fanfare_turn::stun::{AttributeType, Message, Method};
use live::{Client, PATIENCE, Wire, config, counted, start};

/// What the relay is to keep for who does not read: more than nothing, and too little for it to stop listening.
const KEPT_BYTES: u64 = 64 << 10;

const CONNECTIONS_MAX: usize = 4;

fn server(idle_s: u32) -> Server {
    let config = config();
    start(ServerConfig {
        config: Config {
            has_tcp: true,
            connections_max: CONNECTIONS_MAX,
            ..config.config
        },
        streams: StreamLimits {
            idle_s,
            ..StreamLimits::default()
        },
        ..config
    })
}

fn allocate(client: &mut Client) {
    let (code, _) = client.ask(Method::ALLOCATE, |writer| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
    });
    assert_eq!(code, None);
}

/// Connects to a peer; both ends, of which the client's takes little, or the code of the error.
fn pipe(server: &Server, client: &mut Client) -> Result<(TcpStream, TcpStream), u16> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = listener.local_addr().expect("bound");
    let (code, answer) = client.ask(Method::CONNECT, |writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, at);
    });
    if let Some(code) = code {
        return Err(code);
    }
    let message = Message::parse(&answer).expect("a message");
    let id = message.first(AttributeType::CONNECTION_ID);
    let id = id.expect("a number").to_vec();
    let (peer, _) = listener.accept().expect("a connection");
    let mut data = Client::tcp(server);
    let Wire::Tcp(stream, _) = &data.wire else {
        unreachable!("it is one of TCP");
    };
    let options = socket2::SockRef::from(stream);
    options.set_recv_buffer_size(4_096).expect("an option");
    let (code, _) = data.ask(Method::CONNECTION_BIND, |writer| {
        writer.attribute(AttributeType::CONNECTION_ID, &id);
    });
    match (code, data.wire) {
        (None, Wire::Tcp(stream, _)) => Ok((peer, stream)),
        (code, _) => Err(code.expect("an error")),
    }
}

/// Bytes that wait in the kernel between two sockets of one connection.
fn kernel_bytes(one: SocketAddr, other: SocketAddr) -> u64 {
    let name = |of: SocketAddr| format!("0100007F:{:04X}", of.port());
    let hex = |text: &str| u64::from_str_radix(text, 16).expect("a number");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let lines = table.lines().map(|it| it.split_whitespace().collect());
    let of_both = |it: &Vec<&str>| {
        let ends = [it[1], it[2]];
        ends == [name(one), name(other)] || ends == [name(other), name(one)]
    };
    let queues = lines.filter(of_both).map(|it| {
        let (sent, received) = it[4].split_once(':').expect("two queues");
        hex(sent) + hex(received)
    });
    queues.sum()
}

/// One whose peer has said something and gone, and whose client has not read it yet, though it may from now on: the stream,
/// and how many bytes there are.
fn half_a_pipe(server: &Server, client: &mut Client) -> (TcpStream, usize) {
    let before = counted(server, |_| true).bytes_piped;
    let (mut peer, data) = pipe(server, client).expect("a pipe");
    let ends = (data.local_addr(), data.peer_addr());
    let (here, there) = (ends.0.expect("bound"), ends.1.expect("connected"));
    let mut said = 0;
    while said < KEPT_BYTES + kernel_bytes(here, there) {
        peer.write_all(&[7; 8_192]).expect("sent");
        said += 8_192;
        counted(server, |it| it.bytes_piped == before + said);
    }
    // The relay has closed its half when it has heard of the end.
    peer.shutdown(Shutdown::Write).expect("an end");
    assert_eq!(peer.read(&mut [0]).expect("an end"), 0);
    let options = socket2::SockRef::from(&data);
    options.set_recv_buffer_size(1 << 20).expect("an option");
    data.set_read_timeout(Some(PATIENCE)).expect("an option");
    (data, usize::try_from(said).expect("it fits"))
}

#[test]
fn what_is_said_into_half_a_pipe_reaches_nobody() {
    let server = server(30);
    let mut client = Client::tcp(&server);
    allocate(&mut client);
    let (mut data, said) = half_a_pipe(&server, &mut client);
    // Whoever comes next has the slot of the peer that has gone. All of them are there before anything is said.
    let mut next: Vec<Client> = (0..3).map(|_| Client::tcp(&server)).collect();
    for client in &mut next {
        client.allocate();
    }
    data.write_all(b"said to nobody").expect("sent");
    let mut heard = Vec::new();
    data.read_to_end(&mut heard).expect("all of it");
    // The reader has everything, though it said something meanwhile.
    assert_eq!((heard.len(), heard.iter().all(|it| *it == 7)), (said, true));
    for client in &mut next {
        // The answer is the first thing that each hears.
        assert_eq!(client.refresh(600), None);
    }
    assert_eq!(
        counted(&server, |it| it.connections == 0).streams_garbage,
        0
    );
    server.stop();
}

#[test]
fn halves_of_pipes_count_until_they_have_taken_everything() {
    let server = server(30);
    let mut client = Client::tcp(&server);
    allocate(&mut client);
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        kept.push(half_a_pipe(&server, &mut client));
    }
    assert_eq!(pipe(&server, &mut client).map(drop), Err(508));
    for (mut data, said) in kept {
        let mut heard = Vec::new();
        data.read_to_end(&mut heard).expect("all of it");
        assert_eq!(heard.len(), said);
    }
    counted(&server, |it| it.connections == 0);
    assert!(pipe(&server, &mut client).is_ok());
    // What is left ends with the allocation.
    let kept = half_a_pipe(&server, &mut client);
    assert_eq!(client.refresh(0), None);
    counted(&server, |it| {
        (it.connections, it.allocations, it.streams) == (0, 0, 1)
    });
    drop(kept);
    server.stop();
}

#[test]
fn halves_of_pipes_have_so_long() {
    let server = server(1);
    let mut client = Client::tcp(&server);
    allocate(&mut client);
    let kept = half_a_pipe(&server, &mut client);
    let counted = counted(&server, |it| (it.connections, it.streams) == (0, 1));
    assert_eq!((counted.allocations, counted.streams_idle), (1, 1));
    drop(kept);
    server.stop();
}
