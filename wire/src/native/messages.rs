//! The messages, one type per kind. `docs/protocol-native.md` gives their bytes.
//!
//! Each type is what the encoder takes and what the decoder yields, with text and bytes borrowed, and derives the archive
//! that travels. The order of the fields is the order of their bytes: adding, removing or moving one is a new
//! [`VERSION`](super::VERSION). Flat types only: what has failed in checked access before lives in shared pointers, maps
//! and nesting (RUSTSEC-2026-0001, 0122, 0234, 0235).

use rkyv::{Archive, Serialize};

use super::field::{Bytes, Text};

/// Client: who it is. The first frame of a connection, and only that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Hello<'a> {
    /// The connection token; empty for none.
    #[rkyv(with = Text)]
    pub token: &'a str,
    /// What the client calls itself, for logs; may be empty.
    #[rkyv(with = Text)]
    pub client_name: &'a str,
}

/// Client: joins a room. Answered by [`Subscribed`] or [`ErrorReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Subscribe<'a> {
    /// Comes back in the answer; not 0.
    pub request: u32,
    /// The room's name.
    #[rkyv(with = Text)]
    pub room: &'a str,
    /// The subscription token; empty for none.
    #[rkyv(with = Text)]
    pub token: &'a str,
    /// Asks for what was published after `offset` in `epoch`.
    pub recover: bool,
    /// The epoch of the last publication seen; 0 for none.
    pub epoch: u64,
    /// The offset of the last publication seen; 0 for none.
    pub offset: u64,
}

/// Client: leaves a room. Answered by [`Unsubscribed`] or [`ErrorReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Unsubscribe<'a> {
    /// Comes back in the answer; not 0.
    pub request: u32,
    /// The room's name.
    #[rkyv(with = Text)]
    pub room: &'a str,
}

/// Client: publishes to a room. Answered by [`Ack`] or [`ErrorReply`], unless `request` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Publish<'a> {
    /// Comes back in the answer; 0 wants none.
    pub request: u32,
    /// The room's name.
    #[rkyv(with = Text)]
    pub room: &'a str,
    /// What the members receive.
    #[rkyv(with = Bytes)]
    pub data: &'a [u8],
}

/// Server: the answer to [`Hello`]. Nothing else may be sent to the server before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Welcome<'a> {
    /// The connection's name: 32 lowercase hexadecimal digits.
    #[rkyv(with = Text)]
    pub client: &'a str,
    /// The client hears something this often, a ping if nothing else; 0 for never.
    pub ping_interval_ms: u32,
    /// A pong must arrive this soon after a ping; 0 for no limit.
    pub pong_timeout_ms: u32,
    /// The longest archive that the server accepts.
    pub archive_bytes_max: u32,
}

/// Server: the client is in the room. What it missed and could be recovered follows as [`Publication`]s, then live ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Subscribed<'a> {
    /// The request that this answers; 0 when the server subscribed the client by itself.
    pub request: u32,
    /// The room's number in what follows on this connection.
    pub room: u32,
    /// The room's name when `request` is 0, empty otherwise: the client knows what it asked for.
    #[rkyv(with = Text)]
    pub name: &'a str,
    /// The epoch of the room's offsets; 0 when the room does not number publications.
    pub epoch: u64,
    /// The offset of the last publication before the live ones: recovered ones run up to it.
    pub offset: u64,
    /// A later [`Subscribe`] may ask to recover.
    pub recoverable: bool,
    /// The request asked to recover.
    pub was_recovering: bool,
    /// Everything missed follows. When false although it was asked for, nothing does, and the client reloads its state.
    pub recovered: bool,
}

/// Server: the client is no longer in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Unsubscribed<'a> {
    /// The request that this answers; 0 when the server did it.
    pub request: u32,
    /// The room's number.
    pub room: u32,
    /// Why, as [`UnsubscribeCode`](crate::centrifuge::codes::UnsubscribeCode); 2500 and above ask to subscribe again.
    pub code: u16,
    /// The same for people.
    #[rkyv(with = Text)]
    pub reason: &'a str,
}

/// Server: a publication in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Publication<'a> {
    /// Its number in the room; 0 when the room does not number publications.
    pub offset: u64,
    /// The room's number.
    pub room: u32,
    /// What was published.
    #[rkyv(with = Bytes)]
    pub data: &'a [u8],
}

/// Server: a [`Publish`] was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Ack {
    /// The request that this answers.
    pub request: u32,
    /// The epoch of `offset`; 0 when the room does not number publications.
    pub epoch: u64,
    /// The publication's number in the room.
    pub offset: u64,
    /// How many members it was sent on to.
    pub members: u32,
}

/// Server: a request failed, and the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct ErrorReply<'a> {
    /// The request that this answers.
    pub request: u32,
    /// Why, as [`ErrorCode`](crate::centrifuge::codes::ErrorCode).
    pub code: u16,
    /// The same for people.
    #[rkyv(with = Text)]
    pub message: &'a str,
}

/// Server: publications of a room that this client was too slow to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Gap {
    /// The room's number.
    pub room: u32,
    /// The offset of the first one lost.
    pub from: u64,
    /// The offset of the last one lost.
    pub to: u64,
}

/// Server: a push to this connection or its user, outside any room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Message<'a> {
    /// What was pushed.
    #[rkyv(with = Bytes)]
    pub data: &'a [u8],
}

/// Server: the last frame before it closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct Disconnect<'a> {
    /// Why, as [`DisconnectCode`](crate::centrifuge::codes::DisconnectCode), which also says whether to come back.
    pub code: u16,
    /// The same for people.
    #[rkyv(with = Text)]
    pub reason: &'a str,
}

// The roots' sizes are the format. rkyv's format flags are global to a build, so another crate could change them; that, or
// a moved field, must fail here and not at a client.
macro_rules! assert_archived {
    ($($archived:ty: $bytes:literal,)+) => {
        $(const _: () = assert!(align_of::<$archived>() == 1 && size_of::<$archived>() == $bytes);)+
    };
}

assert_archived! {
    ArchivedHello<'static>: 16,
    ArchivedSubscribe<'static>: 37,
    ArchivedUnsubscribe<'static>: 12,
    ArchivedPublish<'static>: 20,
    ArchivedWelcome<'static>: 20,
    ArchivedSubscribed<'static>: 35,
    ArchivedUnsubscribed<'static>: 18,
    ArchivedPublication<'static>: 20,
    ArchivedAck: 24,
    ArchivedErrorReply<'static>: 14,
    ArchivedGap: 20,
    ArchivedMessage<'static>: 8,
    ArchivedDisconnect<'static>: 10,
}
