//! MQTT 3.1.1, `QoS` 0 (OASIS Standard, 29 October 2014).

use super::dialect::{Dialect, Event, ProtocolError};
use super::partial::Partial;
use super::{Identity, Language};

/// Longest packet that is taken from a server.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// Section 3.1: version 4, clean session, keep-alive 0 (the server waits for ever), and an empty client identifier, for
/// which the server makes up one (3.1.3.1).
pub(crate) const CONNECT: [u8; 14] = *b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";

/// Packet identifiers are not 0 (2.3.1), and a member makes one request.
const SUBSCRIBE_ID: [u8; 2] = [0, 1];

/// Types of packets, in the upper half of the first byte (2.2.1).
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBACK: u8 = 9;
const PINGRESP: u8 = 13;

/// The server did not grant the subscription (3.9.3).
const SUBACK_FAILURE: u8 = 0x80;

/// A connection of MQTT. Only clients ping, and these need not.
#[derive(Debug, Default)]
pub(super) struct Mqtt {
    partial: Partial,
}

impl Dialect for Mqtt {
    type Shared = ();

    fn open(out: &mut Vec<u8>, _: Language, _: &Identity) -> Self {
        out.extend_from_slice(&CONNECT);
        Self::default()
    }

    fn subscribe(&mut self, out: &mut Vec<u8>, room: &str) {
        // Section 3.8; a name longer than its length field would be cut.
        let name = &room.as_bytes()[..room.len().min(usize::from(u16::MAX))];
        let name_bytes = u16::try_from(name.len()).unwrap_or(u16::MAX);
        out.push(0x82);
        write_length(out, 2 + 2 + name.len() + 1);
        out.extend_from_slice(&SUBSCRIBE_ID);
        out.extend_from_slice(&name_bytes.to_be_bytes());
        out.extend_from_slice(name);
        out.push(0);
    }

    fn pong(&mut self, _: &mut Vec<u8>) {}

    fn feed(
        &mut self,
        (): &mut (),
        input: &mut [u8],
        _: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        self.partial.feed(input, |bytes| {
            let Some(packet) = Packet::read(bytes)? else {
                return Ok(None);
            };
            if let Some(event) = event(&packet).map_err(ProtocolError::Mqtt)? {
                on_event(event);
            }
            Ok(Some(packet.bytes))
        })
    }
}

/// Appends a remaining length (2.2.3): seven bits a byte, the lowest first; at most four bytes.
pub(crate) fn write_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        if length == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    /// Its first byte: type and flags.
    pub(crate) first: u8,
    /// What follows its length.
    pub(crate) body: &'a [u8],
    /// How many bytes it takes.
    pub(crate) bytes: usize,
}

impl<'a> Packet<'a> {
    /// The packet at the start of `bytes`; `None` when it is not complete.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Option<Self>, ProtocolError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let mut length = 0;
        for (index, &byte) in rest.iter().take(4).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 != 0 {
                continue;
            }
            if length > PACKET_BYTES_MAX {
                return Err(ProtocolError::Mqtt("a packet of more than a mebibyte"));
            }
            let (start, end) = (2 + index, 2 + index + length);
            return Ok(bytes.get(start..end).map(|body| Self {
                first,
                body,
                bytes: end,
            }));
        }
        if rest.len() >= 4 {
            return Err(ProtocolError::Mqtt("a length of more than four bytes"));
        }
        Ok(None)
    }
}

