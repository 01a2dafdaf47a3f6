//! What the threads do with sockets, on loopback.

use fanfare_engine::ring::{Datagram, KernelRing, Received, Ring, RingConfig, Token};
use fanfare_turn::relay::Drain;
use fanfare_turn::stun::{AttributeType, Class, Message, Method, Writer};

mod live;

use live::{Client, channel_data, config, counted, receive_from, start, udp_socket};

const CHANNEL: u16 = 0x4000;

#[test]
fn a_channel_carries_both_ways_over_udp_and_tcp() {
    let server = start(config());
    for mut client in [Client::udp(&server), Client::tcp(&server)] {
        let peer = udp_socket("127.0.0.1:0");
        let relayed = client.allocate();
        assert_eq!(
            client.bind(CHANNEL, peer.local_addr().expect("bound")),
            None
        );
        // Lengths around the padding, and the empty datagram.
        for length in [1_usize, 2, 3, 4, 5, 1_200, 0] {
            let data = vec![7; length];
            client.send(&channel_data(CHANNEL, &data, 4));
            assert_eq!(receive_from(&peer), (data.clone(), relayed));
            peer.send_to(&data, relayed).expect("sent");
            let padding = if matches!(client.wire, live::Wire::Udp(_)) {
                1
            } else {
                4
            };
            assert_eq!(client.receive(), channel_data(CHANNEL, &data, padding));
        }
    }
    let counted = counted(&server, |it| it.packets_to_clients == 14);
    assert_eq!((counted.packets_to_peers, counted.packets_hairpin), (14, 0));
    server.stop();
}

#[test]
fn indications_carry_both_ways() {
    let server = start(config());
    for mut client in [Client::udp(&server), Client::tcp(&server)] {
        let peer = udp_socket("127.0.0.1:0");
        let peer_at = peer.local_addr().expect("bound");
        let relayed = client.allocate();
        assert_eq!(client.permit(peer_at), None);
        for length in [1_usize, 2, 3, 4, 1_300] {
            let data = vec![9; length];
            let mut indication = Vec::new();
            Writer::new(&mut indication, Class::Indication, Method::SEND, [1; 12])
                .xor_address(AttributeType::XOR_PEER_ADDRESS, peer_at)
                .attribute(AttributeType::DATA, &data);
            client.send(&indication);
            assert_eq!(receive_from(&peer), (data.clone(), relayed));
            peer.send_to(&data, relayed).expect("sent");
            let received = client.receive();
            let message = Message::parse(&received).expect("a message");
            assert_eq!(
                (message.class(), message.method()),
                (Class::Indication, Method::DATA)
            );
            assert_eq!(message.first(AttributeType::DATA), Some(&data[..]));
            let from = message
                .first(AttributeType::XOR_PEER_ADDRESS)
                .expect("a peer");
            assert_eq!(message.address(from), Some(peer_at));
            // Padding is zero, whatever the buffer had before.
            let padding = data.len().next_multiple_of(4) - data.len();
            assert!(received.ends_with(&[0; 3][..padding]));
        }
    }
    server.stop();
}

#[test]
fn two_clients_reach_each_other_whatever_they_come_over() {
    for threads in [1, 2] {
        let server = start(fanfare_turn::server::ServerConfig {
            threads,
            ..config()
        });
        let makers: [fn(&fanfare_turn::server::Server) -> Client; 2] = [Client::udp, Client::tcp];
        let mut sent = 0;
        for make_one in makers {
            for make_other in makers {
                // Enough pairs that both threads have some with both ends, and some with one.
                for _ in 0..8 {
                    let (mut one, mut other) = (make_one(&server), make_other(&server));
                    let (of_one, of_other) = (one.allocate(), other.allocate());
                    assert_eq!(one.bind(CHANNEL, of_other), None);
                    assert_eq!(other.permit(of_one), None);
                    one.send(&channel_data(CHANNEL, b"hello", 4));
                    // With a channel to one and without to the other: both headers are written.
                    let received = other.receive();
                    let message = Message::parse(&received).expect("a message");
                    assert_eq!(message.first(AttributeType::DATA), Some(&b"hello"[..]));
                    assert_eq!(other.bind(CHANNEL + 1, of_one), None);
                    one.send(&channel_data(CHANNEL, b"again", 4));
                    let padding = if matches!(other.wire, live::Wire::Udp(_)) {
                        1
                    } else {
                        4
                    };
                    assert_eq!(
                        other.receive(),
                        channel_data(CHANNEL + 1, b"again", padding)
                    );
                    sent += 2;
                    // Before others are given their ports.
                    assert_eq!((one.refresh(0), other.refresh(0)), (None, None));
                }
            }
        }
        let counted = counted(&server, |it| it.packets_to_clients == sent);
        assert_eq!(counted.packets_hairpin, sent);
        server.stop();
    }
}

