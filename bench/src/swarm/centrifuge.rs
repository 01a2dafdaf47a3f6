//! The Centrifuge protocol, JSON over WebSocket.

use std::hash::{BuildHasher, RandomState};

use fanfare_wire::ws::Opcode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::dialect::{Dialect, Event, ProtocolError};
use super::upgraded::{self, Message, Upgraded};
use super::{Identity, Language};

const PATH: &str = "/connection/websocket";

const CONNECT: u32 = 1;
const SUBSCRIBE: u32 = 2;

/// A connection of the Centrifuge protocol.
#[derive(Debug)]
pub(super) struct Centrifuge {
    connection: Upgraded,
    /// Its token, until that is sent.
    token: Box<str>,
}

/// Publications that were parsed lately.
///
/// Members of a room are sent the same bytes, so most messages were parsed for another member a moment ago: comparing is
/// exact, and ten times as fast as a JSON parser, whose time would otherwise be most of a swarm's.
#[derive(Debug)]
pub(super) struct Parsed {
    recent: Vec<Option<Recent>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Recent {
    text: Box<str>,
    offset: Option<u64>,
    /// Where in the text the data is.
    data: std::ops::Range<usize>,
}

/// Publications that are remembered: members of one ring are rarely further apart, even where 5,000 are on their way.
const RECENT: usize = 8_192;

/// Bytes at the end of a push that tell one from another: the offset is there.
const TELLING_BYTES: usize = 24;

impl Default for Parsed {
    fn default() -> Self {
        Self {
            recent: (0..RECENT).map(|_| None).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Dialect for Centrifuge {
    type Shared = Parsed;

    fn open(out: &mut Vec<u8>, _: Language, identity: &Identity) -> Self {
        Self {
            connection: Upgraded::open(out, PATH),
            token: identity.token.as_str().into(),
        }
    }

    fn subscribe(&mut self, out: &mut Vec<u8>, room: &str) {
        write(
            out,
            &json!({"id": SUBSCRIBE, "subscribe": {"channel": room}}).to_string(),
        );
    }

    fn pong(&mut self, out: &mut Vec<u8>) {
        write(out, "{}");
    }

    fn feed(
        &mut self,
        parsed: &mut Parsed,
        input: &mut [u8],
        out: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let Self { connection, token } = self;
        connection.feed(input, out, &mut |message, out| match message {
            Message::Opened => {
                let token = std::mem::take(token);
                let hello = json!({"id": CONNECT, "connect": {"token": token, "name": "swarm"}});
                write(out, &hello.to_string());
                Ok(())
            }
            Message::Text(text) => text
                .lines()
                .filter(|line| !line.is_empty())
                .try_for_each(|line| reply(parsed, line, on_event)),
            Message::Close(code) => {
                on_event(Event::Disconnected { code });
                Ok(())
            }
            Message::Binary(_) => Err(ProtocolError::Reply("a binary message".to_owned())),
        })
    }
}

fn write(out: &mut Vec<u8>, text: &str) {
    upgraded::write(out, Opcode::Text, text.as_bytes());
}

#[derive(Deserialize)]
struct Reply<'a> {
    id: Option<u32>,
    #[serde(borrow)]
    push: Option<Push<'a>>,
    subscribe: Option<Subscribed>,
    error: Option<Code>,
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow, rename = "pub")]
    publication: Option<Publication<'a>>,
    unsubscribe: Option<Code>,
    disconnect: Option<Code>,
}

#[derive(Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    offset: Option<u64>,
}

#[derive(Deserialize)]
struct Subscribed {
    #[serde(default)]
    recoverable: bool,
    #[serde(default)]
    offset: u64,
}

#[derive(Deserialize)]
struct Code {
    code: u16,
}

