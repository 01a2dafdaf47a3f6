//! What the clients of several threads have to do with each other.
#![allow(missing_docs)]

mod live;

use std::net::SocketAddr;

use fanfare_turn::stun::AttributeType;
use live::{Client, channel_data, config, counted, start};

const THREADS: u16 = 3;
const CHANNEL: u16 = 0x4000;

/// So many that not all of them are the clients of one thread, but once in 3^31.
const CLIENTS: usize = 32;

#[test]
fn clients_of_different_threads_reach_each_other_in_order() {
    const PACKETS: u16 = 200;
    let server = start(fanfare_turn::server::ServerConfig {
        threads: THREADS,
        ..config()
    });
    // Every other one on a stream.
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|at| match at % 2 {
            0 => Client::udp(&server),
            _ => Client::tcp(&server),
        })
        .collect();
    let relayed: Vec<SocketAddr> = clients.iter_mut().map(Client::allocate).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        // Sends to the next, and hears the one before.
        assert_eq!(client.bind(CHANNEL, relayed[(at + 1) % CLIENTS]), None);
        let before = relayed[(at + CLIENTS - 1) % CLIENTS];
        assert_eq!(client.bind(CHANNEL + 1, before), None);
    }
    for number in 0..PACKETS {
        // Of any length up to the longest that streams of packets have.
        let data = vec![number.to_be_bytes()[1]; usize::from(number) * 7 % 1_201];
        for client in &mut clients {
            client.send(&channel_data(CHANNEL, &data, 4));
        }
        for (at, client) in clients.iter_mut().enumerate() {
            let padding = if at % 2 == 0 { 1 } else { 4 };
            assert_eq!(client.receive(), channel_data(CHANNEL + 1, &data, padding));
        }
    }
    let sent = u64::from(PACKETS) * CLIENTS as u64;
    let counted = counted(&server, |it| it.packets_to_clients == sent);
    assert_eq!(
        (counted.packets_to_peers, counted.packets_hairpin),
        (sent, sent)
    );
    assert_eq!(counted.packets_not_handed_over, 0);
    assert!(counted.packets_handed_over > 0 && counted.packets_handed_over < sent);
    server.stop();
}

#[test]
fn what_is_handed_over_needs_a_permission() {
    let server = start(fanfare_turn::server::ServerConfig {
        threads: THREADS,
        ..config()
    });
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::udp(&server)).collect();
    let relayed: Vec<SocketAddr> = clients.iter_mut().map(Client::allocate).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.bind(CHANNEL, relayed[(at + 1) % CLIENTS]), None);
    }
    // All have the same address, so that permission is with all of them: nobody else may.
    let mut stranger = Client::udp(&server);
    let unheard = stranger.allocate();
    for client in &mut clients {
        assert_eq!(client.bind(CHANNEL + 1, unheard), None);
        client.send(&channel_data(CHANNEL + 1, b"not for you", 1));
    }
    let all = CLIENTS as u64;
    let counted = counted(&server, |it| it.dropped_no_permission == all);
    assert_eq!(
        (counted.packets_to_peers, counted.packets_to_clients),
        (all, 0)
    );
    assert!(counted.packets_handed_over > 0);
    server.stop();
}

#[test]
fn a_token_is_good_at_every_thread() {
    let server = start(fanfare_turn::server::ServerConfig {
        threads: THREADS,
        ..config()
    });
    let mut clients: Vec<(Client, Client)> = (0..CLIENTS)
        .map(|_| (Client::udp(&server), Client::udp(&server)))
        .collect();
    let peer = live::udp_socket("127.0.0.1:0");
    let peer_at = peer.local_addr().expect("bound");
    for (first, second) in &mut clients {
        // At most 16 ports are kept for a user: each is taken up before the next.
        let (even, answer) = first.allocate_with(&[(AttributeType::EVEN_PORT, &[0x80])]);
        let message = fanfare_turn::stun::Message::parse(&answer).expect("a message");
        let token = message.first(AttributeType::RESERVATION_TOKEN);
        let token = token.expect("a token").to_vec();
        let (odd, _) = second.allocate_with(&[(AttributeType::RESERVATION_TOKEN, &token)]);
        assert_eq!((even.port() % 2, odd.port()), (0, even.port() + 1));
        assert_eq!(second.permit(peer_at), None);
        peer.send_to(b"heard", odd).expect("sent");
        assert!(second.receive().windows(5).any(|it| it == b"heard"));
    }
    let all = 2 * CLIENTS as u64;
    counted(&server, |it| (it.allocations, it.sockets) == (all, all));
    for (first, second) in &mut clients {
        assert_eq!((first.refresh(0), second.refresh(0)), (None, None));
    }
    counted(&server, |it| (it.allocations, it.sockets) == (0, 0));
    server.stop();
}
