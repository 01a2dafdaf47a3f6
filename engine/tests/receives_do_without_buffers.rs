//! A ring with next to no receive buffers: everyone waits for their turn, and nothing that was sent is lost.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_engine::{Engine, EngineConfig};
use serde_json::json;
use support::{Centrifuge, Client, Frame, eventually, open_config, start, stop, total};

fn starved(receive_buffers: u16, receive_buffer_bytes: u32) -> Engine {
    let mut config = EngineConfig {
        receive_buffers,
        receive_buffer_bytes,
        ..open_config(2)
    };
    // Nobody here is slow at reading.
    config.namespaces.default.lane_bytes_max = 64 << 20;
    start(config)
}

#[test]
fn hundreds_that_all_send_at_once_are_all_heard() {
    let engine = starved(2, 256);
    let addr = engine.client_addrs()[0];
    let mut clients: Vec<Client> = (0..300).map(|_| Client::connect(addr, "")).collect();
    let mut listener = Client::connect(addr, "");
    listener.join("news");
    const EACH: u32 = 20;
    for n in 1..=EACH {
        for client in &mut clients {
            client.publish(n, "news", &[u8::try_from(n).unwrap(); 300]);
        }
    }
    for client in &mut clients {
        let mut before = 0;
        for n in 1..=EACH {
            let Frame::Ack {
                request, offset, ..
            } = client.next()
            else {
                panic!("publication {n} has no answer")
            };
            assert_eq!(request, n);
            assert!(offset > before, "its own publications are in order");
            before = offset;
        }
        assert!(client.has_nothing_to_read());
    }
    let mut heard = [0; EACH as usize + 1];
    for offset in 1..=u64::from(EACH) * 300 {
        let (heard_offset, data) = listener.publication();
        assert_eq!((heard_offset, data.len()), (offset, 300));
        assert!(data.iter().all(|byte| *byte == data[0]));
        heard[usize::from(data[0])] += 1;
    }
    assert_eq!(heard[1..], [300; EACH as usize]);
    assert!(total(&engine, |it| it.buffers_exhausted) > 0);
    drop((clients, listener));
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

#[test]
fn one_that_never_stops_sending_does_not_keep_the_others_from_being_heard() {
    let engine = starved(4, 256);
    let addr = engine.client_addrs()[0];
    let mut others: Vec<Client> = (0..20).map(|_| Client::connect(addr, "")).collect();
    let mut json = Centrifuge::connect(addr, "");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut blasters: Vec<Client> = (0..2).map(|_| Client::connect(addr, "")).collect();
        let is_over = &is_over;
        let blasting = scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                for client in &mut blasters {
                    client.publish(0, "noise", &[0; 20_000]);
                }
            }
        });
        for _ in 0..5 {
            for client in &mut others {
                assert!(client.has_nothing_to_read());
            }
            assert_eq!(json.ask("ping", json!({})), json!({}));
        }
        is_over.store(true, Ordering::Relaxed);
        blasting.join().unwrap();
    });
    assert!(total(&engine, |it| it.publications) > 0);
    drop(others);
    stop(engine);
}

#[test]
fn connections_that_wait_for_a_buffer_can_be_closed() {
    let engine = starved(1, 16);
    let addr = engine.client_addrs()[0];
    for round in 0..5 {
        let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(addr, "")).collect();
        for client in &mut clients {
            client.publish(0, "news", &[0; 1000]);
            if round % 2 == 0 {
                // Malformed, so that the server ends it.
                client.send_bytes(&[0xff; 100]).unwrap();
            }
        }
        drop(clients);
        eventually("all are closed", || {
            total(&engine, |it| it.connections) == 0
        });
    }
    assert_eq!(total(&engine, |it| it.connections_closed), 300);
    let mut last = Client::connect(addr, "");
    assert!(last.has_nothing_to_read());
    stop(engine);
}
