//! The clients that come with coturn 4.6 (`turnutils_uclient`, `_peer`, `_stunclient`) on our relay. They send for themselves,
//! and count what comes back.
//!
//! Its option `-R` is left out: it breaks requests at places drawn by chance, and whoever checks FINGERPRINT drops what does not
//! fit without an answer (RFC 8489 section 14.7), so whether it gets through is chance. So is DTLS (`-S` without `-t`), which we do
//! not speak. So is `-P`, with which every other client is a plain peer that connects to a relayed address: it takes what that peer
//! hears for STUN and counts none of it, so half is lost, on coturn's own server as well.
#![allow(missing_docs)]

mod support;
mod turn_support;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::panic::resume_unwind;
use std::thread;

use support::peers::{self, Peer};
use turn_support::coturn::{self, Echo, MESSAGE_BYTES, Report, Usage};
use turn_support::counted::Counted;
use turn_support::relay::Relay;
use turn_support::road::Road;

/// The messages of each client that a run sends.
const FEW: u64 = 4;
const MANY: u64 = 200;

/// What each test's relay gives away. Tests run at the same time and on one address, and a port that is taken may mean that a pair
/// is refused. These are above those that Linux gives to sockets that ask for any (32768 to 60999).
const PORTS_OF_USAGES: RangeInclusive<u16> = 61_000..=61_899;
const PORTS_OF_PAIRS: RangeInclusive<u16> = 61_900..=62_799;
const PORTS_OF_CONNECTIONS: RangeInclusive<u16> = 62_800..=63_699;
const PORTS_OF_TLS: RangeInclusive<u16> = 63_700..=64_599;
const PORTS_OF_STUN: RangeInclusive<u16> = 64_600..=65_499;

/// Permissions and channels for peers drawn by chance, some in a range or of a family that is refused, some twice: those that
/// it goes on to use are asked for first.
const OF_EXTRA_REQUESTS: &[&str] = &["channel bind: error ", "create permission error "];

/// It draws one of four settings for each connection: TLS 1.0, 1.1, 1.2, or whatever there is. The first two end in an alert, and
/// it draws again, up to 32 times, so it does connect. Its option `-F` is no remedy: it names ciphers, and with those of TLS 1.2 it
/// fails by itself with the first two, as often.
const OF_OLD_TLS: &[&str] = &["tls_connect: cannot connect", "errno=0, err=0, error:"];

/// A usage, messages of each client, and allocations: one to probe, one of each client. Clients are two, or four with RTCP.
struct Run {
    usage: Usage,
    messages: u64,
    clients: u64,
}

const fn run(road: Road, options: &'static str, messages: u64, clients: u64) -> Run {
    let usage = Usage {
        road,
        options,
        errors: &[],
    };
    Run {
        usage,
        messages,
        clients,
    }
}

impl Run {
    const fn with_errors(mut self, errors: &'static [&'static str]) -> Self {
        self.usage.errors = errors;
        self
    }

    fn play(&self, relay: &Relay, peer: &str) -> Report {
        let pace = if self.messages > FEW { "-z 5" } else { "" };
        let more = format!("-n {} {pace} {peer}", self.messages);
        let report = coturn::exchange(relay, &self.usage, &more);
        let all = self.messages * self.clients;
        let (what, got) = (&self.usage, &report);
        assert_eq!((got.sent, got.received), (all, all), "{what:?}: {got:?}");
        let addresses = &report.relayed;
        assert!(addresses.len() as u64 > self.clients, "{what:?}: {got:?}");
        if self.usage.options.contains("-x") {
            assert!(addresses.iter().all(SocketAddr::is_ipv6), "{got:?}");
        }
        report
    }
}

/// Starts it with ports of its own to give away, and with bounds that no test comes near.
fn start_relay(threads: usize, ports: RangeInclusive<u16>) -> Relay {
    let (port_min, port_max) = ports.into_inner();
    // Old channels, since these clients draw from all that RFC 5766 had.
    let more = format!(
        "
port_min = {port_min}
port_max = {port_max}
legacy_channels = true
tcp_peers = true
new_peers_per_second = 1000
unauthenticated_per_second = 100000
bindings_per_second = 100000
"
    );
    Relay::start_with(threads, &more)
}

