//! Which peers a client may be connected with: the one gate that every path goes through.
//!
//! A relay sends from inside the operator's network, to whatever address a stranger asks for. Relays have been talked into
//! reaching `127.0.0.1` as `0.0.0.0`, `::1`, `::ffff:127.0.0.1`, `::127.0.0.1`, and in the forms that transition
//! mechanisms have (CVE-2020-26262, CVE-2026-27624), so an address is judged by all that it can stand for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What no peer is by default: every range of the registries of special purposes (RFC 6890 and successors) that is not
/// reachable globally, multicast, and the ranges whose addresses stand for others.
const DENIED_BY_DEFAULT: [IpNet; 30] = [
    v4([0, 0, 0, 0], 8),           // "this network": Linux connects it to itself
    v4([10, 0, 0, 0], 8),          // private
    v4([100, 64, 0, 0], 10),       // between providers and their customers
    v4([127, 0, 0, 0], 8),         // loopback
    v4([169, 254, 0, 0], 16),      // link-local; metadata of clouds
    v4([172, 16, 0, 0], 12),       // private
    v4([192, 0, 0, 0], 24),        // protocol assignments
    v4([192, 0, 2, 0], 24),        // documentation
    v4([192, 88, 99, 0], 24),      // relays of 6to4
    v4([192, 168, 0, 0], 16),      // private
    v4([198, 18, 0, 0], 15),       // benchmarks
    v4([198, 51, 100, 0], 24),     // documentation
    v4([203, 0, 113, 0], 24),      // documentation
    v4([224, 0, 0, 0], 4),         // multicast
    v4([240, 0, 0, 0], 4),         // reserved, and broadcast
    v6([0, 0, 0, 0], 96),          // unspecified, loopback, IPv4-compatible
    v6([0, 0, 0, 0xffff], 96),     // IPv4-translated (RFC 2765): ::ffff:0:a.b.c.d
    v6([0x64, 0xff9b, 0, 0], 96),  // NAT64
    v6([0x64, 0xff9b, 1, 0], 48),  // NAT64 of a network
    v6([0x100, 0, 0, 0], 64),      // discarded
    v6([0x2001, 0, 0, 0], 23),     // protocol assignments, Teredo
    v6([0x2001, 0xdb8, 0, 0], 32), // documentation
    v6([0x2002, 0, 0, 0], 16),     // 6to4
    v6([0x3ffe, 0, 0, 0], 16),     // 6bone
    v6([0x3fff, 0, 0, 0], 20),     // documentation
    v6([0x5f00, 0, 0, 0], 16),     // segment routing
    v6([0xfc00, 0, 0, 0], 7),      // unique local
    v6([0xfe80, 0, 0, 0], 10),     // link-local
    v6([0xfec0, 0, 0, 0], 10),     // site-local
    v6([0xff00, 0, 0, 0], 8),      // multicast
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

/// A net by the first 64 bits of its address; the last of the four stands in the fifth group if the net is longer.
const fn v6([a, b, c, d]: [u16; 4], length: u8) -> IpNet {
    let address = if length > 64 {
        Ipv6Addr::new(a, b, c, 0, d, 0, 0, 0)
    } else {
        Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
    };
    IpNet::V6(Ipv6Net::new_assert(address, length))
}

/// Which peers a client may be connected with.
#[derive(Debug, Clone)]
pub struct PeerPolicy {
    allowed: Ranges,
    denied: Ranges,
    denied_by_default: Ranges,
    /// What this server listens on: nobody's peer, whatever the lists say.
    own: Vec<SocketAddr>,
    /// Addresses of this host of which only relayed ports are peers.
    host: Ranges,
}

/// Why an address is not to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The operator's list.
    #[error("{0} is in the operator's list of denied peers")]
    ByList(IpAddr),
    /// The list of special addresses.
    #[error("{0} is a private or special address; list it as allowed if clients are to reach it")]
    ByDefault(IpAddr),
    /// A socket of this server.
    #[error("{0} is a socket of this server")]
    Own(SocketAddr),
}

