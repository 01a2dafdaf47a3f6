//! STUN messages (RFC 8489) as borrowed views, and a writer for replies.
//!
//! Nothing is allocated and nothing is logged while a message is read: every datagram of the open Internet comes by here
//! first. Why not a library: docs/decisions/007-own-stun-codec.md.

mod address;
mod attribute;
mod integrity;
mod message;
mod writer;

pub use attribute::AttributeType;
pub use integrity::{Integrity, Key, PasswordAlgorithm, userhash};
pub use message::{Attribute, Malformed, Message};
pub use writer::Writer;

/// What every message of RFC 5389 and its successors has in bytes 4 to 8.
pub const MAGIC_COOKIE: u32 = 0x2112_a442;

/// Bytes of a message before its attributes.
pub const HEADER_BYTES: usize = 20;

/// What a message is an attempt of, an answer to, or none of both (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Asks for an answer.
    Request,
    /// Does not.
    Indication,
    /// It was done.
    Success,
    /// It was not, and ERROR-CODE says why.
    Error,
}

/// What a message is about, of the methods that a relay knows (RFC 8489 section 18.2, RFC 8656 section 17, RFC 6062 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Method(u16);

impl Method {
    /// Where do my datagrams seem to come from?
    pub const BINDING: Self = Self(0x001);
    /// A relayed address, please.
    pub const ALLOCATE: Self = Self(0x003);
    /// Keep it, or give it back.
    pub const REFRESH: Self = Self(0x004);
    /// Data of a client for a peer.
    pub const SEND: Self = Self(0x006);
    /// Data of a peer for a client.
    pub const DATA: Self = Self(0x007);
    /// These peers may send.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// This number stands for that peer.
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// Connect to a peer over TCP.
    pub const CONNECT: Self = Self(0x00a);
    /// This connection is to carry what that peer says.
    pub const CONNECTION_BIND: Self = Self(0x00b);
    /// A peer has connected over TCP.
    pub const CONNECTION_ATTEMPT: Self = Self(0x00c);

    /// As a number of 12 bits.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// The first two bytes of a message: the bits of class and method lie among each other (RFC 8489 section 5).
pub(crate) const fn pack_type(class: Class, method: Method) -> u16 {
    let class = match class {
        Class::Request => 0x000,
        Class::Indication => 0x010,
        Class::Success => 0x100,
        Class::Error => 0x110,
    };
    let m = method.0;
    class | m & 0x00f | (m & 0x070) << 1 | (m & 0xf80) << 2
}

pub(crate) const fn unpack_type(packed: u16) -> (Class, Method) {
    let class = match packed & 0x110 {
        0x000 => Class::Request,
        0x010 => Class::Indication,
        0x100 => Class::Success,
        _ => Class::Error,
    };
    let method = packed & 0x00f | (packed & 0x0e0) >> 1 | (packed & 0x3e00) >> 2;
    (class, Method(method))
}

/// Names a request and its answer.
pub type TransactionId = [u8; 12];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_packed_as_the_registry_has_them() {
        // RFC 8489 section 5, RFC 8656 section 17: as they are on the wire.
        for (class, method, packed) in [
            (Class::Request, Method::BINDING, 0x0001),
            (Class::Success, Method::BINDING, 0x0101),
            (Class::Error, Method::BINDING, 0x0111),
            (Class::Indication, Method::SEND, 0x0016),
            (Class::Indication, Method::DATA, 0x0017),
            (Class::Success, Method::ALLOCATE, 0x0103),
            (Class::Error, Method::CHANNEL_BIND, 0x0119),
            (Class::Indication, Method::CONNECTION_ATTEMPT, 0x001c),
        ] {
            assert_eq!(pack_type(class, method), packed);
            assert_eq!(unpack_type(packed), (class, method));
        }
        for packed in 0..0x4000 {
            let (class, method) = unpack_type(packed);
            assert_eq!(pack_type(class, method), packed);
        }
    }
}