/// Plays them all at the same time, for most of what each does is to wait.
fn play_all(relay: &Relay, runs: &[(Run, String)]) -> Vec<Report> {
    thread::scope(|scope| {
        let play = |(run, peer): &'_ (Run, String)| run.play(relay, peer);
        let started: Vec<_> = runs
            .iter()
            .map(|it| scope.spawn(move || play(it)))
            .collect();
        let ended = started.into_iter().map(|it| it.join());
        ended
            .map(|it| it.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// With `-y` it is its own peer.
fn of_itself(runs: impl IntoIterator<Item = Run>) -> Vec<(Run, String)> {
    runs.into_iter().map(|run| (run, String::new())).collect()
}

#[test]
fn every_usage_gets_all_of_its_packets() {
    if !peers::require(Peer::Coturn) {
        return;
    }
    let relay = start_relay(2, PORTS_OF_USAGES);
    let echo = Echo::start();
    let mut runs = of_itself([
        run(Road::Udp, "-y -c", MANY, 2),
        run(Road::Udp, "-y -s -c", FEW, 2),
        run(Road::Tcp, "-y -c -t", MANY, 2),
        run(Road::Tcp, "-y -c -t -s", FEW, 2),
        run(Road::Udp, "-y -c -x", FEW, 2),
        run(Road::UdpV6, "-y -c", FEW, 2),
        run(Road::Udp, "-y -c -Z", FEW, 2),
        // DONT-FRAGMENT, and ChannelData that is padded though it is in a datagram, as pjnath does.
        run(Road::Udp, "-y -c -g -D", FEW, 2),
        run(Road::Udp, "-y -c -N", FEW, 2),
        run(Road::Udp, "-y -c -G", FEW, 2).with_errors(OF_EXTRA_REQUESTS),
        // Mobility is not spoken: it gets no ticket and stays where it is.
        run(Road::Udp, "-y -c -M", FEW, 2),
    ]);
    let peer = format!("-e 127.0.0.1 -r {}", echo.port);
    runs.push((run(Road::Udp, "-c", FEW, 1), peer));
    assert_relayed(&relay, &play_all(&relay, &runs));

    // Only the first address of two is printed. The probe's allocation is never ended, so it is still listed.
    let relayed = relay.relayed();
    let has_both = |addresses: &Vec<String>| match &addresses[..] {
        [v4, v6] => v4.starts_with("127.0.0.1:") && v6.starts_with("[::1]:"),
        _ => false,
    };
    assert!(relayed.iter().any(has_both), "{relayed:?}");
}

/// Without `-c` it has RTCP, for which it wants the port after an even one: EVEN-PORT, and from another port of its own the token
/// that it was given for that.
fn with_rtcp() -> Vec<(Run, String)> {
    of_itself([
        run(Road::Udp, "-y", FEW, 4),
        run(Road::Udp, "-y -s", FEW, 4),
        run(Road::Tcp, "-y -t", FEW, 4),
        run(Road::Tcp, "-y -t -s", FEW, 4),
    ])
}

#[test]
fn a_pair_of_ports_is_reserved() {
    if !peers::require(Peer::Coturn) {
        return;
    }
    let relay = start_relay(1, PORTS_OF_PAIRS);
    let reports = play_all(&relay, &with_rtcp());
    assert_relayed(&relay, &reports);
    for report in reports {
        assert_pairs(&report.relayed);
    }
}

#[test]
fn over_tls_it_gets_all_of_its_packets() {
    if !peers::require(Peer::Coturn) {
        return;
    }
    let relay = start_relay(2, PORTS_OF_TLS);
    // It takes each record of TLS for a message, so what is one has to come in one record, alone.
    let runs = [
        run(Road::Tls, "-y -c -t -S", FEW, 2),
        run(Road::Tls, "-y -t -S -s", FEW, 4),
        run(Road::Tls, "-y -c -t -S", MANY, 2),
    ];
    let runs = of_itself(runs.map(|run| run.with_errors(OF_OLD_TLS)));
    assert_relayed(&relay, &play_all(&relay, &runs));
}

/// RFC 6062: one client asks to be connected to the relayed address of the other, who hears of a connection that was made to it.
/// Each has another connection of its own for what they send.
#[test]
fn over_connections_it_gets_all_of_its_messages() {
    if !peers::require(Peer::Coturn) {
        return;
    }
    let relay = start_relay(2, PORTS_OF_CONNECTIONS);
    let runs = of_itself([
        run(Road::Tcp, "-y -T", MANY, 2),
        run(Road::Tcp, "-y -T", FEW, 2),
        run(Road::Tcp, "-y -T -x", FEW, 2),
        run(Road::Tls, "-y -T -S", FEW, 2).with_errors(OF_OLD_TLS),
    ]);
    assert_piped(&relay, &play_all(&relay, &runs));
}

#[test]
fn the_stun_client_hears_its_own_address() {
    if !peers::require(Peer::Coturn) {
        return;
    }
    let relay = start_relay(2, PORTS_OF_STUN);
    for (road, from) in [
        (Road::Udp, "127.0.0.1"),
        // Not where the relay is, so nobody could have mixed up the two.
        (Road::Udp, "127.0.0.2"),
        (Road::UdpV6, "::1"),
    ] {
        assert_eq!(coturn::mapped_address(&relay, road, from), from);
    }
    relay.counted().assert_nothing_was_dropped();
}

/// What the clients say has gone through the relay, each packet once from a client and once to one, and nothing else has.
fn assert_relayed(relay: &Relay, reports: &[Report]) {
    let counted = relay.counted();
    let packets: u64 = reports.iter().map(|it| it.sent).sum();
    for direction in ["to_peers", "to_clients"] {
        let relayed = counted.of(&format!("packets_{direction}_total"));
        assert_eq!(relayed, packets, "{direction}: {counted:?}");
        let bytes = counted.of(&format!("bytes_{direction}_total"));
        assert_eq!(bytes, packets * MESSAGE_BYTES, "{direction}: {counted:?}");
    }
    assert_allocated(&counted, reports);
    counted.assert_nothing_was_dropped();
}

/// What the clients say has gone through their connections, from a client to a peer and, since that is a client's relayed address,
/// from a peer to a client; of packets there were none.
fn assert_piped(relay: &Relay, reports: &[Report]) {
    let counted = relay.counted();
    let messages: u64 = reports.iter().map(|it| it.sent).sum();
    let bytes = counted.of("bytes_piped_total");
    assert_eq!(bytes, 2 * messages * MESSAGE_BYTES, "{counted:?}");
    let runs = reports.len() as u64;
    for (name, expected) in [
        ("connections_made_total", 2 * runs),
        ("connections_failed_total", 0),
        ("connections_refused_total", 0),
        ("packets_to_peers_total", 0),
        ("packets_to_clients_total", 0),
    ] {
        assert_eq!(counted.of(name), expected, "{name}: {counted:?}");
    }
    assert_allocated(&counted, reports);
    counted.assert_nothing_was_dropped();
    relay.await_none("connections");
}

/// Every allocation was made for one of the clients.
fn assert_allocated(counted: &Counted, reports: &[Report]) {
    let allocations: usize = reports.iter().map(|it| it.relayed.len()).sum();
    let made = counted.of("allocations_made_total");
    assert_eq!(made, allocations as u64, "{counted:?}");
}

/// Every allocation but the token's asks for an even port and for the next one to be reserved: the probe's for the first client,
/// and that of the first client's RTCP for the second client.
fn assert_pairs(relayed: &[SocketAddr]) {
    // Tries that came to nothing are before.
    let last = relayed.len().saturating_sub(5);
    let ports: Vec<u16> = relayed[last..].iter().map(SocketAddr::port).collect();
    let [probe, first, first_rtcp, second, second_rtcp] = ports[..] else {
        panic!("{relayed:?}");
    };
    assert!(
        [probe, first_rtcp, second_rtcp]
            .iter()
            .all(|port| port % 2 == 0),
        "{relayed:?}"
    );
    assert_eq!([first, second], [probe + 1, first_rtcp + 1], "{relayed:?}");
}
