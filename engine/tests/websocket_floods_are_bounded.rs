//! Floods of frames that are allowed one by one: what they make the server keep is bounded, and others are heard meanwhile.
//! Tests weigh the process, so that one waits for the other.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fanfare_engine::{Engine, EngineConfig};
use fanfare_wire::ws::Opcode;
use serde_json::json;
use support::{
    BINARY, Bystander, Centrifuge, Event, LAST, Peak, TEXT, WebSocket, client_frame, eventually,
    flood, open_config, start, stop, total,
};

const PATHS: [&str; 5] = [
    "/connection/websocket",
    "/connection/websocket?cf_protocol=protobuf",
    "/connection/uni_websocket",
    "/connection/native",
    "/sub",
];

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who floods it and who must not notice are on the same one.
fn one_shard() -> EngineConfig {
    open_config(1)
}

/// The engine, somebody who hears, and what the process takes with them.
fn weighed() -> (Engine, Bystander, Peak) {
    let engine = start(one_shard());
    let mut bystander = Bystander::new(engine.client_addrs()[0]);
    // Whatever a first connection of each kind takes.
    for path in PATHS {
        WebSocket::open(engine.client_addrs()[0], path);
    }
    bystander.is_undisturbed(&engine);
    (engine, bystander, Peak::from_now_on())
}

fn assert_flat(peak: &Peak, bytes_max: u64) {
    let grown = peak.grown_bytes();
    assert!(grown <= bytes_max, "{grown} bytes");
}

#[test]
fn a_million_empty_continuations_end_at_the_limit() {
    let _alone = alone();
    let (engine, mut bystander, peak) = weighed();
    let addr = engine.client_addrs()[0];
    for path in PATHS {
        for first in [TEXT, BINARY] {
            let mut socket = WebSocket::open(addr, path);
            socket.send_bytes(&client_frame(first & !LAST, b""));
            let writer = flood(&socket.stream, &client_frame(0, b""), 1_000_000);
            assert_eq!(socket.closed_with(), Some(1008), "{path}");
            bystander.is_undisturbed(&engine);
            drop(socket);
            writer.join().unwrap();
        }
    }
    // After a welcome, too.
    let mut client = Centrifuge::connect(addr, "");
    client.ws.send_bytes(&client_frame(TEXT & !LAST, b"{"));
    let writer = flood(&client.ws.stream, &client_frame(0, b""), 1_000_000);
    assert_eq!(client.closed_with(), Some(1008));
    drop(client);
    writer.join().unwrap();
    bystander.is_undisturbed(&engine);
    assert_eq!(total(&engine, |it| it.protocol_errors), 11);
    assert_flat(&peak, 4 << 20);
    stop(engine);
}

#[test]
fn what_declares_more_than_there_is_room_for_is_refused_at_its_header() {
    let _alone = alone();
    let (engine, mut bystander, peak) = weighed();
    let addr = engine.client_addrs()[0];
    let most = i64::MAX.cast_unsigned();
    let mut refused = 0;
    for path in PATHS {
        // Of which the smallest is a byte more than a stranger may send.
        for declared in [most, 1 << 40, 1 << 32, 65_537, 16_385] {
            for length in [
                first_bytes(TEXT, declared),
                first_bytes(BINARY & !LAST, declared),
            ] {
                let mut socket = WebSocket::open(addr, path);
                socket.send_bytes(&length);
                socket.send_bytes(b"x");
                assert_eq!(socket.closed_with(), Some(1009), "{path}: {declared}");
                refused += 1;
            }
        }
    }
    // Hundreds at once that have been let in.
    let mut clients: Vec<Centrifuge> = (0..300).map(|_| Centrifuge::connect(addr, "")).collect();
    for client in &mut clients {
        client.ws.send_bytes(&first_bytes(TEXT, most));
        client.ws.send_bytes(b"x");
    }
    for client in &mut clients {
        assert_eq!(client.closed_with(), Some(1009));
        refused += 1;
    }
    drop(clients);
    bystander.is_undisturbed(&engine);
    assert_eq!(total(&engine, |it| it.protocol_errors), refused);
    assert_flat(&peak, 4 << 20);
    stop(engine);
}

