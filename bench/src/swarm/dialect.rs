//! What a member speaks, behind one trait: bytes out for what it wants, events for the bytes that come.

use fanfare_wire::{goim, native, ws};
use thiserror::Error;

#[cfg(test)]
use super::ledger::Ledger;
use super::{Identity, Language};
#[cfg(test)]
use crate::stamp;

/// One connection's end of a protocol.
///
/// A member opens, is welcomed, subscribes to its room, and listens. The swarm knows these steps; the dialect knows
/// their bytes.
pub trait Dialect: Sized + Send {
    /// What the connections of one ring share, such as what has been parsed before.
    type Shared: Default;

    /// A member says unasked that it lives, every [`heartbeat`](super::Group::heartbeat).
    const BEATS: bool = false;

    /// A new connection: appends what a client sends first.
    fn open(out: &mut Vec<u8>, language: Language, identity: &Identity) -> Self;

    /// Appends the wish to join the room; sent after [`Event::Welcomed`].
    fn subscribe(&mut self, out: &mut Vec<u8>, room: &str);

    /// Appends the answer to [`Event::Ping`].
    fn pong(&mut self, out: &mut Vec<u8>);

    /// Appends a heartbeat, where the dialect [has them](Self::BEATS).
    fn beat(&mut self, _out: &mut Vec<u8>) {}

    /// Reads what was received, in whichever pieces, and says what it means. What the protocol wants answered
    /// below the level of events is appended to `out`.
    ///
    /// # Errors
    /// What came is not of this protocol; the connection is to be given up.
    fn feed(
        &mut self,
        shared: &mut Self::Shared,
        input: &mut [u8],
        out: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError>;
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The member may subscribe.
    Welcomed,
    /// The member is in its room.
    Subscribed {
        /// Offset of the last publication before those that follow, where the protocol says.
        offset: Option<u64>,
    },
    /// Something was published in the room.
    Publication {
        /// Its number in the room, where the protocol says.
        offset: Option<u64>,
        /// The payload.
        data: &'a [u8],
    },
    /// Some were published in the room, one after the other, that are byte for byte what other members heard and had checked.
    Publications {
        /// Number of the first in the room.
        first: u64,
        /// How many.
        count: u64,
    },
    /// The publication told last came to other members with other bytes, or is none that was published.
    Contradicted,
    /// The server skipped publications for this member, and says which.
    Gap {
        /// Offset of the first.
        from: u64,
        /// Offset of the last.
        to: u64,
    },
    /// The server took the member out of the room.
    Unsubscribed {
        /// Why; 2500 and above ask to subscribe again.
        code: u16,
    },
    /// The server wants to know whether the member lives.
    Ping,
    /// The server has heard that the member lives.
    HeartbeatAnswered,
    /// A request was refused.
    Refused {
        /// Why.
        code: u16,
    },
    /// The server ends the connection.
    Disconnected {
        /// Why; `None` when it gave no code.
        code: Option<u16>,
    },
}

/// What a connection is told when a stream comes in pieces of so many bytes, up to the first that is not of the protocol.
#[cfg(test)]
pub(super) fn hear<D: Dialect>(
    connection: &mut D,
    shared: &mut D::Shared,
    stream: &[u8],
    step: usize,
    out: &mut Vec<u8>,
) -> (Vec<String>, Result<(), ProtocolError>) {
    let mut events = Vec::new();
    let result = stream.to_vec().chunks_mut(step).try_for_each(|piece| {
        connection.feed(shared, piece, out, &mut |event| {
            events.push(format!("{event:?}"));
        })
    });
    (events, result)
}

/// The account of a connection without offsets when a stream comes in pieces of so many bytes, and in how many events.
#[cfg(test)]
pub(super) fn account<D: Dialect>(
    connection: &mut D,
    shared: &mut D::Shared,
    stream: &[u8],
    step: usize,
) -> (Result<Ledger, ProtocolError>, usize) {
    let (mut ledger, mut events) = (Ledger::default(), 0);
    let result = stream.to_vec().chunks_mut(step).try_for_each(|piece| {
        connection.feed(shared, piece, &mut Vec::new(), &mut |event| {
            events += 1;
            match event {
                Event::Publication { data, .. } => {
                    match stamp::number_near(data, ledger.last + 1) {
                        Some(number) => ledger.heard(number),
                        None => ledger.received += 1,
                    }
                }
                Event::Publications { first, count } => ledger.heard_all(first, count),
                Event::Contradicted => ledger.corrupt(),
                _ => {}
            }
        })
    });
    (result.map(|()| ledger), events)
}

/// Why what a server sent cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The server did not upgrade to WebSocket.
    #[error("the server did not open a WebSocket: {0}")]
    Handshake(String),
    /// The WebSocket framing is broken.
    #[error("broken WebSocket framing: {0}")]
    WebSocket(#[from] ws::Error),
    /// The native framing is broken.
    #[error("broken native framing: {0}")]
    Native(#[from] native::Error),
    /// The framing of goim is broken.
    #[error("broken goim framing: {0}")]
    Goim(#[from] goim::Error),
    /// A frame of goim that is not what a member in a room hears.
    #[error("not expected of a goim server: {what} (operation {operation})")]
    GoimFrame {
        /// What is wrong with it.
        what: &'static str,
        /// Its operation.
        operation: i32,
    },
    /// A message ends within a frame.
    #[error("a message that ends within a frame")]
    Unfinished,
    /// Text that is not a reply or a push of the Centrifuge protocol.
    #[error("not a reply: {0}")]
    Reply(String),
    /// The beginning of a line that is not of the NATS protocol, or of an error that it tells.
    #[error("not expected of a NATS server: {0}")]
    Nats(String),
    /// A packet that is not one of MQTT 3.1.1 at `QoS` 0.
    #[error("not expected of an MQTT server: {0}")]
    Mqtt(&'static str),
}
