//! STUN: nothing panics, what is borrowed lies inside of the input, what is read is written to the same bytes, and the
//! relay does nothing for whoever has not shown who they are.

#![no_main]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use fanfare_turn::budget::Rate;
use fanfare_turn::credentials::Credentials;
use fanfare_turn::framing::Channels;
use fanfare_turn::framing::Datagram;
use fanfare_turn::nonce::Nonces;
use fanfare_turn::policy::PeerPolicy;
use fanfare_turn::ports::Ports;
use fanfare_turn::relay::{
    Access, Action, Client, Config, ConnectionId, Now, QuotaLimits, Relay, RelayAddress, RelaySocket,
    ReservationToken, Shared, Sockets, Transport,
};
use fanfare_turn::stun::{Message, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for channels in [Channels::RFC_8656, Channels::RFC_5766] {
        if let Some(Datagram::ChannelData { channel, data }) = Datagram::read(input, channels) {
            assert!(channels.contains(channel));
            assert_eq!(data, &input[4..4 + data.len()]);
        }
    }
    if let Ok(message) = Message::parse(input) {
        let mut out = Vec::new();
        let mut writer = Writer::new(
            &mut out,
            message.class(),
            message.method(),
            message.transaction(),
        );
        for attribute in message.attributes() {
            let _ = message.address(attribute.value);
            writer.attribute(attribute.kind, attribute.value);
        }
        // But for padding, which may be anything.
        let again = Message::parse(&out).expect("what was written");
        assert!(again.attributes().eq(message.attributes()));
    }
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let client = Client {
        transport: if input.len() % 2 == 0 { Transport::Udp } else { Transport::Tcp },
        local: address("198.51.100.1:3478"),
        remote: address("203.0.113.7:4000"),
    };
    let now = Now {
        unix_s: 1_700_000_000,
        ns: 5_000_000_000,
    };
    let mut reply = Vec::new();
    let action = RELAY.with_borrow_mut(|relay| {
        relay.handle_client(client, input, now, &mut NoSockets, &mut reply)
    });
    assert_eq!(matches!(action, Action::Reply), !reply.is_empty());
    assert!(matches!(action, Action::Reply | Action::Drop(_)));
    if !reply.is_empty() {
        let answer = Message::parse(&reply).expect("an answer");
        let question = Message::parse(input).expect("only messages are answered");
        assert_eq!(answer.transaction(), question.transaction());
    }
});

thread_local! {
    /// One for all inputs: of strangers nothing stays.
    static RELAY: RefCell<Relay> = RefCell::new(relay());
}

fn relay() -> Relay {
    let unlimited = Rate::new(u32::MAX, u32::MAX);
    let ip = "198.51.100.1".parse().expect("an address");
    let family = RelayAddress {
        local: ip,
        external: ip,
    };
    let users = [("ann".to_owned(), "secret".to_owned())];
    Relay::new(
        Config {
            has_tcp: true,
            strangers: unlimited,
            bindings: unlimited,
            ..Config::default()
        },
        Access {
            credentials: Arc::new(Credentials::new("example.org", [], users)),
            policy: Arc::new(PeerPolicy::new(&[], &[], Vec::new())),
        },
        Nonces::new([9; 32]),
        Arc::new(Shared::new(
            QuotaLimits {
                per_user: 1,
                total: 1,
            },
            &(50_000..=50_001),
        )),
        [Some((family, Ports::new(50_000..=50_001))), None],
        5,
    )
}

/// A host on which nothing may be opened: nobody here has shown who they are.
struct NoSockets;

impl Sockets for NoSockets {
    fn open(&mut self, _: SocketAddr) -> std::io::Result<RelaySocket> {
        unreachable!("for a stranger")
    }

    fn listen(&mut self, _: SocketAddr) -> std::io::Result<RelaySocket> {
        unreachable!("for a stranger")
    }

    fn keep(&mut self, _: ReservationToken, _: SocketAddr) -> std::io::Result<()> {
        unreachable!("for a stranger")
    }

    fn take_up(&mut self, _: ReservationToken) -> std::io::Result<RelaySocket> {
        unreachable!("for a stranger")
    }

    fn give_up(&mut self, _: ReservationToken) {
        unreachable!("nothing is kept")
    }

    fn close(&mut self, _: RelaySocket) {
        unreachable!("nothing is open")
    }

    fn connect(&mut self, _: ConnectionId, _: RelaySocket, _: SocketAddr) -> std::io::Result<()> {
        unreachable!("for a stranger")
    }

    fn disconnect(&mut self, _: ConnectionId) {
        unreachable!("nothing is connected")
    }
}
