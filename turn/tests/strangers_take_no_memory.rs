//! A million requests, each of another address, leave nothing behind. By itself, for it looks at the memory of the process.
#![allow(missing_docs)]

mod live;

use std::net::UdpSocket;

use fanfare_turn::budget::Rate;
use fanfare_turn::relay::Config;
use fanfare_turn::server::{Server, ServerConfig};
use fanfare_turn::stun::{AttributeType, Class, Integrity, Key, Method, PasswordAlgorithm, Writer};
use live::{PATIENCE, REALM, config, start};

const REQUESTS: u64 = 1_000_000;

/// By then all that there is for strangers has been touched.
const WARM_UP: u64 = 100_000;

/// Sent before anybody looks whether they have arrived, fewer than a socket's queue holds.
const AHEAD: u64 = 100;

#[test]
fn a_million_sources_leave_memory_as_it_was() {
    let config = config();
    let server = start(ServerConfig {
        config: Config {
            strangers: Rate::new(50, 200),
            bindings: Rate::new(50, 200),
            ..config.config
        },
        ..config
    });
    let requests = requests();
    let mut before = 0;
    for number in 0..REQUESTS {
        if number == WARM_UP {
            before = resident_bytes();
        }
        let [_, b, c, d] = u32::try_from(number).expect("a million").to_be_bytes();
        let source = UdpSocket::bind((std::net::Ipv4Addr::new(127, 16 + b, c, d), 0));
        let request = &requests[usize::from(d) % requests.len()];
        let sent = source.and_then(|it| it.send_to(request, server.udp()[0]));
        assert_eq!(sent.expect("sent"), request.len());
        if number % AHEAD == AHEAD - 1 {
            wait_for(&server, number + 1);
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    // Less than a byte each.
    assert!(grown < REQUESTS - WARM_UP, "{grown} bytes");
    let all = &server.handle().counters()[0];
    assert_eq!(all.client_packets, REQUESTS);
    // Nearly all of them were answered, so it is not the budget that has kept them away.
    assert!(all.answers > REQUESTS * 9 / 10, "{all:?}");
    assert_eq!((all.allocations, all.sockets), (0, 0));
    server.stop();
}

/// Waits until so many have been read.
fn wait_for(server: &Server, count: u64) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while server.handle().counters()[0].client_packets < count {
        assert!(
            std::time::Instant::now() < deadline,
            "of {count}, some were lost"
        );
        std::thread::yield_now();
    }
}

/// What strangers send: a Binding, a request without a signature, and one with a nonce and a password that they made up.
fn requests() -> [Vec<u8>; 3] {
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    Writer::new(&mut all[0], Class::Request, Method::BINDING, [1; 12]);
    Writer::new(&mut all[1], Class::Request, Method::ALLOCATE, [2; 12])
        .attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let key = Key::long_term(PasswordAlgorithm::Md5, b"eve", REALM.as_bytes(), b"a guess");
    Writer::new(&mut all[2], Class::Request, Method::ALLOCATE, [3; 12])
        .attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .attribute(AttributeType::USERNAME, b"eve")
        .attribute(AttributeType::REALM, REALM.as_bytes())
        .attribute(AttributeType::NONCE, b"obMatJos2gAAAmade up")
        .integrity(Integrity::Sha1, &key);
    all
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = status.split(' ').nth(1).expect("a number");
    pages.parse::<u64>().expect("a number") * 4_096
}