impl PeerPolicy {
    /// A policy that denies what is in `deny`, and all special addresses that are not in `allow`. `own` are sockets of
    /// this server.
    #[must_use]
    pub fn new(allow: &[IpNet], deny: &[IpNet], own: Vec<SocketAddr>) -> Self {
        Self {
            allowed: Ranges::of(allow),
            denied: Ranges::of(deny),
            denied_by_default: Ranges::of(&DENIED_BY_DEFAULT),
            own: own.into_iter().map(canonical_socket).collect(),
            host: Ranges::of(&[]),
        }
    }

    /// The same, and these addresses lead to this host: only the ports that the relay gives away are peers there. What is
    /// sent to any other port would come to it over loopback, past the firewalls before it, with its own address as the
    /// source. An address that is allowed by itself, not as one of a net, is left as it is; loopback is what the list of
    /// special addresses is for.
    #[must_use]
    pub fn with_host(
        mut self,
        addresses: impl IntoIterator<Item = IpAddr>,
        allow: &[IpNet],
    ) -> Self {
        let allow: Vec<IpNet> = allow.iter().map(|net| canonical_net(*net)).collect();
        let nets: Vec<IpNet> = addresses
            .into_iter()
            .map(|ip| IpNet::from(canonical(ip)))
            .filter(|net| !net.addr().is_loopback() && !allow.contains(net))
            .collect();
        self.host = Ranges::of(&nets);
        self
    }

    /// Whether only relayed ports are peers at this address.
    #[must_use]
    pub fn is_host(&self, ip: IpAddr) -> bool {
        self.host.contains(canonical(ip))
    }

    /// Whether a client may have a permission for this address.
    ///
    /// # Errors
    /// Which rule is against it.
    pub fn check(&self, ip: IpAddr) -> Result<(), Denied> {
        let ip = canonical(ip);
        let [first, second] = embedded(ip);
        for face in [Some(ip), first, second].into_iter().flatten() {
            if self.denied.contains(face) {
                return Err(Denied::ByList(ip));
            }
            if self.denied_by_default.contains(face) && !self.allowed.contains(face) {
                return Err(Denied::ByDefault(ip));
            }
        }
        Ok(())
    }

    /// Whether a client may send to this socket, or be connected with it.
    ///
    /// # Errors
    /// Which rule is against it.
    pub fn check_socket(&self, peer: SocketAddr) -> Result<(), Denied> {
        if self.is_own(peer) {
            return Err(Denied::Own(peer));
        }
        self.check(peer.ip())
    }

    /// Whether this is a socket of the server. One that listens on all addresses is taken to be at any, those of others
    /// included.
    fn is_own(&self, socket: SocketAddr) -> bool {
        let socket = canonical_socket(socket);
        self.own.iter().any(|own| {
            own.port() == socket.port() && (own.ip() == socket.ip() || own.ip().is_unspecified())
        })
    }
}

/// The address as IPv4 if it is one in the clothes of IPv6 (RFC 4291 section 2.5.5.2), and as it is otherwise.
#[must_use]
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The same of a socket's address.
#[must_use]
pub fn canonical_socket(socket: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical(socket.ip()), socket.port())
}

/// The IPv4 addresses that packets to this address may end up at.
fn embedded(ip: IpAddr) -> [Option<IpAddr>; 2] {
    let IpAddr::V6(ip) = ip else {
        return [None; 2];
    };
    let v4 = |high: u16, low: u16| {
        Some(IpAddr::V4(Ipv4Addr::from_bits(
            u32::from(high) << 16 | u32::from(low),
        )))
    };
    match ip.segments() {
        // Unspecified and loopback, which stand for nothing else.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None; 2],
        // IPv4-compatible (RFC 4291), IPv4-translated (RFC 2765), NAT64 (RFC 6052, and with a prefix of 96 bits RFC 8215).
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low] => [v4(high, low), None],
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => [v4(high, low), None],
        // Teredo (RFC 4380): its server, and its client's address inverted.
        [0x2001, 0, s_high, s_low, _, _, c_high, c_low] => [v4(s_high, s_low), v4(!c_high, !c_low)],
        // ISATAP (RFC 5214), below any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => [v4(high, low), None],
        _ => [None; 2],
    }
}

/// A set of addresses: for each family, ranges that are in order and apart.
#[derive(Debug, Clone)]
struct Ranges {
    v4: Box<[(u128, u128)]>,
    v6: Box<[(u128, u128)]>,
}

