//! Chromium's WebRTC on our relay: a call between two of its pages. What the pages do is in `peers/turn/chromium`.
#![allow(missing_docs)]

mod support;
mod turn_support;

use serde_json::{Value, json};
use support::peers::{self, Peer};
use turn_support::credentials::USER;
use turn_support::relay::{Relay, key_file};
use turn_support::road::Road;
use turn_support::scenario::{numbered, play};

/// Bytes of the messages on the data channel. The browser's SCTP cuts the long ones into several packets.
fn message_sizes() -> Vec<usize> {
    (0..300).map(|n| 8 + (n * 97) % 20_000).collect()
}

#[test]
fn a_call_over_udp() {
    a_call_is_relayed([Road::Udp, Road::Udp]);
}

#[test]
fn a_call_over_tcp() {
    a_call_is_relayed([Road::Tcp, Road::Tcp]);
}

#[test]
fn a_call_between_tcp_and_udp() {
    a_call_is_relayed([Road::Tcp, Road::Udp]);
}

#[test]
fn a_call_over_tls() {
    a_call_is_relayed([Road::Tls, Road::Tls]);
}

fn a_call_is_relayed(roads: [Road; 2]) {
    if !peers::require(Peer::Chromium) {
        return;
    }
    let relay = Relay::start();
    let sizes = message_sizes();
    let report = call(roads.map(|road| relay.ice_servers(road)), &sizes);
    assert_eq!(report["states"], json!(["connected", "connected"]));
    assert_eq!(report["echoed"], numbered(&sizes));
    for (side, road) in roads.into_iter().enumerate() {
        let gathered = &report["gathered"][side]["candidates"];
        let are_relayed = |all: &Vec<Value>| !all.is_empty() && all.iter().all(|it| it == "relay");
        assert!(gathered.as_array().is_some_and(are_relayed), "{gathered}");
        let pair = &report["pairs"][side];
        assert_eq!(pair["local"], "relay", "{pair}");
        assert_eq!(pair["remote"], "relay", "{pair}");
        assert_eq!(pair["relayProtocol"], road.name(), "{pair}");
        let audio = &report["audio"][side];
        assert!(audio["packetsReceived"].as_u64() > Some(0), "{audio}");
        assert!(audio["totalAudioEnergy"].as_f64() > Some(0.0), "{audio}");
    }
    // There and back.
    relay.await_relayed(2 * sizes.iter().sum::<usize>());
    relay.await_count("allocations_made_total", 2);
}

#[test]
fn a_wrong_password_is_refused() {
    if !peers::require(Peer::Chromium) {
        return;
    }
    let relay = Relay::start();
    let password = "another password than the user's";
    let servers = [Road::Udp, Road::Tcp].map(|road| relay.ice_servers_for(road, USER, password));
    let report = call(servers, &[]);
    for side in 0..2 {
        let gathered = &report["gathered"][side];
        assert_eq!(gathered["candidates"], json!([]), "{gathered}");
        // One for every network interface that the browser tries.
        let are_refused = |all: &Vec<Value>| !all.is_empty() && all.iter().all(|it| it == 401);
        let refusals = gathered["refusals"].as_array();
        assert!(refusals.is_some_and(are_refused), "{gathered}");
    }
    relay.await_count("auth_failures_total", 2);
    assert_eq!(relay.counted().of("allocations_made_total"), 0);
}

fn call(ice_servers: [Value; 2], sizes: &[usize]) -> Value {
    let setup = json!({
        "ice_servers": ice_servers,
        "sizes": sizes,
        "certificate": key_file("backend.cert.pem"),
    });
    play("node", "chromium/run.mjs", &setup)
}
