//! A bomb takes what one message may take, while it is refused, and no more. Alone in its process, whose memory it weighs.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use fanfare_engine::{EngineConfig, Limits};
use serde_json::json;
use support::{
    COMPRESSED, Deflating, OFFER, Peak, TEXT, bomb, brisk, client_frame, eventually, fragments,
    open_config, push, start, stop, total,
};

const JSON: &str = "/connection/websocket";

#[test]
fn a_hundred_kilobytes_for_a_hundred_megabytes() {
    let engine = start(EngineConfig {
        compression: true,
        limits: Limits {
            message_bytes_max: 128 << 10,
            ..brisk()
        },
        ..open_config(1)
    });
    let addr = engine.client_addrs()[0];
    let large = bomb(100);
    assert!(
        (100_000..128 << 10).contains(&large.len()),
        "{}",
        large.len()
    );
    // As much as strangers may send.
    let small = bomb(15);
    assert!((15_000..16 << 10).contains(&small.len()), "{}", small.len());
    let whole = |payload: &[u8]| client_frame(TEXT | COMPRESSED, payload);
    let pieces = |payload: &[u8]| fragments(TEXT | COMPRESSED, payload, 1000).concat();
    let attacks = [
        (whole(&large), true),
        (pieces(&large), true),
        (whole(&small), false),
        (pieces(&small), false),
        (whole(&large), false),
        (pieces(&large), false),
    ];

    let mut hears = [Some(OFFER), None].map(|offer| Deflating::member(addr, JSON, offer, "news"));
    let mut all_hear = |n: usize| {
        let text = format!("{n} {}", "still here ".repeat(100));
        push(&engine, "news", &json!(text).to_string());
        for member in &mut hears {
            assert_eq!(member.reply()["push"]["pub"]["data"], text);
        }
    };
    all_hear(0);

    let peak = Peak::from_now_on();
    let began = Instant::now();
    for (n, (bytes, is_known)) in attacks.iter().enumerate() {
        // All at once, so that what each might keep would add up.
        let mut clients: Vec<Deflating> = (0..20)
            .map(|_| {
                let mut client = Deflating::open(addr, JSON, Some(OFFER));
                if *is_known {
                    client.greet();
                }
                client.send(&bytes[..bytes.len() / 8]);
                client
            })
            .collect();
        for client in &mut clients {
            // Who is told to go meanwhile may find nobody to take it.
            let _ = client.stream.write_all(&bytes[bytes.len() / 8..]);
            assert_eq!(client.closed_with(), 1009);
        }
        all_hear(n + 1);
    }
    // Each inflates 128 KiB at most, and half a message is kept for 20 of them at most.
    let grown = peak.grown_bytes();
    assert!(grown < 6 << 20, "{grown} bytes");
    // 40 of them would be 4 GB.
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(total(&engine, |it| it.protocol_errors), 120);
    eventually("they have gone", || {
        total(&engine, |it| it.connections) == 2
    });
    stop(engine);
}
