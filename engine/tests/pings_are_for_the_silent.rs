//! Who hears publications is not pinged on top of them; who hears nothing is.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use fanfare_engine::{EngineConfig, Limits};
use support::{Client, Frame, open_config, push, start, stop};

const PING_INTERVAL: Duration = Duration::from_millis(1_000);

fn pinging() -> EngineConfig {
    let config = open_config(1);
    EngineConfig {
        limits: Limits {
            ping_interval: PING_INTERVAL,
            pong_timeout: Duration::from_millis(900),
            ..config.limits.clone()
        },
        ..config
    }
}

#[test]
fn a_native_client_is_pinged_when_it_hears_nothing_else() {
    let engine = start(pinging());
    let addr = engine.client_addrs()[0];
    let mut hears = Client::connect(addr, "");
    hears.answers_pings = false;
    hears.join("busy");
    let mut idle = Client::connect(addr, "");
    idle.answers_pings = false;
    // Far more often than the interval, and for several of them: who answers no ping would long be disconnected.
    let until = Instant::now() + 5 * PING_INTERVAL;
    while Instant::now() < until {
        push(&engine, "busy", "x");
        assert!(
            matches!(hears.next(), Frame::Publication { .. }),
            "a publication, and no ping"
        );
        std::thread::sleep(PING_INTERVAL / 50);
    }
    assert_eq!(idle.next(), Frame::Ping);
    assert_eq!(idle.next(), Frame::Disconnect { code: 3012 });
    // Nothing is published any more: now it is pinged as well.
    assert_eq!(hears.next(), Frame::Ping);
    assert_eq!(hears.next(), Frame::Disconnect { code: 3012 });
    stop(engine);
}