impl Ranges {
    fn of(nets: &[IpNet]) -> Self {
        let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = nets
            .iter()
            .map(|net| canonical_net(*net))
            .partition(|net| matches!(net, IpNet::V4(_)));
        Self {
            v4: apart(&v4),
            v6: apart(&v6),
        }
    }

    /// Whether it has this address, which is a canonical one.
    fn contains(&self, ip: IpAddr) -> bool {
        let ranges = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        let bits = bits(ip);
        let at = ranges.partition_point(|(first, _)| *first <= bits);
        at > 0 && bits <= ranges[at - 1].1
    }
}

/// The net as one of IPv4 if that is what it is in the clothes of IPv6. One that is wider than those clothes has IPv6 alone:
/// `::/0` is no word on IPv4.
fn canonical_net(net: IpNet) -> IpNet {
    let IpAddr::V4(v4) = canonical(net.network()) else {
        return net;
    };
    let length = match net {
        IpNet::V4(_) => return net,
        IpNet::V6(v6) => v6.prefix_len().checked_sub(96),
    };
    length.map_or(net, |length| IpNet::V4(Ipv4Net::new_assert(v4, length)))
}

fn apart(nets: &[IpNet]) -> Box<[(u128, u128)]> {
    let mut ranges: Vec<_> = nets
        .iter()
        .map(|net| (bits(net.network()), bits(net.broadcast())))
        .collect();
    ranges.sort_unstable();
    let mut apart: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match apart.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => apart.push((first, last)),
        }
    }
    apart.into()
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts
            .iter()
            .map(|text| text.parse().expect("a net"))
            .collect()
    }

    /// All that stands for an IPv4 address, or leads to it.
    fn forms([a, b, c, d]: [u8; 4]) -> Vec<String> {
        let high = u16::from_be_bytes([a, b]);
        let low = u16::from_be_bytes([c, d]);
        vec![
            format!("{a}.{b}.{c}.{d}"),
            format!("::ffff:{a}.{b}.{c}.{d}"),
            format!("::{a}.{b}.{c}.{d}"),
            format!("::ffff:0:{a}.{b}.{c}.{d}"),
            format!("64:ff9b::{a}.{b}.{c}.{d}"),
            format!("64:ff9b:1::{a}.{b}.{c}.{d}"),
            format!("2002:{high:x}:{low:x}::1"),
            format!("2001:0:{high:x}:{low:x}::1"),
            format!("2001:0:808:808::{:x}:{:x}", !high, !low),
            format!("2a00:1450::5efe:{a}.{b}.{c}.{d}"),
            format!("2a00:1450::200:5efe:{a}.{b}.{c}.{d}"),
        ]
    }

    #[test]
    fn special_addresses_are_denied_in_every_form() {
        let policy = PeerPolicy::new(&[], &[], Vec::new());
        let special = [
            [0, 0, 0, 0],
            [10, 1, 2, 3],
            [100, 64, 0, 1],
            [127, 0, 0, 1],
            [169, 254, 169, 254],
            [172, 31, 255, 255],
            [192, 0, 2, 1],
            [192, 88, 99, 1],
            [192, 168, 0, 1],
            [198, 19, 0, 1],
            [203, 0, 113, 9],
            [224, 0, 0, 251],
            [255, 255, 255, 255],
        ];
        for form in special.into_iter().flat_map(forms) {
            let ip = form.parse().expect("an address");
            assert!(policy.check(ip).is_err(), "{form}");
            assert!(
                policy.check_socket(SocketAddr::new(ip, 9)).is_err(),
                "{form}"
            );
        }
        for text in [
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fdff::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "2001:1ff:ffff::1",
            "3ffe::1",
            "3fff:fff::1",
            "5f00::1",
        ] {
            assert!(
                policy.check(text.parse().expect("an address")).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_reachable_globally_is_allowed() {
        let policy = PeerPolicy::new(&[], &[], Vec::new());
        for text in [
            "8.8.8.8",
            "::ffff:8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2606:4700::1111",
            "2a00:1450::5efe:8.8.8.8",
            "fbff:ffff::1",
        ] {
            assert_eq!(
                policy.check(text.parse().expect("an address")),
                Ok(()),
                "{text}"
            );
        }
    }

    #[test]
    fn an_allowed_net_leaves_what_it_leads_to_denied() {
        let allow = nets(&["64:ff9b::/96", "10.8.0.0/16", "127.0.0.1/32"]);
        let policy = PeerPolicy::new(&allow, &nets(&["10.8.7.0/24"]), Vec::new());
        let is_allowed = |text: &str| policy.check(text.parse().expect("an address")).is_ok();
        assert!(is_allowed("64:ff9b::8.8.8.8"));
        assert!(!is_allowed("64:ff9b::192.168.0.1"));
        assert!(is_allowed("10.8.0.1") && is_allowed("::ffff:10.8.255.255"));
        assert!(!is_allowed("10.9.0.0") && !is_allowed("10.7.255.255"));
        // What is denied by name is denied, and so is what leads there.
        assert!(!is_allowed("10.8.7.0") && !is_allowed("10.8.7.255"));
        assert!(is_allowed("10.8.6.255") && is_allowed("10.8.8.0"));
        assert!(!is_allowed("64:ff9b::10.8.7.1"));
        assert!(is_allowed("127.0.0.1") && !is_allowed("127.0.0.2") && !is_allowed("::1"));
        let policy = PeerPolicy::new(&nets(&["::1/128"]), &[], Vec::new());
        let is_allowed = |text: &str| policy.check(text.parse().expect("an address")).is_ok();
        assert!(is_allowed("::1") && !is_allowed("::") && !is_allowed("::2"));
    }

    #[test]
    fn a_net_of_ipv6_says_nothing_of_ipv4() {
        let check = |allow: &str, deny: &[&str], text: &str| {
            let policy = PeerPolicy::new(&nets(&[allow]), &nets(deny), Vec::new());
            policy.check(text.parse().expect("an address")).is_ok()
        };
        assert!(check("::/0", &[], "fc00::1") && !check("::/0", &[], "169.254.169.254"));
        assert!(!check("::/64", &[], "::ffff:10.0.0.1"));
        assert!(check("::/0", &["::/0"], "8.8.8.8") && !check("::/0", &["::/0"], "2606:4700::1"));
        // IPv4, written as IPv6.
        assert!(check("::ffff:10.0.0.0/104", &[], "10.255.0.1"));
        assert!(!check("::ffff:10.0.0.0/104", &[], "192.168.0.1"));
        assert!(!check("::/0", &["::ffff:0:0/96"], "8.8.8.8"));
    }

    #[test]
    fn sockets_of_the_server_are_no_peers() {
        let own = vec![
            "0.0.0.0:3478".parse().expect("a socket"),
            "8.8.4.4:443".parse().expect("a socket"),
        ];
        let policy = PeerPolicy::new(&nets(&["127.0.0.0/8"]), &[], own);
        let check = |text: &str| policy.check_socket(text.parse().expect("a socket"));
        assert!(matches!(check("127.0.0.1:3478"), Err(Denied::Own(_))));
        assert!(matches!(check("[::ffff:8.8.4.4]:443"), Err(Denied::Own(_))));
        assert_eq!(
            (check("127.0.0.1:3479"), check("8.8.4.4:444")),
            (Ok(()), Ok(()))
        );
    }

    proptest! {
        #[test]
        fn ranges_contain_what_one_of_their_nets_contains(
            nets in prop::collection::vec((any::<u8>(), any::<u8>(), 8..=32_u8), 0..12),
            at in any::<u8>(), below in any::<u8>(),
        ) {
            let nets: Vec<IpNet> = nets
                .into_iter()
                .map(|(a, b, length)| {
                    let net = Ipv4Net::new(Ipv4Addr::new(a % 4, b, 0, 0), length).expect("a net");
                    IpNet::V4(net.trunc())
                })
                .collect();
            let ranges = Ranges::of(&nets);
            for ip in [Ipv4Addr::new(at % 4, below, 0, 0), Ipv4Addr::new(at % 4, below, 255, 255)] {
                let ip = IpAddr::V4(ip);
                let is_in_one = nets.iter().any(|net| net.contains(&ip));
                prop_assert_eq!(ranges.contains(ip), is_in_one);
            }
        }
    }
}
