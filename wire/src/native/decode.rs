//! Bytes to messages, in place.

use rkyv::Portable;
use rkyv::api::low::{LowValidator, access};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;

use super::header::{HEADER_BYTES, Header, Kind, VERSION};
use super::messages::{
    Ack, ArchivedAck, ArchivedDisconnect, ArchivedErrorReply, ArchivedGap, ArchivedHello,
    ArchivedMessage, ArchivedPublication, ArchivedPublish, ArchivedSubscribe, ArchivedSubscribed,
    ArchivedUnsubscribe, ArchivedUnsubscribed, ArchivedWelcome, Disconnect, ErrorReply, Gap, Hello,
    Message, Publication, Publish, Subscribe, Subscribed, Unsubscribe, Unsubscribed, Welcome,
};
use crate::centrifuge::codes::DisconnectCode;

/// A frame of a client. Text and bytes are borrowed from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// Who it is.
    Hello(Hello<'a>),
    /// Joins a room.
    Subscribe(Subscribe<'a>),
    /// Leaves a room.
    Unsubscribe(Unsubscribe<'a>),
    /// Publishes to a room.
    Publish(Publish<'a>),
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

/// A frame of the server. Text and bytes are borrowed from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    /// The client is let in.
    Welcome(Welcome<'a>),
    /// The client is in a room.
    Subscribed(Subscribed<'a>),
    /// The client is out of a room.
    Unsubscribed(Unsubscribed<'a>),
    /// A publication in a room.
    Publication(Publication<'a>),
    /// A publish was taken.
    Ack(Ack),
    /// A request failed.
    Error(ErrorReply<'a>),
    /// Publications were lost.
    Gap(Gap),
    /// A push outside any room.
    Message(Message<'a>),
    /// The connection ends.
    Disconnect(Disconnect<'a>),
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

/// Why bytes are not a frame. The stream cannot be followed any further: close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The header declares more than the limit.
    #[error(
        "the frame declares {archive_bytes} bytes, {archive_bytes_max} are allowed: send less at once"
    )]
    TooLarge {
        /// What the header declares.
        archive_bytes: u32,
        /// What the caller allows.
        archive_bytes_max: u32,
    },
    /// The peer speaks another version.
    #[error("the frame has version {0}, this side speaks {VERSION}")]
    Version(u8),
    /// No message of that side has this kind.
    #[error("no message has kind {0:#04x} in this direction")]
    Kind(u8),
    /// The archive is not one of its kind: too short, a pointer out of bounds, text that is not UTF-8, a flag that is
    /// neither 0 nor 1.
    #[error("the archive of a frame of kind {0:#04x} is malformed")]
    Archive(u8),
}

impl Error {
    /// The code to disconnect with.
    #[must_use]
    pub const fn code(self) -> DisconnectCode {
        match self {
            Self::Version(_) => DisconnectCode::INAPPROPRIATE_PROTOCOL,
            Self::TooLarge { .. } | Self::Kind(_) | Self::Archive(_) => DisconnectCode::BAD_REQUEST,
        }
    }
}

/// Reads the frame at the start of `input`: it and how many bytes it took, or `None` until all of it is there.
///
/// The declared length of the archive is held against `archive_bytes_max` as soon as the header is there, so a caller that
/// keeps what is incomplete keeps at most `HEADER_BYTES + archive_bytes_max`.
///
/// # Errors
/// See [`Error`]; all are final.
pub fn decode_client(
    input: &[u8],
    archive_bytes_max: u32,
) -> Result<Option<(ClientFrame<'_>, usize)>, Error> {
    let Some(frame) = Frame::read(input, archive_bytes_max)? else {
        return Ok(None);
    };
    let message = match frame.kind {
        Kind::Publish => {
            let message: &ArchivedPublish<'_> = frame.access()?;
            ClientFrame::Publish(Publish {
                request: message.request.to_native(),
                room: message.room.as_str(),
                data: message.data.as_slice(),
            })
        }
        Kind::ClientPong => frame.empty(ClientFrame::Pong)?,
        Kind::ClientPing => frame.empty(ClientFrame::Ping)?,
        Kind::Subscribe => {
            let message: &ArchivedSubscribe<'_> = frame.access()?;
            ClientFrame::Subscribe(Subscribe {
                request: message.request.to_native(),
                room: message.room.as_str(),
                token: message.token.as_str(),
                recover: message.recover,
                epoch: message.epoch.to_native(),
                offset: message.offset.to_native(),
            })
        }
        Kind::Unsubscribe => {
            let message: &ArchivedUnsubscribe<'_> = frame.access()?;
            ClientFrame::Unsubscribe(Unsubscribe {
                request: message.request.to_native(),
                room: message.room.as_str(),
            })
        }
        Kind::Hello => {
            let message: &ArchivedHello<'_> = frame.access()?;
            ClientFrame::Hello(Hello {
                token: message.token.as_str(),
                client_name: message.client_name.as_str(),
            })
        }
        other => return Err(Error::Kind(other as u8)),
    };
    Ok(Some((message, frame.bytes)))
}

/// As [`decode_client`], for the frames of a server.
///
/// # Errors
/// See [`Error`]; all are final.
pub fn decode_server(
    input: &[u8],
    archive_bytes_max: u32,
) -> Result<Option<(ServerFrame<'_>, usize)>, Error> {
    let Some(frame) = Frame::read(input, archive_bytes_max)? else {
        return Ok(None);
    };
    let message = match frame.kind {
        Kind::Publication => {
            let message: &ArchivedPublication<'_> = frame.access()?;
            ServerFrame::Publication(Publication {
                offset: message.offset.to_native(),
                room: message.room.to_native(),
                data: message.data.as_slice(),
            })
        }
        Kind::Ack => {
            let message: &ArchivedAck = frame.access()?;
            ServerFrame::Ack(Ack {
                request: message.request.to_native(),
                epoch: message.epoch.to_native(),
                offset: message.offset.to_native(),
                members: message.members.to_native(),
            })
        }
        Kind::ServerPing => frame.empty(ServerFrame::Ping)?,
        Kind::ServerPong => frame.empty(ServerFrame::Pong)?,
        Kind::Message => {
            let message: &ArchivedMessage<'_> = frame.access()?;
            ServerFrame::Message(Message {
                data: message.data.as_slice(),
            })
        }
        Kind::Gap => {
            let message: &ArchivedGap = frame.access()?;
            ServerFrame::Gap(Gap {
                room: message.room.to_native(),
                from: message.from.to_native(),
                to: message.to.to_native(),
            })
        }
        Kind::Subscribed => {
            let message: &ArchivedSubscribed<'_> = frame.access()?;
            ServerFrame::Subscribed(Subscribed {
                request: message.request.to_native(),
                room: message.room.to_native(),
                name: message.name.as_str(),
                epoch: message.epoch.to_native(),
                offset: message.offset.to_native(),
                recoverable: message.recoverable,
                was_recovering: message.was_recovering,
                recovered: message.recovered,
            })
        }
        Kind::Unsubscribed => {
            let message: &ArchivedUnsubscribed<'_> = frame.access()?;
            ServerFrame::Unsubscribed(Unsubscribed {
                request: message.request.to_native(),
                room: message.room.to_native(),
                code: message.code.to_native(),
                reason: message.reason.as_str(),
            })
        }
        Kind::Error => {
            let message: &ArchivedErrorReply<'_> = frame.access()?;
            ServerFrame::Error(ErrorReply {
                request: message.request.to_native(),
                code: message.code.to_native(),
                message: message.message.as_str(),
            })
        }
        Kind::Welcome => {
            let message: &ArchivedWelcome<'_> = frame.access()?;
            ServerFrame::Welcome(Welcome {
                client: message.client.as_str(),
                ping_interval_ms: message.ping_interval_ms.to_native(),
                pong_timeout_ms: message.pong_timeout_ms.to_native(),
                archive_bytes_max: message.archive_bytes_max.to_native(),
            })
        }
        Kind::Disconnect => {
            let message: &ArchivedDisconnect<'_> = frame.access()?;
            ServerFrame::Disconnect(Disconnect {
                code: message.code.to_native(),
                reason: message.reason.as_str(),
            })
        }
        other => return Err(Error::Kind(other as u8)),
    };
    Ok(Some((message, frame.bytes)))
}

/// A whole frame, its archive not yet looked at.
struct Frame<'a> {
    kind: Kind,
    archive: &'a [u8],
    /// Header and archive.
    bytes: usize,
}

impl<'a> Frame<'a> {
    fn read(input: &'a [u8], archive_bytes_max: u32) -> Result<Option<Self>, Error> {
        let Some(header) = Header::read(input)? else {
            return Ok(None);
        };
        if header.archive_bytes > archive_bytes_max {
            return Err(Error::TooLarge {
                archive_bytes: header.archive_bytes,
                archive_bytes_max,
            });
        }
        let bytes = HEADER_BYTES + header.archive_bytes as usize;
        let Some(archive) = input.get(HEADER_BYTES..bytes) else {
            return Ok(None);
        };
        Ok(Some(Self {
            kind: header.kind,
            archive,
            bytes,
        }))
    }

    /// Checked access: bounds, UTF-8 and flags of everything reachable from the root, which is at the archive's end.
    fn access<T>(&self) -> Result<&'a T, Error>
    where
        T: Portable + for<'v> CheckBytes<LowValidator<'v, Failure>>,
    {
        access::<T, Failure>(self.archive).map_err(|Failure| Error::Archive(self.kind as u8))
    }

    fn empty<T>(&self, message: T) -> Result<T, Error> {
        if !self.archive.is_empty() {
            return Err(Error::Archive(self.kind as u8));
        }
        Ok(message)
    }
}
