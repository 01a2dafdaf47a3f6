//! What the simulated clients say and hear, whatever they speak.

use super::ledger::Room;

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) enum Command<'a> {
    Connect {
        token: &'a str,
    },
    Subscribe {
        request: u32,
        room: &'a str,
        recover: Option<Position>,
    },
    Unsubscribe {
        request: u32,
        room: &'a str,
    },
    Publish {
        request: u32,
        room: &'a str,
        data: &'a [u8],
    },
    Presence {
        request: u32,
        room: &'a str,
    },
    History {
        request: u32,
        room: &'a str,
    },
    Ping,
    Pong,
}

/// A place in a room, as clients are told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Connected {
        client: String,
    },
    Subscribed(Subscribed),
    /// `request` is 0 when the server did it.
    Unsubscribed {
        request: u32,
        room: Room,
    },
    Publication {
        room: Room,
        publication: Publication,
    },
    Published {
        request: u32,
        position: Option<Position>,
    },
    Answered {
        request: u32,
    },
    Failed {
        request: u32,
        code: u16,
    },
    Gap {
        room: Room,
        from: u64,
        to: u64,
    },
    Message {
        data: Vec<u8>,
    },
    Disconnected {
        code: u16,
    },
    Ping,
    Pong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscribed {
    /// 0 when the server did it.
    pub(crate) request: u32,
    pub(crate) room: Room,
    /// Where the live publications begin, if the room's numbers are shown to this client.
    pub(crate) position: Option<Position>,
    pub(crate) is_recoverable: bool,
    pub(crate) was_recovering: bool,
    pub(crate) has_recovered: bool,
    /// What was recovered, if it comes with the answer.
    pub(crate) publications: Vec<Publication>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    /// Its number, if the room's numbers are shown to this client.
    pub(crate) offset: Option<u64>,
    pub(crate) data: Vec<u8>,
}

/// A client's side of a protocol: bytes that arrived become events, commands become bytes.
pub(crate) trait Dialect {
    /// The first bytes of a connection.
    fn open(&mut self, out: &mut Vec<u8>);

    fn write(&mut self, out: &mut Vec<u8>, command: &Command<'_>);

    /// Takes whole messages off the front of `input`. An error means that the server said something it must not.
    fn read(&mut self, input: &mut Vec<u8>, events: &mut Vec<Event>) -> Result<(), String>;
}