fn reply(
    parsed: &mut Parsed,
    line: &str,
    on_event: &mut impl FnMut(Event<'_>),
) -> Result<(), ProtocolError> {
    let tail = &line.as_bytes()[line.len().saturating_sub(TELLING_BYTES)..];
    #[expect(
        clippy::cast_possible_truncation,
        reason = "any bits of a hash will do"
    )]
    let place = parsed.hasher.hash_one(tail) as usize % RECENT;
    if let Some(recent) = &parsed.recent[place]
        && *recent.text == *line
    {
        on_event(Event::Publication {
            offset: recent.offset,
            data: recent.text[recent.data.clone()].as_bytes(),
        });
        return Ok(());
    }
    let read: Reply<'_> = serde_json::from_str(line)
        .map_err(|error| ProtocolError::Reply(format!("{error}: {line}")))?;
    if let Some(publication) = read
        .push
        .as_ref()
        .and_then(|push| push.publication.as_ref())
    {
        let data = publication.data.get();
        on_event(Event::Publication {
            offset: publication.offset,
            data: data.as_bytes(),
        });
        // A raw value is a part of the text it was read from.
        if let Some(start) = line.find(data) {
            parsed.recent[place] = Some(Recent {
                text: line.into(),
                offset: publication.offset,
                data: start..start + data.len(),
            });
        }
        return Ok(());
    }
    if let Some(event) = event(&read) {
        on_event(event);
    }
    Ok(())
}

fn event(reply: &Reply<'_>) -> Option<Event<'static>> {
    if let Some(push) = &reply.push {
        return match (&push.unsubscribe, &push.disconnect) {
            (Some(code), _) => Some(Event::Unsubscribed { code: code.code }),
            (None, Some(code)) => Some(Event::Disconnected {
                code: Some(code.code),
            }),
            // Joins, leaves and messages outside of rooms.
            (None, None) => None,
        };
    }
    if let Some(error) = &reply.error {
        return Some(Event::Refused { code: error.code });
    }
    match reply.id {
        // A reply of nothing is a ping.
        None => Some(Event::Ping),
        Some(CONNECT) => Some(Event::Welcomed),
        Some(_) => reply
            .subscribe
            .as_ref()
            .map(|subscribed| Event::Subscribed {
                offset: Some(subscribed.offset).filter(|_| subscribed.recoverable),
            }),
    }
}

#[cfg(test)]
mod tests {
    use fanfare_wire::ws;

    use super::super::dialect::hear;
    use super::*;

    fn events(stream: &[u8], step: usize) -> Vec<String> {
        let mut events = Vec::new();
        let mut member = Centrifuge {
            connection: Upgraded::opened(),
            token: Box::default(),
        };
        let mut parsed = Parsed::default();
        // Twice: the second time the publications are known.
        for _ in 0..2 {
            let (heard, result) = hear(&mut member, &mut parsed, stream, step, &mut Vec::new());
            assert_eq!(result, Ok(()));
            events.extend(heard);
        }
        events
    }

    #[test]
    fn events_do_not_depend_on_how_the_bytes_are_cut_nor_on_what_is_remembered() {
        let mut stream = Vec::new();
        for text in [
            r#"{"id":1,"connect":{"client":"c","ping":25,"pong":true}}"#,
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"7","offset":41}}"#,
            r#"{"push":{"channel":"1","pub":{"data":1,"offset":42}}}"#,
            "{}",
            "{\"push\":{\"channel\":\"r\",\"pub\":{\"data\":[2],\"offset\":43}}}\n{\"push\":{\"channel\":\"r\",\"unsubscribe\":{\"code\":2500}}}",
            r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#,
        ] {
            ws::write_frame(&mut stream, Opcode::Text, text.as_bytes());
        }
        let once = [
            Event::Welcomed,
            Event::Subscribed { offset: Some(41) },
            Event::Publication {
                offset: Some(42),
                data: b"1",
            },
            Event::Ping,
            Event::Publication {
                offset: Some(43),
                data: b"[2]",
            },
            Event::Unsubscribed { code: 2500 },
            Event::Refused { code: 103 },
        ]
        .map(|event| format!("{event:?}"));
        let expected = [once.clone(), once].concat();
        for step in 1..=stream.len() {
            assert_eq!(events(&stream, step), expected, "by {step}");
        }
    }

    #[test]
    fn a_close_gives_its_code() {
        let mut stream = Vec::new();
        ws::write_close(&mut stream, 3008, "slow");
        let event = Event::Disconnected { code: Some(3008) };
        assert_eq!(events(&stream, 100), [format!("{event:?}")]);
    }
}