#[test]
fn trains_arrive_whole_and_in_order() {
    const CARS: usize = 40;
    let server = start(config());
    let mut ring = KernelRing::new(
        RingConfig {
            slots: 16,
            buffers: 64,
            buffer_bytes: 1 << 17,
            ..RingConfig::default()
        },
        Vec::new(),
    )
    .expect("a ring");
    let mut client = Client::udp(&server);
    let peer = udp_socket("127.0.0.1:0");
    let relayed = client.allocate();
    assert_eq!(
        client.bind(CHANNEL, peer.local_addr().expect("bound")),
        None
    );
    let live::Wire::Udp(socket) = &client.wire else {
        unreachable!("it is one of UDP");
    };
    let from_client = ring
        .install(socket.try_clone().expect("a copy").into())
        .expect("a slot");
    let from_peer = ring
        .install(peer.try_clone().expect("a copy").into())
        .expect("a slot");
    // The last car is a short one.
    let cars: Vec<Vec<u8>> = (0..CARS)
        .map(|at| vec![u8::try_from(at).expect("few"); if at + 1 < CARS { 100 } else { 33 }])
        .collect();
    let framed: Vec<u8> = cars
        .iter()
        .flat_map(|car| channel_data(CHANNEL, car, 1))
        .collect();
    let plain = cars.concat();
    let train = |slot, to, bytes, car_bytes| Datagram {
        slot,
        to,
        pieces: std::iter::once(bytes),
        car_bytes: Some(car_bytes),
        is_whole: false,
    };
    let mut failed = Vec::new();
    let to_relay = train(from_client, server.udp()[0], &framed[..], 104);
    ring.send_datagrams(std::iter::once(to_relay), &mut failed);
    for car in &cars {
        assert_eq!(receive_from(&peer), (car.clone(), relayed));
    }
    let to_relayed = train(from_peer, relayed, &plain[..], 100);
    ring.send_datagrams(std::iter::once(to_relayed), &mut failed);
    assert_eq!(failed, []);
    for car in &cars {
        assert_eq!(client.receive(), channel_data(CHANNEL, car, 1));
    }
    let counted = counted(&server, |it| it.packets_to_clients == CARS as u64);
    assert_eq!(counted.packets_to_peers, CARS as u64);
    server.stop();
}

#[test]
fn a_train_from_a_client_to_another_has_its_headers_rewritten() {
    let server = start(config());
    let (mut one, mut other) = (Client::udp(&server), Client::udp(&server));
    let (of_one, of_other) = (one.allocate(), other.allocate());
    assert_eq!(one.bind(CHANNEL, of_other), None);
    assert_eq!(other.bind(CHANNEL + 7, of_one), None);
    let mut ring = KernelRing::new(
        RingConfig {
            slots: 4,
            buffers: 4,
            buffer_bytes: 1 << 17,
            ..RingConfig::default()
        },
        Vec::new(),
    )
    .expect("a ring");
    let live::Wire::Udp(socket) = &one.wire else {
        unreachable!("it is one of UDP");
    };
    let slot = ring
        .install(socket.try_clone().expect("a copy").into())
        .expect("a slot");
    let cars: Vec<Vec<u8>> = (0..20_u8).map(|at| vec![at; 60]).collect();
    let framed: Vec<u8> = cars
        .iter()
        .flat_map(|car| channel_data(CHANNEL, car, 1))
        .collect();
    let train = Datagram {
        slot,
        to: server.udp()[0],
        pieces: std::iter::once(&framed[..]),
        car_bytes: Some(64),
        is_whole: false,
    };
    ring.send_datagrams(std::iter::once(train), &mut Vec::new());
    for car in &cars {
        assert_eq!(other.receive(), channel_data(CHANNEL + 7, car, 1));
    }
    assert_eq!(
        counted(&server, |it| it.packets_hairpin == 20).sends_failed,
        0
    );
    server.stop();
}

