//! The six bytes before every archive.

use super::Error;

/// Bytes of a frame's header: `length: u32`, `version: u8`, `kind: u8`, little endian.
pub const HEADER_BYTES: usize = 6;

/// The version of the format. It changes whenever any byte of any message would.
pub const VERSION: u8 = 1;

/// What a frame carries. Kinds of the server have the high bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// [`Hello`](super::Hello)
    Hello = 0x01,
    /// [`Subscribe`](super::Subscribe)
    Subscribe = 0x02,
    /// [`Unsubscribe`](super::Unsubscribe)
    Unsubscribe = 0x03,
    /// [`Publish`](super::Publish)
    Publish = 0x04,
    /// The client asks for a pong; the archive is empty.
    ClientPing = 0x05,
    /// The client answers a ping; the archive is empty.
    ClientPong = 0x06,
    /// [`Welcome`](super::Welcome)
    Welcome = 0x81,
    /// [`Subscribed`](super::Subscribed)
    Subscribed = 0x82,
    /// [`Unsubscribed`](super::Unsubscribed)
    Unsubscribed = 0x83,
    /// [`Publication`](super::Publication)
    Publication = 0x84,
    /// The server asks for a pong; the archive is empty.
    ServerPing = 0x85,
    /// The server answers a ping; the archive is empty.
    ServerPong = 0x86,
    /// [`Ack`](super::Ack)
    Ack = 0x87,
    /// [`ErrorReply`](super::ErrorReply)
    Error = 0x88,
    /// [`Gap`](super::Gap)
    Gap = 0x89,
    /// [`Message`](super::Message)
    Message = 0x8A,
    /// [`Disconnect`](super::Disconnect)
    Disconnect = 0x8B,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::Hello,
            0x02 => Self::Subscribe,
            0x03 => Self::Unsubscribe,
            0x04 => Self::Publish,
            0x05 => Self::ClientPing,
            0x06 => Self::ClientPong,
            0x81 => Self::Welcome,
            0x82 => Self::Subscribed,
            0x83 => Self::Unsubscribed,
            0x84 => Self::Publication,
            0x85 => Self::ServerPing,
            0x86 => Self::ServerPong,
            0x87 => Self::Ack,
            0x88 => Self::Error,
            0x89 => Self::Gap,
            0x8A => Self::Message,
            0x8B => Self::Disconnect,
            _ => return None,
        })
    }

    /// Whether the server sends it.
    #[must_use]
    pub const fn is_from_server(self) -> bool {
        self as u8 & 0x80 != 0
    }
}

/// A frame's header, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) archive_bytes: u32,
    pub(super) kind: Kind,
}

impl Header {
    /// `None` until six bytes are there.
    pub(super) fn read(input: &[u8]) -> Result<Option<Self>, Error> {
        let Some(&[l0, l1, l2, l3, version, kind]) = input.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let Some(kind) = Kind::from_byte(kind) else {
            return Err(Error::Kind(kind));
        };
        Ok(Some(Self {
            archive_bytes: u32::from_le_bytes([l0, l1, l2, l3]),
            kind,
        }))
    }

    pub(super) const fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [l0, l1, l2, l3] = self.archive_bytes.to_le_bytes();
        [l0, l1, l2, l3, VERSION, self.kind as u8]
    }
}
