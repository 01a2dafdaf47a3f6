//! What strangers and clients send as fast as they can takes neither connections nor memory from others.
#![allow(missing_docs)]

mod live;

use std::io::Read;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_turn::stun::Method;
use live::{Client, Wire, channel_data, config, counted, start};

/// Sends to all of these until it is told to stop.
fn flood(to: &[std::net::SocketAddr], is_over: &AtomicBool) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    while !is_over.load(Ordering::Relaxed) {
        for to in to {
            for _ in 0..40 {
                // A full socket is what is wanted.
                let _ = socket.send_to(b"flood", to);
            }
        }
    }
}

struct Ends<'e>(&'e AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn datagrams_that_take_all_buffers_end_no_connection() {
    const FLOOD: u64 = 100_000;
    const ASKS: usize = 20;
    let server = start(config());
    let mut clients: Vec<Client> = (0..24).map(|_| Client::udp(&server)).collect();
    let relayed: Vec<_> = clients.iter_mut().map(Client::allocate).collect();
    let mut streams: Vec<Client> = (0..40).map(|_| Client::tcp(&server)).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| flood(&relayed, &is_over));
        }
        // Also when it fails.
        let _ends = Ends(&is_over);
        for _ in 0..ASKS {
            for stream in &mut streams {
                let request = stream.request(Method::BINDING, |_| {});
                stream.send(&request);
            }
            for stream in &mut streams {
                // It fails when the connection has ended.
                stream.receive();
            }
        }
        counted(&server, |it| it.dropped_no_permission >= FLOOD);
    });
    let all = (ASKS * streams.len()) as u64;
    let counted = counted(&server, |it| it.answers >= all && it.streams == 40);
    assert_eq!((counted.streams_garbage, counted.streams_idle), (0, 0));
    server.stop();
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|it| it.split_whitespace().next());
    let kilobytes = kilobytes.and_then(|it| it.parse::<u64>().ok());
    kilobytes.expect("a number") << 10
}

#[test]
fn what_streams_say_to_each_other_is_not_kept() {
    const PACKETS: usize = 120_000;
    let server = start(config());
    let (mut one, mut other) = (Client::tcp(&server), Client::tcp(&server));
    let (of_one, of_other) = (one.allocate(), other.allocate());
    assert_eq!(one.bind(0x4000, of_other), None);
    assert_eq!(other.bind(0x4000, of_one), None);
    let Wire::Tcp(mut incoming, _) = other.wire else {
        unreachable!("it is one of TCP");
    };
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while incoming.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    let batch = channel_data(0x4000, &[1; 996], 4).repeat(60);
    let before = resident_bytes();
    for _ in 0..PACKETS / 60 {
        one.send(&batch);
    }
    let sent = PACKETS as u64;
    // Some of them may find the other end full.
    counted(&server, |it| it.packets_hairpin == sent);
    let grown = resident_bytes().saturating_sub(before);
    // 120 MB were said.
    assert!(grown < 40 << 20, "{grown} bytes are kept");
    server.stop();
    reader.join().expect("no panic");
}
