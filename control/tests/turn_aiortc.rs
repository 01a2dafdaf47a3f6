//! The published PyPI package `aiortc` and the TURN client it stands on, `aioice`, on our relay. The scenarios are in
//! `peers/turn/aiortc`.
#![allow(missing_docs)]

mod support;
mod turn_support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::peers::{self, Peer};
use turn_support::credentials::{PASSWORD, USER};
use turn_support::relay::Relay;
use turn_support::road::Road;
use turn_support::scenario::{numbered, play};

/// Bytes of the messages on a data channel. Each side's SCTP cuts the long ones into several packets.
fn message_sizes() -> Vec<usize> {
    (0..300).map(|n| 4 + (n * 97) % 5_000).collect()
}

/// Bytes of datagrams: every padding, an empty one, and as much as fits into a packet that is not cut.
fn datagram_sizes() -> Vec<usize> {
    let short = 0..=64;
    short
        .chain((65..1_400).step_by(89))
        .chain([1_400])
        .collect()
}

mod data_channel {
    use super::*;

    #[test]
    fn over_udp() {
        messages_arrive_once_and_in_order(Road::Udp);
    }

    #[test]
    fn over_tcp() {
        messages_arrive_once_and_in_order(Road::Tcp);
    }

    #[test]
    fn over_tls() {
        messages_arrive_once_and_in_order(Road::Tls);
    }

    fn messages_arrive_once_and_in_order(road: Road) {
        if !peers::require(Peer::Aiortc) {
            return;
        }
        let relay = Relay::start();
        let sizes = message_sizes();
        for servers in [
            relay.ice_servers(road),
            relay.ice_servers_for(road, USER, PASSWORD),
        ] {
            let report = data_channel(&servers, &sizes);
            assert_eq!(report["states"], json!(["connected", "connected"]));
            assert_eq!(report["candidates"], json!([["relay"], ["relay"]]));
            let both = json!([["relay", "relay"], ["relay", "relay"]]);
            assert_eq!(report["pairs"], both);
            assert_eq!(report["heard"], numbered(&sizes));
            assert_eq!(report["echoed"], numbered(&sizes));
            relay.await_empty();
        }
        // Twice there and back.
        relay.await_relayed(4 * sizes.iter().sum::<usize>());
        relay.await_count("allocations_made_total", 4);
    }

    #[test]
    fn a_wrong_password_is_refused() {
        if !peers::require(Peer::Aiortc) {
            return;
        }
        let relay = Relay::start();
        for road in [Road::Udp, Road::Tcp, Road::Tls] {
            let servers = relay.ice_servers_for(road, USER, "another password than the user's");
            let report = data_channel(&servers, &[4]);
            assert_eq!(report, json!({"candidates": [[], []]}), "{road:?}");
        }
        // The callee asks for nothing: it has been offered no candidates that its own could be paired with.
        relay.await_count("auth_failures_total", 3);
        assert_eq!(relay.counted().of("allocations_made_total"), 0);
    }

    fn data_channel(servers: &Value, sizes: &[usize]) -> Value {
        let setup = json!({"ice_server": servers[0], "sizes": sizes});
        play(python(), "aiortc/data_channel.py", &setup)
    }
}

mod endpoints {
    use super::*;

    /// As long as the client thinks without being told.
    const BINDING_LASTS_S: u32 = 500;

    #[test]
    fn over_udp() {
        datagrams_arrive_once_and_in_order(Road::Udp);
    }

    #[test]
    fn over_tcp() {
        datagrams_arrive_once_and_in_order(Road::Tcp);
    }

    #[test]
    fn over_tls() {
        datagrams_arrive_once_and_in_order(Road::Tls);
    }

    fn datagrams_arrive_once_and_in_order(road: Road) {
        if !peers::require(Peer::Aiortc) {
            return;
        }
        let relay = Relay::start();
        let sizes = datagram_sizes();
        for servers in [
            relay.ice_servers(road),
            relay.ice_servers_for(road, USER, PASSWORD),
        ] {
            let report = endpoints(&servers, &sizes, BINDING_LASTS_S);
            assert_eq!(report["heard"], expected(&report, &sizes));
            relay.await_empty();
        }
        // Twice: each of the clients to the peer, and both to each other.
        relay.await_relayed(8 * sizes.iter().sum::<usize>());
        relay.await_count("allocations_made_total", 4);
    }

    #[test]
    fn channels_are_bound_again() {
        if !peers::require(Peer::Aiortc) {
            return;
        }
        let relay = Relay::start();
        let sizes = [4; 20];
        // Every datagram finds its channel's time up.
        let report = endpoints(&relay.ice_servers(Road::Udp), &sizes, 0);
        assert_eq!(report["heard"], expected(&report, &sizes));
        // The clients send four of a round's six datagrams.
        relay.await_count("answers_total", 4 * sizes.len() as u64);
    }

    #[test]
    fn a_wrong_password_is_refused() {
        if !peers::require(Peer::Aiortc) {
            return;
        }
        let relay = Relay::start();
        for road in [Road::Udp, Road::Tcp, Road::Tls] {
            let made = relay.ice_servers(road);
            let made = made[0]["username"].as_str().expect("a name");
            for (user, password) in [
                (USER, "another password than the user's"),
                ("nobody", PASSWORD),
                (made, PASSWORD),
            ] {
                let servers = relay.ice_servers_for(road, user, password);
                let report = endpoints(&servers, &[4], BINDING_LASTS_S);
                assert_eq!(report, json!({"refused": 401}), "{road:?} {user}");
            }
        }
        relay.await_count("auth_failures_total", 9);
        assert_eq!(relay.counted().of("allocations_made_total"), 0);
    }

    #[test]
    fn credentials_end() {
        if !peers::require(Peer::Aiortc) {
            return;
        }
        let relay = Relay::start();
        let servers = relay.ice_servers_that_have_ended(Road::Udp);
        let report = endpoints(&servers, &[4], BINDING_LASTS_S);
        assert_eq!(report, json!({"refused": 401}));
        relay.await_count("auth_failures_total", 1);
        assert_eq!(relay.counted().of("allocations_made_total"), 0);
    }

    fn endpoints(servers: &Value, sizes: &[usize], binding_lasts_s: u32) -> Value {
        let setup = json!({
            "ice_server": servers[0],
            "sizes": sizes,
            "channel_refresh_time": binding_lasts_s,
        });
        play(python(), "aiortc/endpoints.py", &setup)
    }

    /// Every datagram of three conversations, one after the other: who hears it, from whom, its number and its size.
    fn expected(report: &Value, sizes: &[usize]) -> Value {
        let first = ("first", &report["relayed"][0]);
        let second = ("second", &report["relayed"][1]);
        let peer = ("peer", &report["peer"]);
        let mut heard = Vec::new();
        for (one, other) in [(first, peer), (second, peer), (first, second)] {
            for (n, size) in sizes.iter().enumerate() {
                // What is shorter than a number has none.
                let n = (*size >= 4).then_some(n);
                heard.push(json!([other.0, one.1, n, size]));
                heard.push(json!([one.0, other.1, n, size]));
            }
        }
        Value::Array(heard)
    }
}

fn python() -> PathBuf {
    peers::aiortc().join("bin/python")
}
