//! Bare WebSocket: the room is in the path, and every message is a payload.
//!
//! What servers without a protocol of their own speak: nchan, the baselines, an echo of uWebSockets.

use super::dialect::{Dialect, Event, ProtocolError};
use super::upgraded::{Message, Upgraded};
use super::{Identity, Language};

/// A connection that is in its room as soon as it is open.
#[derive(Debug)]
pub(super) struct WebSocket {
    connection: Upgraded,
}

impl Dialect for WebSocket {
    type Shared = ();

    fn open(out: &mut Vec<u8>, language: Language, identity: &Identity) -> Self {
        let prefix = match language {
            Language::WebSocket { prefix } => prefix,
            _ => "/",
        };
        let path = format!("{prefix}{}", identity.room);
        Self {
            connection: Upgraded::open(out, &path),
        }
    }

    /// The path has said it all.
    fn subscribe(&mut self, _: &mut Vec<u8>, _: &str) {}

    /// Pings are WebSocket's own, and are answered below.
    fn pong(&mut self, _: &mut Vec<u8>) {}

    fn feed(
        &mut self,
        (): &mut (),
        input: &mut [u8],
        out: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        self.connection.feed(input, out, &mut |message, _| {
            on_event(match message {
                Message::Opened => Event::Subscribed { offset: None },
                Message::Text(text) => payload(text.as_bytes()),
                Message::Binary(bytes) => payload(bytes),
                Message::Close(code) => Event::Disconnected { code },
            });
            Ok(())
        })
    }
}

fn payload(data: &[u8]) -> Event<'_> {
    Event::Publication { offset: None, data }
}

#[cfg(test)]
mod tests {
    use fanfare_wire::ws::{self, Opcode, Role, handshake};

    use super::super::dialect::hear;
    use super::*;

    /// The bytes of a server for the client that sent these, and the key's place taken from them.
    fn answer(request: &[u8]) -> Vec<u8> {
        let request = std::str::from_utf8(request).expect("a head is ASCII");
        assert!(
            request.starts_with("GET /sub/news HTTP/1.1\r\n"),
            "{request}"
        );
        let key = request
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
            .expect("there is a key");
        let mut stream = Vec::new();
        handshake::write_switching_protocols(&mut stream, key, None, None);
        ws::write_frame(&mut stream, Opcode::Text, b"one");
        ws::write_frame(&mut stream, Opcode::Ping, b"alive?");
        ws::write_frame(&mut stream, Opcode::Binary, &[2; 70_000]);
        ws::write_frame(&mut stream, Opcode::Text, b"");
        ws::write_close(&mut stream, 1001, "going away");
        stream
    }

    #[test]
    fn events_do_not_depend_on_how_the_bytes_are_cut() {
        let identity = Identity {
            token: String::new(),
            room: "news".into(),
        };
        let language = Language::WebSocket { prefix: "/sub/" };
        let expected = [
            Event::Subscribed { offset: None },
            payload(b"one"),
            payload(&[2; 70_000]),
            payload(b""),
            Event::Disconnected { code: Some(1001) },
        ]
        .map(|event| format!("{event:?}"));
        // Every step through the head and the small frames; after that, steps through the long one.
        for step in (1..=250).chain([1_000, 65_536, 70_000, 80_000]) {
            let mut out = Vec::new();
            let mut member = WebSocket::open(&mut out, language, &identity);
            let stream = answer(&out);
            out.clear();
            let (events, result) = hear(&mut member, &mut (), &stream, step, &mut out);
            assert_eq!(
                (events.as_slice(), result),
                (&expected[..], Ok(())),
                "by {step}"
            );
            let mut server = ws::Decoder::new(Role::Server);
            let limits = ws::Limits {
                message_bytes_max: 125,
                fragments_max: 1,
            };
            let (_, pong) = server.next(&mut out, &limits).expect("a frame");
            assert_eq!(pong, Some(ws::Event::Pong(b"alive?")));
        }
    }

    #[test]
    fn a_server_that_does_not_upgrade_is_not_understood() {
        let identity = Identity {
            token: String::new(),
            room: "news".into(),
        };
        let mut out = Vec::new();
        let language = Language::WebSocket { prefix: "/" };
        let mut member = WebSocket::open(&mut out, language, &identity);
        let mut answer = b"HTTP/1.1 403 Forbidden\r\n\r\n".to_vec();
        let result = member.feed(&mut (), &mut answer, &mut out, &mut |_| {});
        assert!(
            matches!(result, Err(ProtocolError::Handshake(_))),
            "{result:?}"
        );
    }
}
