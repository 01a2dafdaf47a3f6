//! The NATS client protocol, a core subscription without headers.
//!
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use super::dialect::{Dialect, Event, ProtocolError};
use super::partial::Partial;
use super::{Identity, Language};

/// Longest line that is taken from a server. `INFO` is the longest and grows with the server's cluster.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Longest payload that is taken: the server's own default.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Of a line that is shown in an error.
const SHOWN_BYTES_MAX: usize = 200;

/// `verbose` and `pedantic` off: no `+OK` for every line. No headers, so messages come as `MSG` only.
const CONNECT: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":false,\"lang\":\"rust\",\"version\":\"0\",\"name\":\"swarm\"}\r\nPING\r\n";

/// A connection of NATS. The server answers a `PING` after it has done what came before it, so the first `PONG` says that
/// the connection is accepted, and the second that the subscription is there.
#[derive(Debug, Default)]
pub(super) struct Nats {
    partial: Partial,
    is_accepted: bool,
}

impl Dialect for Nats {
    type Shared = ();

    fn open(out: &mut Vec<u8>, _: Language, _: &Identity) -> Self {
        out.extend_from_slice(CONNECT);
        Self::default()
    }

    fn subscribe(&mut self, out: &mut Vec<u8>, room: &str) {
        out.extend_from_slice(b"SUB ");
        out.extend_from_slice(room.as_bytes());
        out.extend_from_slice(b" 1\r\nPING\r\n");
    }

    fn pong(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PONG\r\n");
    }

    fn feed(
        &mut self,
        (): &mut (),
        input: &mut [u8],
        _: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let Self {
            partial,
            is_accepted,
        } = self;
        partial.feed(input, |bytes| {
            let Some((said, taken)) = operation(bytes)? else {
                return Ok(None);
            };
            match said {
                Operation::Message(data) => on_event(Event::Publication { offset: None, data }),
                Operation::Ping => on_event(Event::Ping),
                Operation::Pong if *is_accepted => on_event(Event::Subscribed { offset: None }),
                Operation::Pong => {
                    *is_accepted = true;
                    on_event(Event::Welcomed);
                }
                Operation::Other => {}
            }
            Ok(Some(taken))
        })
    }
}

enum Operation<'a> {
    Message(&'a [u8]),
    Ping,
    Pong,
    /// `INFO` and `+OK`.
    Other,
}

/// The operation at the start of `bytes` and how many it takes; `None` when it is not complete.
fn operation(bytes: &[u8]) -> Result<Option<(Operation<'_>, usize)>, ProtocolError> {
    let Some(line_bytes) = bytes.iter().position(|&byte| byte == b'\n') else {
        if bytes.len() > LINE_BYTES_MAX {
            return Err(not_nats(bytes));
        }
        return Ok(None);
    };
    let taken = line_bytes + 1;
    let Some(line) = bytes[..line_bytes].strip_suffix(b"\r") else {
        return Err(not_nats(bytes));
    };
    if let Some(arguments) = line.strip_prefix(b"MSG ") {
        let payload_bytes = payload_bytes(arguments).ok_or_else(|| not_nats(line))?;
        return match bytes[taken..].split_at_checked(payload_bytes) {
            Some((data, [b'\r', b'\n', ..])) => {
                Ok(Some((Operation::Message(data), taken + payload_bytes + 2)))
            }
            None | Some((_, [] | [b'\r'])) => Ok(None),
            Some(_) => Err(not_nats(line)),
        };
    }
    let said = match line {
        b"PING" => Operation::Ping,
        b"PONG" => Operation::Pong,
        b"+OK" => Operation::Other,
        line if line.starts_with(b"INFO ") => Operation::Other,
        // `-ERR` ends most connections, and no other line is known.
        _ => return Err(not_nats(line)),
    };
    Ok(Some((said, taken)))
}

/// The length of a message's payload. The arguments are the subject, the subscription, perhaps where to reply, and the
/// length.
fn payload_bytes(arguments: &[u8]) -> Option<usize> {
    let digits = arguments.rsplit(|&byte| byte == b' ').next()?;
    if digits.is_empty() || digits.len() > 7 || digits.len() == arguments.len() {
        return None;
    }
    let mut payload_bytes = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        payload_bytes = payload_bytes * 10 + usize::from(digit - b'0');
    }
    Some(payload_bytes).filter(|&bytes| bytes <= PAYLOAD_BYTES_MAX)
}

fn not_nats(bytes: &[u8]) -> ProtocolError {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    ProtocolError::Nats(String::from_utf8_lossy(shown).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::dialect::hear;
    use super::*;

    fn feed(stream: &[u8], step: usize) -> (Vec<String>, Result<(), ProtocolError>) {
        let mut member = Nats::default();
        let (events, result) = hear(&mut member, &mut (), stream, step, &mut Vec::new());
        assert!(member.partial.is_empty() || result.is_err());
        (events, result)
    }

    #[test]
    fn events_do_not_depend_on_how_the_bytes_are_cut() {
        let long = "x".repeat(700);
        let stream = format!(
            "INFO {{\"max_payload\":1048576}}\r\nPONG\r\n+OK\r\nPONG\r\nMSG news 1 3\r\none\r\nPING\r\n\
             MSG news 1 reply.to 4\r\n\r\n\r\n\r\nMSG news 1 0\r\n\r\nMSG news 1 700\r\n{long}\r\n"
        );
        let publication = |data| Event::Publication { offset: None, data };
        let expected = [
            Event::Welcomed,
            Event::Subscribed { offset: None },
            publication(b"one"),
            Event::Ping,
            publication(b"\r\n\r\n"),
            publication(b""),
            publication(long.as_bytes()),
        ]
        .map(|event| format!("{event:?}"));
        for step in 1..=stream.len() {
            let (events, result) = feed(stream.as_bytes(), step);
            assert_eq!(
                (events.as_slice(), result),
                (&expected[..], Ok(())),
                "by {step}"
            );
        }
    }

    #[test]
    fn what_is_not_nats_is_an_error() {
        for stream in [
            "-ERR 'Authorization Violation'\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "PONG\n",
            "MSG 3\r\none\r\n",
            "MSG news 1 \r\n\r\n",
            "MSG news 1 -3\r\none\r\n",
            "MSG news 1 2\r\none\r\n",
            "MSG news 1 1048577\r\n",
            "MSG news 1 99999999999999999999\r\n",
        ] {
            for step in [1, stream.len()] {
                let (_, result) = feed(stream.as_bytes(), step);
                assert!(matches!(result, Err(ProtocolError::Nats(_))), "{stream}");
            }
        }
        let endless = vec![b'x'; LINE_BYTES_MAX + 1];
        assert!(feed(&endless, 4_096).1.is_err());
    }
}
