//! Permissions, channels and what is relayed (RFC 8656 sections 9 to 12).
#![allow(missing_docs)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use fanfare_turn::budget::Rate;
use fanfare_turn::framing::channel_header;
use fanfare_turn::policy::PeerPolicy;
use fanfare_turn::relay::{
    Access, Action, Client, Config, Dropped, FromPeer, RelaySocket, Transport,
};
use fanfare_turn::stun::{AttributeType, Class, Message, Method, Writer};
use support::{Setup, User, World, access, dropped, udp};

const PEER: &str = "192.0.2.1:7000";

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("a socket")
}

fn send_indication(to: &str, data: &[u8], extra: &[(AttributeType, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, Class::Indication, Method::SEND, [8; 12]);
    writer
        .xor_address(AttributeType::XOR_PEER_ADDRESS, socket(to))
        .attribute(AttributeType::DATA, data);
    for (kind, value) in extra {
        writer.attribute(*kind, value);
    }
    out
}

fn channel_data(channel: u16, data: &[u8]) -> Vec<u8> {
    let mut out = channel_header(channel, data.len())
        .expect("it fits")
        .to_vec();
    out.extend_from_slice(data);
    out
}

/// What the client gets to see of a peer's packet.
fn from_peer(world: &mut World, from: &str, data: &[u8]) -> Result<(Client, Vec<u8>), Dropped> {
    let mut packet = Vec::new();
    let socket_of = RelaySocket(0);
    match world
        .relay
        .handle_peer(socket_of, socket(from), data.len(), world.now, &mut packet)
    {
        FromPeer::Drop(why) => {
            assert!(packet.is_empty());
            Err(why)
        }
        FromPeer::Relay { client, padding } => {
            packet.extend_from_slice(data);
            packet.resize(packet.len() + usize::from(padding), 0);
            Ok((client, packet))
        }
    }
}

fn relayed(action: Action<'_>) -> (SocketAddr, Vec<u8>, bool) {
    match action {
        Action::Relay {
            from,
            to,
            data,
            dont_fragment,
        } => {
            assert_eq!(from, RelaySocket(0));
            (to, data.to_vec(), dont_fragment)
        }
        other => panic!("it was not relayed: {other:?}"),
    }
}

#[test]
fn a_channel_carries_both_ways() {
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    let packet = channel_data(0x4001, b"hello");
    assert_eq!(
        dropped(world.send(ann.client, &packet).0),
        Dropped::NoAllocation
    );
    ann.allocate(&mut world, &[]);
    assert_eq!(
        dropped(world.send(ann.client, &packet).0),
        Dropped::NoChannel
    );
    assert_eq!(ann.bind(&mut world, 0x4001, PEER), None);
    assert_eq!(
        relayed(world.send(ann.client, &packet).0),
        (socket(PEER), b"hello".to_vec(), false)
    );
    // Bytes behind what the header says are not the peer's.
    let padded = [&packet[..], b"pad"].concat();
    assert_eq!(relayed(world.send(ann.client, &padded).0).1, b"hello");
    assert_eq!(
        from_peer(&mut world, PEER, b"world"),
        Ok((ann.client, channel_data(0x4001, b"world")))
    );
    assert_eq!(
        from_peer(&mut world, PEER, b""),
        Ok((ann.client, channel_data(0x4001, b"")))
    );
    // From another port of the peer: permitted, but not on the channel.
    let (_, indication) =
        from_peer(&mut world, "192.0.2.1:7001", b"world").expect("it is permitted");
    let message = Message::parse(&indication).expect("a message");
    assert_eq!(
        (message.class(), message.method()),
        (Class::Indication, Method::DATA)
    );
    assert_eq!(message.first(AttributeType::DATA), Some(&b"world"[..]));
    let from = message
        .first(AttributeType::XOR_PEER_ADDRESS)
        .expect("an address");
    assert_eq!(message.address(from), Some(socket("192.0.2.1:7001")));
    let counts: Vec<_> = world
        .relay
        .allocations()
        .map(|(_, it)| it.relayed())
        .collect();
    assert_eq!(counts, [[(2, 10), (3, 10)]]);
    // Nobody else's packets, and none of nobody's sockets.
    assert_eq!(
        dropped(world.send(udp(5_001), &packet).0),
        Dropped::NoAllocation
    );
    let other =
        world
            .relay
            .handle_peer(RelaySocket(1), socket(PEER), 5, world.now, &mut Vec::new());
    assert_eq!(other, FromPeer::Drop(Dropped::NoAllocation));
}

#[test]
fn on_a_stream_channel_data_is_padded() {
    let mut world = World::default();
    for transport in [Transport::Tcp, Transport::Tls] {
        let client = Client {
            transport,
            ..udp(5_000)
        };
        let ann = User::new(&mut world, client, "ann");
        ann.allocate(&mut world, &[]);
        ann.bind(&mut world, 0x4000, PEER);
        let (_, packet) = from_peer(&mut world, PEER, b"world").expect("it is permitted");
        assert_eq!(
            packet,
            [&channel_data(0x4000, b"world")[..], &[0; 3]].concat()
        );
        world.relay.client_left(&client, world.now, &mut world.host);
    }
}

#[test]
fn an_indication_needs_a_permission() {
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    let packet = send_indication(PEER, b"hello", &[]);
    assert_eq!(
        dropped(world.send(ann.client, &packet).0),
        Dropped::NoAllocation
    );
    ann.allocate(&mut world, &[]);
    assert_eq!(
        dropped(world.send(ann.client, &packet).0),
        Dropped::NoPermission
    );
    assert_eq!(
        from_peer(&mut world, PEER, b"world"),
        Err(Dropped::NoPermission)
    );
    assert_eq!(ann.permit(&mut world, &["192.0.2.1:1"]), None);
    assert_eq!(
        relayed(world.send(ann.client, &packet).0),
        (socket(PEER), b"hello".to_vec(), false)
    );
    let unfragmented = send_indication(PEER, b"", &[(AttributeType::DONT_FRAGMENT, &[])]);
    assert_eq!(
        relayed(world.send(ann.client, &unfragmented).0),
        (socket(PEER), Vec::new(), true)
    );
    assert!(from_peer(&mut world, "192.0.2.1:9", b"world").is_ok());
    assert_eq!(
        from_peer(&mut world, "192.0.2.2:7000", b"world"),
        Err(Dropped::NoPermission)
    );
    // An attribute that has to be understood, and none that has to be there.
    for bad in [
        send_indication(PEER, b"hello", &[(AttributeType(0x7f01), &[])]),
        send_indication(PEER, b"hello", &[])[..20 + 12].to_vec(),
    ] {
        let length = u16::try_from(bad.len() - 20).expect("a short message");
        let mut bad = bad;
        bad[2..4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(dropped(world.send(ann.client, &bad).0), Dropped::Indication);
    }
    // What is relayed does not keep a permission.
    world.pass(299);
    assert!(matches!(
        world.send(ann.client, &packet).0,
        Action::Relay { .. }
    ));
    assert!(from_peer(&mut world, PEER, b"world").is_ok());
    world.pass(1);
    assert_eq!(
        dropped(world.send(ann.client, &packet).0),
        Dropped::NoPermission
    );
    assert_eq!(
        from_peer(&mut world, PEER, b"world"),
        Err(Dropped::NoPermission)
    );
    // Nor an allocation.
    ann.permit(&mut world, &[PEER]);
    world.pass(299);
    world.send(ann.client, &packet);
    world.pass(1);
    ann.permit(&mut world, &[PEER]);
    assert_eq!(
        dropped(world.send(ann.client, &packet).0),
        Dropped::NoAllocation
    );
}

#[test]
fn peers_that_may_not_be_reached_are_not() {
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    ann.allocate(
        &mut world,
        &[(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0])],
    );
    for denied in [
        "127.0.0.1:1",
        "0.0.0.0:1",
        "10.0.0.1:1",
        "169.254.169.254:80",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "[::1]:1",
        "[::]:1",
        "[::ffff:127.0.0.1]:1",
        "[::127.0.0.1]:1",
        "[64:ff9b::7f00:1]:1",
        "[2002:7f00:1::]:1",
        "[2001:0:7f00:1::]:1",
        "[fe80::1]:1",
        "[fd00::1]:1",
        "[ff02::1]:1",
    ] {
        assert_eq!(ann.permit(&mut world, &[denied]), Some(403), "{denied}");
        assert_eq!(ann.bind(&mut world, 0x4000, denied), Some(403), "{denied}");
        let packet = send_indication(denied, b"hello", &[]);
        assert!(matches!(
            world.send(ann.client, &packet).0,
            Action::Drop(Dropped::NoPermission)
        ));
        // One that is bad, and none is permitted.
        assert_eq!(ann.permit(&mut world, &[PEER, denied]), Some(403));
        assert_eq!(
            from_peer(&mut world, PEER, b"world"),
            Err(Dropped::NoPermission)
        );
    }
    // An address of IPv4 is one in any clothes.
    assert_eq!(ann.permit(&mut world, &["[::ffff:192.0.2.1]:1"]), None);
    let packet = send_indication("[::ffff:192.0.2.1]:7000", b"hello", &[]);
    assert_eq!(relayed(world.send(ann.client, &packet).0).0, socket(PEER));
    assert_eq!(
        ann.ask(&mut world, Method::CREATE_PERMISSION, &[], &[])
            .code,
        Some(400)
    );
}

#[test]
fn the_servers_own_sockets_are_no_peers() {
    let mut world = World::new(Setup {
        allow: vec!["198.51.100.0/24", "192.0.2.0/24"],
        ..Setup::default()
    });
    let ann = User::new(&mut world, udp(5_000), "ann");
    ann.allocate(&mut world, &[]);
    // The address may be reached, for others have relayed addresses there; the listener may not.
    assert_eq!(ann.permit(&mut world, &["198.51.100.1:3478"]), None);
    assert_eq!(ann.bind(&mut world, 0x4000, "198.51.100.1:3478"), Some(403));
    let packet = send_indication("198.51.100.1:3478", b"hello", &[]);
    assert_eq!(dropped(world.send(ann.client, &packet).0), Dropped::Denied);
    let packet = send_indication("198.51.100.1:50001", b"hello", &[]);
    assert!(matches!(
        world.send(ann.client, &packet).0,
        Action::Relay { .. }
    ));
    let packet = send_indication("198.51.100.1:0", b"hello", &[]);
    assert_eq!(dropped(world.send(ann.client, &packet).0), Dropped::Denied);
    // When the lists change, what was permitted is no more.
    world.relay.set_access(access(&[]));
    let packet = send_indication("198.51.100.1:50001", b"hello", &[]);
    assert_eq!(dropped(world.send(ann.client, &packet).0), Dropped::Denied);
    assert_eq!(
        from_peer(&mut world, "198.51.100.1:50001", b"world"),
        Err(Dropped::Denied)
    );
}

/// What the lists say, where these are addresses of the host.
fn access_of_host(allow: &[&str]) -> Access {
    let nets: Vec<_> = allow.iter().map(|it| it.parse().expect("a net")).collect();
    let host =
        ["198.51.100.1", "203.0.113.9", "127.0.0.1"].map(|it| it.parse().expect("an address"));
    Access {
        policy: Arc::new(PeerPolicy::new(&nets, &[], Vec::new()).with_host(host, &nets)),
        ..access(allow)
    }
}

#[test]
fn of_the_hosts_addresses_only_relayed_ports_are_peers() {
    let mut world = World::new(Setup {
        allow: vec!["198.51.100.0/24", "203.0.113.0/24"],
        ..Setup::default()
    });
    let nets = ["198.51.100.0/24", "203.0.113.0/24", "127.0.0.0/8"];
    world.relay.set_access(access_of_host(&nets));
    let ann = User::new(&mut world, udp(5_000), "ann");
    ann.allocate(&mut world, &[]);
    let bob = User::new(&mut world, udp(5_001), "bob");
    let relayed_to_bob = bob.allocate(&mut world, &[]);
    let [of_bob] = relayed_to_bob.addresses(AttributeType::XOR_RELAYED_ADDRESS)[..] else {
        panic!("one address");
    };
    let free = (50_000..).find(|port| world.host.open.values().all(|it| it.port() != *port));
    let of_nobody = format!("198.51.100.1:{}", free.expect("a port"));
    let peers = [
        "198.51.100.1:1",
        "203.0.113.9:1",
        "203.0.113.10:1",
        "127.0.0.1:1",
    ];
    assert_eq!(ann.permit(&mut world, &peers), None);
    // A service of this host, a port of the range that nobody has, and the same under another of its addresses.
    let services = [
        "198.51.100.1:22",
        &of_nobody,
        "203.0.113.9:53",
        "[::ffff:203.0.113.9]:54",
    ];
    for (channel, denied) in (0x4000..).zip(services) {
        let packet = send_indication(denied, b"hello", &[]);
        let (action, _) = world.send(ann.client, &packet);
        assert_eq!(dropped(action), Dropped::Denied, "{denied}");
        let from = from_peer(&mut world, denied, b"world");
        assert_eq!(from, Err(Dropped::Denied), "{denied}");
        assert_eq!(ann.bind(&mut world, channel, denied), None);
        let packet = channel_data(channel, b"hello");
        let (action, _) = world.send(ann.client, &packet);
        assert_eq!(dropped(action), Dropped::Denied, "{denied}");
    }
    let packet = send_indication(&of_bob.to_string(), b"hello", &[]);
    assert!(matches!(
        world.send(ann.client, &packet).0,
        Action::Hairpin { .. }
    ));
    assert!(from_peer(&mut world, &of_bob.to_string(), b"world").is_ok());
    // The neighbours of this host are no part of it, and loopback is what the lists make of it.
    for allowed in ["203.0.113.10:53", "127.0.0.1:53"] {
        let packet = send_indication(allowed, b"hello", &[]);
        assert_eq!(
            relayed(world.send(ann.client, &packet).0).0,
            socket(allowed)
        );
        assert!(from_peer(&mut world, allowed, b"world").is_ok());
    }
    // Whoever names the address itself, means it.
    let nets = ["198.51.100.0/24", "203.0.113.9/32"];
    world.relay.set_access(access_of_host(&nets));
    let packet = send_indication("203.0.113.9:53", b"hello", &[]);
    assert!(matches!(
        world.send(ann.client, &packet).0,
        Action::Relay { .. }
    ));
    let packet = send_indication("198.51.100.1:22", b"hello", &[]);
    assert_eq!(dropped(world.send(ann.client, &packet).0), Dropped::Denied);
}

#[test]
fn channels_are_bound_as_the_rfc_says() {
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    assert_eq!(ann.bind(&mut world, 0x4000, PEER), Some(437));
    assert_eq!(ann.permit(&mut world, &[PEER]), Some(437));
    ann.allocate(&mut world, &[]);
    for number in [0x3fff, 0x5000, 0x7fff, 0xffff] {
        assert_eq!(ann.bind(&mut world, number, PEER), Some(400));
    }
    assert_eq!(ann.bind(&mut world, 0x4000, PEER), None);
    assert_eq!(ann.bind(&mut world, 0x4000, "192.0.2.2:1"), Some(400));
    assert_eq!(ann.bind(&mut world, 0x4001, PEER), Some(400));
    assert_eq!(ann.bind(&mut world, 0x4002, "[2001:db8::1]:1"), Some(443));
    assert_eq!(ann.bind(&mut world, 0x4002, "192.0.2.2:0"), Some(403));
    assert_eq!(
        ann.ask(&mut world, Method::CHANNEL_BIND, &[], &[socket(PEER)])
            .code,
        Some(400)
    );
    let many: Vec<_> = (1..=70).map(|last| format!("192.0.2.{last}:1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(ann.permit(&mut world, &many), Some(508));
}

#[test]
fn an_allocation_relays_so_much_and_others_are_not_in_its_way() {
    let mut world = World::new(Setup {
        config: Config {
            packets: Rate::new(100, 50),
            bytes: Rate::new(10_000, 10_000),
            ..Config::default()
        },
        ..Setup::default()
    });
    let ann = User::new(&mut world, udp(5_000), "ann");
    ann.allocate(&mut world, &[]);
    ann.permit(&mut world, &[PEER]);
    let through = (0..1_000)
        .filter(|_| from_peer(&mut world, PEER, b"world").is_ok())
        .count();
    assert_eq!(through, 50);
    assert_eq!(from_peer(&mut world, PEER, b"world"), Err(Dropped::Rate));
    let packet = send_indication(PEER, b"hello", &[]);
    assert_eq!(dropped(world.send(ann.client, &packet).0), Dropped::Rate);
    world.pass(10);
    let through = (0..1_000)
        .filter(|_| from_peer(&mut world, PEER, &[0; 1_200]).is_ok())
        .count();
    assert_eq!(through, 8);
    let bob = User::new(&mut world, udp(5_001), "bob");
    bob.allocate(&mut world, &[]);
    bob.permit(&mut world, &[PEER]);
    assert!(matches!(
        world.send(bob.client, &packet).0,
        Action::Relay { .. }
    ));
}