#[test]
fn who_has_never_been_there_is_told_of_by_the_network() {
    let server = start(config());
    for mut client in [Client::udp(&server), Client::tcp(&server)] {
        let gone = udp_socket("127.0.0.1:0").local_addr().expect("bound");
        let alive = udp_socket("127.0.0.1:0");
        let relayed = client.allocate();
        assert_eq!(client.bind(CHANNEL, gone), None);
        assert_eq!(
            client.bind(CHANNEL + 1, alive.local_addr().expect("bound")),
            None
        );
        for _ in 0..3 {
            client.send(&channel_data(CHANNEL, b"anybody?", 4));
            let received = client.receive();
            let message = Message::parse(&received).expect("a message");
            assert_eq!(
                (message.class(), message.method()),
                (Class::Indication, Method::DATA)
            );
            let peer = message
                .first(AttributeType::XOR_PEER_ADDRESS)
                .expect("a peer");
            assert_eq!(message.address(peer), Some(gone));
            // Destination unreachable (7 bits), port unreachable (9 bits).
            let expected = [0, 0, 3 << 1, 3, 0, 0, 0, 0];
            assert_eq!(message.first(AttributeType::ICMP), Some(&expected[..]));
            assert_eq!(message.first(AttributeType::DATA), None);
            // It does not keep the others from anything.
            client.send(&channel_data(CHANNEL + 1, b"you?", 4));
            assert_eq!(receive_from(&alive), (b"you?".to_vec(), relayed));
        }
    }
    assert_eq!(
        counted(&server, |it| it.network_errors >= 6).sends_failed,
        0
    );
    server.stop();
}

#[test]
fn a_flood_leaves_everything_as_it_was() {
    let server = start(config());
    let mut client = Client::udp(&server);
    let peer = udp_socket("127.0.0.1:0");
    let relayed = client.allocate();
    assert_eq!(
        client.bind(CHANNEL, peer.local_addr().expect("bound")),
        None
    );
    // Of another address: a permission is for all ports.
    let stranger = udp_socket("127.0.0.2:0");
    for at in 0..20_000_u32 {
        let bytes = at.to_be_bytes().repeat(8);
        // A full queue at the server is the flooder's own business.
        let _ = stranger.send_to(&bytes, server.udp()[0]);
        let _ = stranger.send_to(&bytes, relayed);
    }
    // As long as the queue is full, this is lost as well.
    peer.set_read_timeout(Some(std::time::Duration::from_millis(100)))
        .expect("a socket option");
    let mut received = [0; 16];
    let is_heard = |_| {
        client.send(&channel_data(CHANNEL, b"still there?", 4));
        matches!(peer.recv(&mut received), Ok(12))
    };
    assert!((0..200).any(is_heard));
    assert_eq!(received[..12], *b"still there?");
    assert_eq!(client.refresh(0), None);
    let counted = counted(&server, |it| it.allocations == 0 && it.sockets == 0);
    assert_eq!(counted.packets_to_clients, 0);
    server.stop();
}

#[test]
fn allocations_come_and_go_by_the_thousand() {
    const CYCLES: u64 = 5_000;
    let server = start(config());
    for _ in 0..CYCLES {
        let mut client = Client::udp(&server);
        client.allocate();
        assert_eq!(client.refresh(0), None);
    }
    counted(&server, |it| it.allocations == 0 && it.sockets == 0);
    assert_eq!(server.handle().allocation_count(), 0);
    server.stop();
}

