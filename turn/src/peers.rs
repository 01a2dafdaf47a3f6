//! Whom an allocation is connected with: its permissions and its channels (RFC 8656 sections 9 to 12).
//!
//! A permission is for an address, whatever the port; a channel is for an address and a port, and brings a permission with
//! it. Nothing that is relayed keeps either alive: only the client's requests do. What has ended is dropped when something
//! is added; until then it is passed over.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use crate::budget::{Meter, Rate};
use crate::framing::Channels;
use crate::policy::{canonical, canonical_socket};

/// How long a permission lasts, in seconds (RFC 8656 section 9).
pub const PERMISSION_S: u32 = 300;

/// How long a channel lasts, in seconds (RFC 8656 section 12).
pub const CHANNEL_S: u32 = 600;

/// How long after its end neither a channel's number nor its peer may be bound to another, in seconds (RFC 8656 section 12:
/// what is still on its way would be taken for something else).
pub const CHANNEL_REST_S: u32 = 300;

/// What an allocation may have.
#[derive(Debug, Clone, Copy)]
pub struct PeerLimits {
    /// Permissions at a time.
    pub permissions_max: usize,
    /// Channels at a time, those that rest included.
    pub channels_max: usize,
    /// The numbers that channels may have.
    pub channels: Channels,
    /// Addresses that it had no permission for: who asks for many is looking for something.
    pub new_peers: Rate,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            permissions_max: 64,
            channels_max: 64,
            channels: Channels::RFC_8656,
            new_peers: Rate::new(5, 32),
        }
    }
}

/// Why there is no permission or no channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    /// Answered with 508.
    #[error("the allocation has as many permissions as it may")]
    PermissionsMax,
    /// Answered with 508.
    #[error("the allocation has as many channels as it may")]
    ChannelsMax,
    /// Answered with 508.
    #[error("the allocation asks for new peers too fast")]
    NewPeers,
    /// Answered with 400.
    #[error(
        "{0:#06x} is no number of a channel: they are 0x4000 to 0x4fff, or for older clients to 0x7ffe"
    )]
    ChannelNumber(u16),
    /// Answered with 400.
    #[error("the channel is another peer's, or was until a moment ago")]
    ChannelTaken,
    /// Answered with 400.
    #[error("the peer has another channel, or had one until a moment ago")]
    PeerTaken,
}

#[derive(Debug, Clone, Copy)]
struct Permission {
    ip: IpAddr,
    until_s: u32,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    until_s: u32,
}

/// The permissions and channels of an allocation. Most have one or two of each, which lie inside.
#[derive(Debug, Default)]
pub struct Peers {
    permissions: SmallVec<[Permission; 2]>,
    channels: SmallVec<[Channel; 2]>,
    new_peers: Meter,
}

impl Peers {
    /// Whether this address may send to the client, and be sent to.
    #[must_use]
    pub fn are_permitted(&self, ip: IpAddr, now_s: u32) -> bool {
        let ip = canonical(ip);
        self.permissions
            .iter()
            .any(|it| it.ip == ip && now_s < it.until_s)
    }

    /// Whom this channel stands for.
    #[must_use]
    pub fn of_channel(&self, number: u16, now_s: u32) -> Option<SocketAddr> {
        self.channels
            .iter()
            .find(|it| it.number == number && now_s < it.until_s)
            .map(|it| it.peer)
    }

    /// Which channel stands for this peer.
    #[must_use]
    pub fn channel_of(&self, peer: SocketAddr, now_s: u32) -> Option<u16> {
        let peer = canonical_socket(peer);
        self.channels
            .iter()
            .find(|it| it.peer == peer && now_s < it.until_s)
            .map(|it| it.number)
    }