/// The header of a masked frame that declares so many bytes.
fn first_bytes(first: u8, declared: u64) -> Vec<u8> {
    let mut out = vec![first];
    if let Ok(short) = u16::try_from(declared) {
        out.push(0xfe);
        out.extend(short.to_be_bytes());
    } else {
        out.push(0xff);
        out.extend(declared.to_be_bytes());
    }
    out.extend([0; 4]);
    out
}

#[test]
fn who_pings_and_reads_no_pong_is_closed() {
    let _alone = alone();
    let (engine, mut bystander, peak) = weighed();
    let addr = engine.client_addrs()[0];
    let config = one_shard();
    for payload in [&b""[..], &[b'p'; 125]] {
        let closed = total(&engine, |it| it.slow_disconnected);
        let client = Centrifuge::connect(addr, "");
        let writer = flood(&client.ws.stream, &client_frame(0x89, payload), 10_000_000);
        while total(&engine, |it| it.slow_disconnected) == closed {
            assert!(
                !writer.is_finished(),
                "all was taken, and answered to nobody"
            );
            bystander.is_undisturbed(&engine);
            // As much as may wait, and the answers to what one turn of the shard receives.
            let waits = total(&engine, |it| it.unsent_bytes);
            let turn = u64::from(config.receive_buffer_bytes) * u64::from(config.receive_buffers);
            let most = u64::from(config.limits.direct_bytes_max) + turn;
            assert!(waits <= most, "{waits} bytes");
        }
        drop(client);
        writer.join().unwrap();
        bystander.is_undisturbed(&engine);
    }
    eventually("nothing waits", || {
        total(&engine, |it| it.unsent_bytes) == 0
    });
    assert_flat(&peak, 8 << 20);
    stop(engine);
}

#[test]
fn who_reads_has_a_pong_for_each_ping_and_others_hear_meanwhile() {
    const PINGS: usize = 10_000;
    let _alone = alone();
    let (engine, mut bystander, peak) = weighed();
    let addr = engine.client_addrs()[0];
    let mut client = Centrifuge::connect(addr, "");
    for _ in 0..20 {
        // No more at once than may wait for who is slow to read.
        let writer = flood(&client.ws.stream, &client_frame(0x89, b"12345678"), PINGS);
        bystander.is_undisturbed(&engine);
        for _ in 0..PINGS {
            assert_eq!(client.ws.next(), Event::Pong(b"12345678".to_vec()));
        }
        assert_eq!(writer.join().unwrap(), PINGS);
    }
    assert_eq!(client.ask("ping", json!({})), json!({}));
    assert_flat(&peak, 8 << 20);
    stop(engine);
}

#[test]
fn frames_that_want_no_answer_have_none_and_leave_nothing() {
    let _alone = alone();
    let (engine, mut bystander, peak) = weighed();
    let addr = engine.client_addrs()[0];
    let mut client = Centrifuge::connect(addr, "");
    // Pongs that nobody asked for (RFC 6455 section 5.5.3), and those of Centrifuge.
    for tiny in [
        client_frame(0x8a, b""),
        client_frame(0x8a, &[0; 125]),
        client_frame(TEXT, b"{}"),
    ] {
        let writer = flood(&client.ws.stream, &tiny, 1_000_000);
        while !writer.is_finished() {
            bystander.is_undisturbed(&engine);
        }
        assert_eq!(writer.join().unwrap(), 1_000_000);
        assert_eq!(client.ask("ping", json!({})), json!({}));
    }
    assert_eq!(total(&engine, |it| it.protocol_errors), 0);
    assert_flat(&peak, 4 << 20);

    // On the way there, after a close, nothing is looked at.
    let mut socket = WebSocket::open(addr, PATHS[0]);
    socket.send(Opcode::Close, b"");
    let _ = socket
        .stream
        .write_all(&client_frame(TEXT, b"{").repeat(1000));
    assert_eq!(socket.closed_with(), None);
    stop(engine);
}