#[test]
fn operators_see_and_end_allocations() {
    let server = start(fanfare_turn::server::ServerConfig {
        threads: 2,
        ..config()
    });
    let mut clients: Vec<Client> = (0..8).map(|_| Client::udp(&server)).collect();
    let mut relayed: Vec<_> = clients.iter_mut().map(Client::allocate).collect();
    let handle = server.handle();
    let mut listed: Vec<_> = handle
        .allocations()
        .into_iter()
        .flat_map(|it| it.relayed)
        .collect();
    relayed.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, relayed);
    assert_eq!(handle.allocation_count(), 8);
    for address in relayed {
        assert!(handle.end(address));
        assert!(!handle.end(address));
    }
    assert_eq!(handle.allocations(), []);
    assert_eq!(clients[0].refresh(600), Some(437));
    counted(&server, |it| it.allocations == 0 && it.sockets == 0);
    server.stop();
}

#[test]
fn a_server_that_is_drained_keeps_its_calls() {
    let server = start(config());
    let mut old = Client::udp(&server);
    let relayed = old.allocate();
    let alternate = "192.0.2.99:3478".parse().expect("a socket");
    let handle = server.handle();
    handle.set_drain(Some(Drain {
        alternate: [Some(alternate), None],
    }));
    // It is told, and answers afterwards.
    assert_eq!(handle.allocations().len(), 1);
    let mut new = Client::udp(&server);
    let (code, answer) = new.ask(Method::ALLOCATE, |writer| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    });
    assert_eq!(code, Some(300));
    let message = Message::parse(&answer).expect("a message");
    let told = message.first(AttributeType::ALTERNATE_SERVER);
    assert_eq!(told, Some(&[0, 1, 0x0d, 0x96, 192, 0, 2, 99][..]));
    let peer = udp_socket("127.0.0.1:0");
    assert_eq!(old.bind(CHANNEL, peer.local_addr().expect("bound")), None);
    assert_eq!(old.refresh(600), None);
    old.send(&channel_data(CHANNEL, b"going on", 4));
    assert_eq!(receive_from(&peer), (b"going on".to_vec(), relayed));
    assert_eq!(old.refresh(0), None);
    assert_eq!(handle.allocation_count(), 0);
    server.stop();
}

#[test]
fn what_is_longer_than_a_packet_is_relayed_too() {
    let server = start(config());
    let mut client = Client::udp(&server);
    let peer = udp_socket("127.0.0.1:0");
    let relayed = client.allocate();
    assert_eq!(
        client.bind(CHANNEL, peer.local_addr().expect("bound")),
        None
    );
    for length in [1_473_usize, 9_000, 60_000] {
        let data = vec![3; length];
        client.send(&channel_data(CHANNEL, &data, 4));
        assert_eq!(receive_from(&peer), (data.clone(), relayed));
        peer.send_to(&data, relayed).expect("sent");
        assert_eq!(client.receive(), channel_data(CHANNEL, &data, 1));
    }
    server.stop();
}

#[test]
fn binding_is_answered_in_place() {
    for (addr, bytes) in [("127.0.0.1:0", 32), ("[::1]:0", 44)] {
        let server = start(fanfare_turn::server::ServerConfig {
            udp: vec![addr.parse().expect("a socket")],
            ..config()
        });
        let socket = udp_socket(addr);
        socket.connect(server.udp()[0]).expect("a route");
        let local = socket.local_addr().expect("bound");
        let mut client = Client::at(socket);
        let (code, answer) = client.ask(Method::BINDING, |_| {});
        assert_eq!(code, None);
        let message = Message::parse(&answer).expect("a message");
        let mapped = message
            .first(AttributeType::XOR_MAPPED_ADDRESS)
            .expect("an address");
        assert_eq!(message.address(mapped), Some(local));
        // Nothing but the address, so that it is of no use against others: with the headers of IP and UDP, at most 1.4 times
        // the shortest request.
        assert_eq!(answer.len(), bytes);
        server.stop();
    }
}

#[test]
fn another_server_is_not_listened_beside() {
    let first = start(config());
    let taken = [
        (first.udp().to_vec(), Vec::new()),
        (Vec::new(), first.tcp().to_vec()),
    ];
    for (udp, tcp) in taken {
        let second = fanfare_turn::server::ServerConfig {
            udp,
            tcp,
            ..config()
        };
        let error =
            fanfare_turn::server::Server::start(second).map(fanfare_turn::server::Server::stop);
        let error = error.expect_err("the address is taken").to_string();
        assert!(error.contains("is in use"), "{error}");
    }
    first.stop();
}