    /// Gives permissions for these addresses, or keeps them for longer: for all of them or for none.
    ///
    /// # Errors
    /// There would be too many.
    pub fn permit(
        &mut self,
        ips: &[IpAddr],
        limits: &PeerLimits,
        now_s: u32,
    ) -> Result<(), PeerRefused> {
        self.permissions.retain(|it| now_s < it.until_s);
        let has = |permissions: &[Permission], ip| permissions.iter().any(|it| it.ip == ip);
        let mut new: SmallVec<[IpAddr; 4]> = SmallVec::new();
        for ip in ips.iter().copied().map(canonical) {
            if has(&self.permissions, ip) || new.contains(&ip) {
                continue;
            }
            if self.permissions.len() + new.len() >= limits.permissions_max {
                return Err(PeerRefused::PermissionsMax);
            }
            new.push(ip);
        }
        let count = u32::try_from(new.len()).unwrap_or(u32::MAX);
        let now_ns = u64::from(now_s) * 1_000_000_000;
        if count > 0 && !self.new_peers.take(&limits.new_peers, count, now_ns) {
            return Err(PeerRefused::NewPeers);
        }
        let until_s = now_s.saturating_add(PERMISSION_S);
        for it in &mut self.permissions {
            if ips.iter().any(|ip| canonical(*ip) == it.ip) {
                it.until_s = until_s;
            }
        }
        let new = new.into_iter().map(|ip| Permission { ip, until_s });
        self.permissions.extend(new);
        Ok(())
    }

    /// Lets a channel stand for a peer, or keeps it for longer, and permits the peer.
    ///
    /// # Errors
    /// Number or peer are bound to another, or there would be too many.
    pub fn bind(
        &mut self,
        number: u16,
        peer: SocketAddr,
        limits: &PeerLimits,
        now_s: u32,
    ) -> Result<(), PeerRefused> {
        if !limits.channels.contains(number) {
            return Err(PeerRefused::ChannelNumber(number));
        }
        let peer = canonical_socket(peer);
        self.channels
            .retain(|it| now_s < it.until_s.saturating_add(CHANNEL_REST_S));
        let of_number = self.channels.iter().position(|it| it.number == number);
        let of_peer = self.channels.iter().position(|it| it.peer == peer);
        match (of_number, of_peer) {
            (Some(of_number), Some(of_peer)) if of_number == of_peer => {}
            (Some(_), _) => return Err(PeerRefused::ChannelTaken),
            (None, Some(_)) => return Err(PeerRefused::PeerTaken),
            (None, None) if self.channels.len() >= limits.channels_max => {
                return Err(PeerRefused::ChannelsMax);
            }
            (None, None) => {}
        }
        self.permit(&[peer.ip()], limits, now_s)?;
        let until_s = now_s.saturating_add(CHANNEL_S);
        match of_number {
            Some(at) => self.channels[at].until_s = until_s,
            None => self.channels.push(Channel {
                number,
                peer,
                until_s,
            }),
        }
        Ok(())
    }

