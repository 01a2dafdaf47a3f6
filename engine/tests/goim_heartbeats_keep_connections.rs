//! Here the client beats and the server listens: who stops is closed, whatever else it says or hears.

mod support;

use std::time::Duration;

use fanfare_engine::EngineConfig;
use support::{
    Form, Goim, Told, Wire, eventually, frame, masked, members, push_all, push_keys, start, stop,
    total, trusting_config,
};

const NO_PONG: u16 = 3012;
const STALE: u16 = 3502;

fn hasty() -> EngineConfig {
    let mut config = trusting_config(2);
    config.goim.heartbeat_timeout = Duration::from_secs(3);
    config.limits.ping_interval = Duration::from_millis(200);
    config.limits.pong_timeout = Duration::from_millis(150);
    config.limits.handshake_timeout = Duration::from_secs(2);
    config
}

#[test]
fn who_does_not_beat_is_closed_and_other_traffic_does_not_count() {
    let engine = start(hasty());
    let addr = engine.client_addrs()[0];
    let mut beating = Goim::websocket(addr, r#"{"accepts":[7]}"#);
    let mut old = Goim::tcp(addr, "1");
    let mut silent = Goim::websocket(addr, "{}");
    let mut silent_tcp = Goim::tcp(addr, "{}");
    let mut silent_v1 = Goim::connect(addr, Form::Json, "{}");
    let mut talking = Goim::websocket(addr, r#"{"accepts":[7]}"#);
    let ping = masked(0x89, b"here");
    let mut rounds = 0;
    // Those that stop say and hear much; the two that beat hear no more than they.
    while total(&engine, |it| it.pong_timeouts) < 4 {
        rounds += 1;
        beating.heartbeat();
        assert_eq!(old.ask(2, b"a body", 3), b"");
        if total(&engine, |it| it.connections) == 6 {
            talking.request(1000, b"business");
            talking.request(12, b"live://1");
            talking.request(14, b"8");
            talking.wire.send_bytes(&ping);
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(rounds < 2000, "never closed");
    }
    assert_eq!(silent.closed(), Some(NO_PONG));
    assert_eq!(silent_v1.closed(), Some(NO_PONG));
    assert_eq!(silent_tcp.closed(), None);
    assert!(ends_with_no_pong(talking), "it was told why");
    // The others are still there.
    assert_eq!(push_all(&engine, 7, "here"), 2);
    assert_eq!(beating.push(), (7, "here".to_owned()));
    assert_eq!(old.push(), (5, "here".to_owned()));
    eventually("the others have gone", || {
        total(&engine, |it| it.connections) == 2
    });
    stop(engine);
}

/// Its last words among its answers and pongs.
fn ends_with_no_pong(mut client: Goim) -> bool {
    client.wire.rest().ends_with(&close_frame(NO_PONG))
}

/// The start and the end of a close frame, as far as they are known.
fn close_frame(code: u16) -> Vec<u8> {
    let reason = b"no pong";
    let mut bytes = vec![0x88, 2 + u8::try_from(reason.len()).expect("short")];
    bytes.extend(code.to_be_bytes());
    bytes.extend(reason);
    bytes
}

/// In the original the mapping of a key could end before the connection.
#[test]
fn a_key_is_found_as_long_as_its_connection_lives() {
    let engine = start(hasty());
    let addr = engine.client_addrs()[0];
    let mut client = Goim::tcp(addr, r#"{"key":"k","room_id":"live://1","accepts":[7]}"#);
    eventually("it is known", || push_keys(&engine, &["k"], 9, "") == 1);
    let mut pushed = 0;
    while total(&engine, |it| it.pong_timeouts) == 0 {
        // While it is closed it may be found for a last time.
        pushed += push_keys(&engine, &["k"], 7, "here");
        std::thread::sleep(Duration::from_millis(10));
    }
    let heard = client.rest();
    assert!(heard.iter().all(|it| *it == (7, "here".to_owned())));
    assert!(!heard.is_empty() && heard.len() <= pushed as usize);
    assert!(
        heard.len() + 1 >= pushed as usize,
        "{pushed} pushed, {} heard",
        heard.len()
    );
    eventually("nobody has the key", || {
        push_keys(&engine, &["k"], 7, "") == 0
    });
    eventually("nobody is in the room", || {
        members(&engine, "live://1") == 0
    });
    stop(engine);
}

#[test]
fn who_does_not_introduce_itself_is_closed() {
    let engine = start(hasty());
    let addr = engine.client_addrs()[0];
    let mut half = Wire::tcp(addr);
    half.send("00000068 0010 0001 00000007");
    let mut nothing = Goim::open(addr, Form::WebSocket);
    assert_eq!(half.rest(), b"");
    assert_eq!(nothing.closed(), Some(STALE));
    assert_eq!(total(&engine, |it| it.handshake_timeouts), 2);
    stop(engine);
}

#[test]
fn heartbeats_of_many_are_each_answered() {
    const CLIENTS: usize = 240;
    const BEATS: i32 = 25;
    let engine = start(trusting_config(3));
    let addr = engine.client_addrs()[0];
    let mut clients: Vec<Goim> = (0..CLIENTS)
        .map(|n| {
            let form = [Form::Tcp, Form::WebSocket][n % 2];
            Goim::connect(addr, form, &format!(r#"{{"room_id":"live://{}"}}"#, n % 4))
        })
        .collect();
    for room in 0..4 {
        eventually("all are counted", || {
            members(&engine, &format!("live://{room}")) == 60
        });
    }
    std::thread::scope(|scope| {
        for clients in clients.chunks_mut(CLIENTS / 4) {
            scope.spawn(|| {
                for client in clients {
                    for seq in 1..=BEATS {
                        client.send(&frame(2, seq, b"ignored"));
                    }
                    for seq in 1..=BEATS {
                        let told = client.next();
                        assert_eq!(told, Told::Frame(frame(3, seq, &[0, 0, 0, 60])));
                    }
                }
            });
        }
    });
    stop(engine);
}