/// The ring's own: a receive that ends with an error is begun again, and tells what there is to tell.
#[test]
fn a_datagram_reads_as_it_was_sent() {
    let mut ring = KernelRing::new(
        RingConfig {
            slots: 4,
            buffers: 4,
            buffer_bytes: 1 << 17,
            ..RingConfig::default()
        },
        Vec::new(),
    )
    .expect("a ring");
    let options = fanfare_engine::ring::UdpOptions {
        has_trains: true,
        ..Default::default()
    };
    let local = "127.0.0.1:0".parse().expect("a socket");
    let socket = fanfare_engine::ring::bind_udp(local, &options).expect("a socket");
    let socket = std::net::UdpSocket::from(socket);
    let to = socket.local_addr().expect("bound");
    let slot = ring.install(socket.into()).expect("a slot");
    ring.receive_datagrams(slot, Token::new(1, 0, 0));
    let sender = udp_socket("127.0.0.1:0");
    sender.send_to(b"one", to).expect("sent");
    sender.send_to(b"", to).expect("sent");
    let mut completions = Vec::new();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        ring.turn(live::PATIENCE, &mut completions).expect("a ring");
        for completion in completions.drain(..) {
            let received = completion
                .buffer
                .and_then(Received::read)
                .expect("a datagram");
            assert_eq!(received.from(), sender.local_addr().expect("bound"));
            assert!(!received.is_truncated());
            let cars: Vec<_> = received.cars().collect();
            assert_eq!(cars.len(), 1);
            heard.push(received.into_buffer()[cars[0].clone()].to_vec());
        }
    }
    assert_eq!(heard, [b"one".to_vec(), Vec::new()]);
}

/// What the packets of IP look like that arrive for this port: whether they may be cut, in their order.
fn may_be_cut(raw: &socket2::Socket, port: u16, count: usize) -> Vec<bool> {
    use std::io::Read;
    let mut found = Vec::new();
    let mut buffer = [0; 2_048];
    let mut raw = raw;
    while found.len() < count {
        let length = match raw.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.unwrap_or_else(|error| panic!("{error} after {found:?}")),
        };
        let head = usize::from(buffer[0] & 0x0f) * 4;
        if length >= head + 8 && buffer[head + 2..head + 4] == port.to_be_bytes() {
            found.push(buffer[6] & 0x40 == 0);
        }
    }
    found
}

#[test]
fn packets_are_cut_unless_the_client_says_no() {
    use socket2::{Domain, Protocol, Socket, Type};
    let Ok(raw) = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "raw sockets need CAP_NET_RAW"
        );
        eprintln!("skipped: raw sockets need CAP_NET_RAW");
        return;
    };
    raw.set_read_timeout(Some(live::PATIENCE))
        .expect("a socket option");
    // An address of its own: with everything that other tests send it would be full.
    let alone = "127.77.0.1:0"
        .parse::<std::net::SocketAddr>()
        .expect("a socket");
    raw.bind(&alone.into()).expect("bound");
    let server = start(config());
    let mut client = Client::udp(&server);
    let peer = udp_socket(&alone.to_string());
    let peer_at = peer.local_addr().expect("bound");
    client.allocate();
    assert_eq!(client.permit(peer_at), None);
    // One by one, and then so that they leave with the same turn.
    let indication = |is_whole: bool| {
        let mut indication = Vec::new();
        let mut writer = Writer::new(&mut indication, Class::Indication, Method::SEND, [1; 12]);
        writer
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer_at)
            .attribute(AttributeType::DATA, b"whole?");
        if is_whole {
            writer.attribute(AttributeType::DONT_FRAGMENT, &[]);
        }
        indication
    };
    let whole = [true, false, true, true, false];
    for is_whole in whole {
        client.send(&indication(is_whole));
        assert_eq!(receive_from(&peer).0, b"whole?");
    }
    assert_eq!(may_be_cut(&raw, peer_at.port(), 5), whole.map(|it| !it));
    for is_whole in whole {
        client.send(&indication(is_whole));
    }
    assert_eq!(may_be_cut(&raw, peer_at.port(), 5), whole.map(|it| !it));
    server.stop();
}