    /// How many permissions and channels there are now.
    #[must_use]
    pub fn counts(&self, now_s: u32) -> (usize, usize) {
        (
            self.permissions
                .iter()
                .filter(|it| now_s < it.until_s)
                .count(),
            self.channels.iter().filter(|it| now_s < it.until_s).count(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NOW: u32 = 1_000_000;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn peer(text: &str) -> SocketAddr {
        text.parse().expect("a socket")
    }

    #[test]
    fn a_permission_is_for_an_address_and_five_minutes() {
        let (mut peers, limits) = (Peers::default(), PeerLimits::default());
        assert_eq!(peers.permit(&[ip("192.0.2.1")], &limits, NOW), Ok(()));
        assert!(peers.are_permitted(ip("192.0.2.1"), NOW + PERMISSION_S - 1));
        assert!(peers.are_permitted(ip("::ffff:192.0.2.1"), NOW));
        assert!(!peers.are_permitted(ip("192.0.2.1"), NOW + PERMISSION_S));
        assert!(!peers.are_permitted(ip("192.0.2.2"), NOW));
        // To look something up does not keep it.
        assert_eq!(peers.permit(&[ip("192.0.2.1")], &limits, NOW + 200), Ok(()));
        assert!(peers.are_permitted(ip("192.0.2.1"), NOW + 200 + PERMISSION_S - 1));
        assert_eq!(peers.counts(NOW + 200), (1, 0));
    }

    #[test]
    fn a_channel_is_for_one_peer_and_ten_minutes() {
        let (mut peers, limits) = (Peers::default(), PeerLimits::default());
        let (one, other) = (peer("192.0.2.1:5000"), peer("192.0.2.1:5001"));
        assert_eq!(peers.bind(0x4000, one, &limits, NOW), Ok(()));
        assert_eq!(peers.of_channel(0x4000, NOW), Some(one));
        assert_eq!(peers.channel_of(one, NOW), Some(0x4000));
        assert_eq!(
            (peers.channel_of(other, NOW), peers.of_channel(0x4001, NOW)),
            (None, None)
        );
        // The permission that came with it is for all ports, and for its own time.
        assert!(peers.are_permitted(other.ip(), NOW + PERMISSION_S - 1));
        assert!(!peers.are_permitted(other.ip(), NOW + PERMISSION_S));
        assert_eq!(
            peers.bind(0x4000, other, &limits, NOW),
            Err(PeerRefused::ChannelTaken)
        );
        assert_eq!(
            peers.bind(0x4001, one, &limits, NOW),
            Err(PeerRefused::PeerTaken)
        );
        assert_eq!(peers.bind(0x4001, other, &limits, NOW), Ok(()));
        assert_eq!(
            peers.bind(0x4001, one, &limits, NOW),
            Err(PeerRefused::ChannelTaken)
        );
        // Again, for longer.
        assert_eq!(peers.bind(0x4000, one, &limits, NOW + 300), Ok(()));
        let end = NOW + 300 + CHANNEL_S;
        assert_eq!(peers.of_channel(0x4000, end - 1), Some(one));
        assert_eq!(
            (peers.of_channel(0x4000, end), peers.channel_of(one, end)),
            (None, None)
        );
        // Its number and its peer rest, but may find each other again.
        assert_eq!(
            peers.bind(0x4000, peer("192.0.2.2:1"), &limits, end),
            Err(PeerRefused::ChannelTaken)
        );
        assert_eq!(
            peers.bind(0x4002, one, &limits, end),
            Err(PeerRefused::PeerTaken)
        );
        assert_eq!(peers.bind(0x4000, one, &limits, end), Ok(()));
        let end = end + CHANNEL_S + CHANNEL_REST_S;
        assert_eq!(peers.bind(0x4000, other, &limits, end), Ok(()));
    }

    #[test]
    fn channels_have_the_numbers_that_the_rfc_gives_them() {
        let (mut peers, limits) = (Peers::default(), PeerLimits::default());
        for number in [0, 0x3fff, 0x5000, 0x7fff, 0xffff] {
            let refused = peers.bind(number, peer("192.0.2.1:5000"), &limits, NOW);
            assert_eq!(refused, Err(PeerRefused::ChannelNumber(number)));
        }
        assert_eq!(peers.counts(NOW), (0, 0));
        assert_eq!(
            peers.bind(0x4000, peer("192.0.2.1:5000"), &limits, NOW),
            Ok(())
        );
        assert_eq!(
            peers.bind(0x4fff, peer("192.0.2.2:5000"), &limits, NOW),
            Ok(())
        );
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let limits = PeerLimits {
            permissions_max: 3,
            channels_max: 2,
            channels: Channels::RFC_8656,
            new_peers: Rate::new(1_000, 1_000),
        };
        let mut peers = Peers::default();
        let four: Vec<_> = (1..=4_u8)
            .map(|last| IpAddr::from([192, 0, 2, last]))
            .collect();
        // All or none.
        assert_eq!(
            peers.permit(&four, &limits, NOW),
            Err(PeerRefused::PermissionsMax)
        );
        assert_eq!(peers.counts(NOW), (0, 0));
        // One that is named twice is one.
        assert_eq!(
            peers.permit(&[four[0], four[1], four[0], four[2]], &limits, NOW),
            Ok(())
        );
        assert_eq!(
            peers.permit(&four[3..], &limits, NOW),
            Err(PeerRefused::PermissionsMax)
        );
        assert_eq!(peers.permit(&four[..3], &limits, NOW + 299), Ok(()));
        assert_eq!(
            peers.permit(&four[3..], &limits, NOW + 299 + PERMISSION_S),
            Ok(())
        );
        let mut peers = Peers::default();
        for (number, port) in [(0x4000, 1), (0x4001, 2)] {
            assert_eq!(
                peers.bind(number, SocketAddr::new(four[0], port), &limits, NOW),
                Ok(())
            );
        }
        let third = peers.bind(0x4002, SocketAddr::new(four[0], 3), &limits, NOW);
        assert_eq!(third, Err(PeerRefused::ChannelsMax));
        // A channel whose peer may not be permitted is none.
        let mut peers = Peers::default();
        assert_eq!(peers.permit(&four[..3], &limits, NOW), Ok(()));
        let refused = peers.bind(0x4000, SocketAddr::new(four[3], 1), &limits, NOW);
        assert_eq!(
            (refused, peers.counts(NOW)),
            (Err(PeerRefused::PermissionsMax), (3, 0))
        );
    }

    #[test]
    fn new_peers_come_at_a_rate() {
        let limits = PeerLimits {
            permissions_max: 1_000,
            channels_max: 64,
            channels: Channels::RFC_8656,
            new_peers: Rate::new(2, 4),
        };
        let mut peers = Peers::default();
        let ips: Vec<_> = (1..=40_u8)
            .map(|last| IpAddr::from([192, 0, 2, last]))
            .collect();
        assert_eq!(peers.permit(&ips[..4], &limits, NOW), Ok(()));
        assert_eq!(
            peers.permit(&ips[4..5], &limits, NOW),
            Err(PeerRefused::NewPeers)
        );
        // Those that it has cost nothing.
        assert_eq!(peers.permit(&ips[..4], &limits, NOW), Ok(()));
        assert_eq!(peers.permit(&ips[4..6], &limits, NOW + 1), Ok(()));
        assert_eq!(
            peers.permit(&ips[6..7], &limits, NOW + 1),
            Err(PeerRefused::NewPeers)
        );
    }

    proptest! {
        #[test]
        fn number_and_peer_are_one_to_one(
            steps in prop::collection::vec((0x4000..0x4006_u16, 1..6_u16, 0..400_u32), 1..100)
        ) {
            let limits = PeerLimits { new_peers: Rate::new(1_000, 1_000), ..PeerLimits::default() };
            let mut peers = Peers::default();
            let mut bound: BTreeMap<u16, (u16, u32)> = BTreeMap::new();
            let mut now_s = NOW;
            for (number, port, later_s) in steps {
                now_s += later_s;
                bound.retain(|_, (_, until_s)| now_s < *until_s + CHANNEL_REST_S);
                let of_number = bound.get(&number).map(|(port, _)| *port);
                let is_free = !bound.values().any(|(of, _)| *of == port);
                let may_be = of_number == Some(port) || (of_number.is_none() && is_free);
                let socket = |port| SocketAddr::new(IpAddr::from([192, 0, 2, 1]), port);
                let is_bound = peers.bind(number, socket(port), &limits, now_s).is_ok();
                prop_assert_eq!(is_bound, may_be);
                if is_bound {
                    bound.insert(number, (port, now_s + CHANNEL_S));
                }
                for number in 0x4000..0x4006 {
                    let expected = bound.get(&number).filter(|(_, until_s)| now_s < *until_s);
                    let expected = expected.map(|(port, _)| socket(*port));
                    prop_assert_eq!(peers.of_channel(number, now_s), expected);
                    if let Some(peer) = expected {
                        prop_assert_eq!(peers.channel_of(peer, now_s), Some(number));
                    }
                }
            }
        }
    }
}
