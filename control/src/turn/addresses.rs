//! On which addresses the relay listens and relays.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use fanfare_turn::policy::PeerPolicy;
use fanfare_turn::relay::RelayAddress;

use super::TurnError;
use crate::config::TurnSettings;

/// The addresses of this host's interfaces, those aside that are good on one link only.
pub(super) fn of_host() -> Result<Vec<IpAddr>, TurnError> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(|error| {
        TurnError::Os(format!(
            "cannot list the addresses of this host for turn.addresses: {error}"
        ))
    })?;
    let mut addresses: Vec<IpAddr> = interfaces
        .filter_map(|it| it.address)
        .filter_map(|it| {
            let v4 = it.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            v4.or_else(|| it.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
        })
        .filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Every address by itself where all of a family are meant: an answer has to come from where the request was sent to.
pub(super) fn expand(addresses: &[SocketAddr], of_host: &[IpAddr]) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for address in addresses {
        if !address.ip().is_unspecified() {
            all.push(*address);
            continue;
        }
        let of_family = of_host
            .iter()
            .filter(|ip| ip.is_ipv4() == address.is_ipv4())
            .map(|ip| SocketAddr::new(*ip, address.port()));
        all.extend(of_family);
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The addresses that this host sends from to what is far away: those of its default routes. Nothing is sent to find out.
pub(super) fn of_routes() -> Vec<IpAddr> {
    // Documentation prefixes (RFC 5737, RFC 3849): nobody is there, so only a default route leads to them.
    let far = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    far.iter()
        .filter_map(|(local, remote)| {
            let socket = UdpSocket::bind(local).ok()?;
            socket.connect(remote).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .collect()
}

/// The addresses of IPv4 and of IPv6 that are given away ports of: those that are configured, or one that clients come to,
/// which others can reach if there is one.
pub(super) fn relayed(
    settings: &TurnSettings,
    listening: &[SocketAddr],
    of_routes: &[IpAddr],
) -> [Option<RelayAddress>; 2] {
    [true, false].map(|is_v4| {
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == is_v4;
        let configured = settings.relay_addresses.iter().find(of_family).copied();
        let external = settings.external_addresses.iter().find(of_family).copied();
        let is_named = !settings.relay_addresses.is_empty();
        let of_listeners: Vec<IpAddr> = listening.iter().map(SocketAddr::ip).collect();
        let mut of_listeners = of_listeners.iter().filter(of_family);
        let mut found = || {
            // Of a host with several, what the Internet knows goes before what bridges and tunnels have.
            let global = PeerPolicy::new(&[], &[], Vec::new());
            let is_global = |ip: &&IpAddr| global.check(**ip).is_ok();
            let known = of_listeners.clone().find(is_global);
            let routed = of_listeners.clone().find(|ip| of_routes.contains(ip));
            let reachable = of_listeners.clone().find(|ip| !ip.is_loopback());
            let found = known.or(routed).or(reachable);
            found.or(of_listeners.next()).copied()
        };
        // Who names one family wants that one only.
        let local = if is_named { configured } else { found() }?;
        Some(RelayAddress {
            local,
            external: external.unwrap_or(local),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts
            .iter()
            .map(|it| it.parse().expect("an address"))
            .collect()
    }

    fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
        texts
            .iter()
            .map(|it| it.parse().expect("a socket"))
            .collect()
    }

    #[test]
    fn all_addresses_are_each_of_them() {
        let host = ips(&["127.0.0.1", "198.51.100.7", "::1", "2001:db8::7"]);
        let expanded = expand(&sockets(&["0.0.0.0:3478", "[2001:db8::7]:443"]), &host);
        let expected = ["127.0.0.1:3478", "198.51.100.7:3478", "[2001:db8::7]:443"];
        assert_eq!(expanded, sockets(&expected));
    }

    #[test]
    fn others_can_reach_what_is_relayed_from() {
        let listening = sockets(&["127.0.0.1:3478", "198.51.100.7:3478", "[::1]:3478"]);
        let of = |settings: &TurnSettings| {
            relayed(settings, &listening, &[]).map(|it| it.map(|it| (it.local, it.external)))
        };
        let settings = TurnSettings::default();
        let [v4, v6] = ["198.51.100.7", "::1"].map(|it| it.parse().expect("an address"));
        assert_eq!(of(&settings), [Some((v4, v4)), Some((v6, v6))]);
        let settings = TurnSettings {
            relay_addresses: ips(&["10.0.0.7"]),
            external_addresses: ips(&["203.0.113.7"]),
            ..settings
        };
        let [local, external] =
            ["10.0.0.7", "203.0.113.7"].map(|it| it.parse().expect("an address"));
        assert_eq!(of(&settings), [Some((local, external)), None]);
    }

    #[test]
    fn what_the_internet_knows_goes_before_bridges() {
        let of = |listening: &[&str], of_routes: &[&str]| {
            let [v4, _] = relayed(
                &TurnSettings::default(),
                &sockets(listening),
                &ips(of_routes),
            );
            v4.map(|it| it.local.to_string())
        };
        let bridge = "172.17.0.1:3478";
        let public = "9.9.9.9:3478";
        let private = "192.168.1.5:3478";
        let expected = |ip: &str| Some(ip.to_owned());
        assert_eq!(
            of(&[bridge, private, public], &["192.168.1.5"]),
            expected("9.9.9.9")
        );
        // Behind a router, the one that leads to it.
        assert_eq!(
            of(&[bridge, private], &["192.168.1.5"]),
            expected("192.168.1.5")
        );
        // One that is not listened on is not taken for it.
        assert_eq!(of(&[bridge], &["192.168.1.5"]), expected("172.17.0.1"));
        assert_eq!(of(&["127.0.0.1:3478", bridge], &[]), expected("172.17.0.1"));
    }
}