fn event<'a>(packet: &Packet<'a>) -> Result<Option<Event<'a>>, &'static str> {
    let Packet { first, body, .. } = *packet;
    match (first >> 4, body) {
        (PUBLISH, body) => {
            // Quality of service, in bits 1 and 2; with any, an identifier would follow the topic.
            if first & 0x06 != 0 {
                return Err("a publication that wants to be acknowledged");
            }
            let publication = body
                .split_first_chunk::<2>()
                .and_then(|(&length, rest)| rest.get(usize::from(u16::from_be_bytes(length))..));
            let data = publication.ok_or("a publication shorter than its topic")?;
            Ok(Some(Event::Publication { offset: None, data }))
        }
        (CONNACK, &[_, 0]) => Ok(Some(Event::Welcomed)),
        (CONNACK, &[_, code]) => Ok(Some(Event::Refused { code: code.into() })),
        (SUBACK, &[high, low, code]) if [high, low] == SUBSCRIBE_ID => Ok(Some(match code {
            SUBACK_FAILURE.. => Event::Refused { code: code.into() },
            _ => Event::Subscribed { offset: None },
        })),
        (PINGRESP, []) => Ok(None),
        _ => Err("a packet that a subscriber does not expect"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::hear;
    use super::*;

    fn feed(stream: &[u8], step: usize) -> (Vec<String>, Result<(), ProtocolError>) {
        let mut member = Mqtt::default();
        let (events, result) = hear(&mut member, &mut (), stream, step, &mut Vec::new());
        assert!(member.partial.is_empty() || result.is_err());
        (events, result)
    }

    fn publish(stream: &mut Vec<u8>, first: u8, data: &[u8]) {
        stream.push(first);
        write_length(stream, 2 + 4 + data.len());
        stream.extend_from_slice(b"\x00\x04news");
        stream.extend_from_slice(data);
    }

    #[test]
    fn events_do_not_depend_on_how_the_bytes_are_cut() {
        let long = vec![7; 20_000];
        let mut stream = b"\x20\x02\x00\x00\x90\x03\x00\x01\x00".to_vec();
        publish(&mut stream, 0x30, b"one");
        publish(&mut stream, 0x31, b"");
        stream.extend_from_slice(b"\xd0\x00");
        publish(&mut stream, 0x30, &[1; 200]);
        let every_step = stream.len();
        publish(&mut stream, 0x30, &long);
        let publication = |data| Event::Publication { offset: None, data };
        let expected = [
            Event::Welcomed,
            Event::Subscribed { offset: None },
            publication(b"one"),
            publication(b""),
            publication(&[1; 200]),
            publication(&long),
        ]
        .map(|event| format!("{event:?}"));
        for step in (1..=every_step).chain([10_000, 20_000, stream.len()]) {
            let (events, result) = feed(&stream, step);
            assert_eq!(
                (events.as_slice(), result),
                (&expected[..], Ok(())),
                "by {step}"
            );
        }
    }

    #[test]
    fn a_refusal_gives_its_code() {
        for (stream, code) in [
            (&b"\x20\x02\x00\x05"[..], 5),
            (b"\x90\x03\x00\x01\x80", 0x80),
        ] {
            let refused = format!("{:?}", Event::Refused { code });
            assert_eq!(feed(stream, 1), (vec![refused], Ok(())));
        }
    }

    #[test]
    fn what_is_not_expected_is_an_error() {
        for stream in [
            &b"\x32\x07\x00\x04news\x00"[..],
            b"\x30\x02\x00\x04",
            b"\x30\x01\x00",
            b"\x30\x00",
            b"\x90\x03\x00\x02\x00",
            b"\x20\x01\x00",
            b"\x30\xff\xff\xff\xff",
            b"\x30\xff\xff\xff\x7f",
            b"HTTP/1.1 400 Bad Request\r\n\r\n and more than the length that these letters make: a hundred and some",
            b"\x00\x00",
        ] {
            for step in [1, stream.len()] {
                let (_, result) = feed(stream, step);
                assert!(
                    matches!(result, Err(ProtocolError::Mqtt(_))),
                    "{stream:?}: {result:?}"
                );
            }
        }
    }

    #[test]
    fn a_subscription_is_as_the_standard_lays_it_out() {
        let mut out = Vec::new();
        Mqtt::default().subscribe(&mut out, "a/b");
        assert_eq!(out, b"\x82\x08\x00\x01\x00\x03a/b\x00");
    }
}
