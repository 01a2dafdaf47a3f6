//! A message that was received.

use std::net::SocketAddr;

use super::{
    AttributeType, Class, HEADER_BYTES, Integrity, Key, MAGIC_COOKIE, Method, TransactionId,
    address, unpack_type,
};

/// Most attributes that a message may have. The longest request that makes sense asks for permissions for many peers at
/// once.
const ATTRIBUTES_MAX: usize = 128;

const FINGERPRINT_MASK: u32 = 0x5354_554e;

/// Why bytes are no message. What is not one is not answered, so these are names of counters rather than texts for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The first two bits, the cookie, or the length in the header.
    #[error("the header is not one of STUN, or has another length than the message")]
    Header,
    /// It runs past the end.
    #[error("an attribute is longer than what is left of the message")]
    Attribute,
    /// More than 128.
    #[error("the message has more than {ATTRIBUTES_MAX} attributes")]
    TooManyAttributes,
    /// There is one, and it is wrong or not at the end.
    #[error("FINGERPRINT is not that of the message")]
    Fingerprint,
}

/// An attribute of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// What it is.
    pub kind: AttributeType,
    /// Its value, without padding.
    pub value: &'a [u8],
}

/// A whole message, of which nothing but its form has been checked.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Where the attributes end that are protected by whatever comes behind them.
    body_end: usize,
    /// Where the attributes of integrity begin, and what they say.
    sha1: Option<(usize, &'a [u8])>,
    sha256: Option<(usize, &'a [u8])>,
    has_fingerprint: bool,
}

impl<'a> Message<'a> {
    /// Reads a message that is exactly these bytes.
    ///
    /// # Errors
    /// They are not one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Malformed::Header);
        };
        let &[t0, _, l0, l1, c0, c1, c2, c3, ..] = header;
        let length = u16::from_be_bytes([l0, l1]);
        if t0 & 0b1100_0000 != 0
            || u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE
            || usize::from(length) != body.len()
            || !length.is_multiple_of(4)
        {
            return Err(Malformed::Header);
        }
        let mut message = Self {
            bytes,
            body_end: bytes.len(),
            sha1: None,
            sha256: None,
            has_fingerprint: false,
        };
        message.read_ends()?;
        Ok(message)
    }

    /// Checks that the attributes are well-formed, and finds those at the end that protect the ones before.
    fn read_ends(&mut self) -> Result<(), Malformed> {
        let mut is_body = true;
        let mut walk = Walk::over(self.bytes, self.bytes.len());
        for _ in 0..=ATTRIBUTES_MAX {
            let at = walk.at;
            let Some(attribute) = walk.step()? else {
                return Ok(());
            };
            if self.has_fingerprint {
                return Err(Malformed::Fingerprint);
            }
            // What follows MESSAGE-INTEGRITY is nobody's word, but for a second of these and FINGERPRINT: section 14.5.
            match attribute.kind {
                AttributeType::MESSAGE_INTEGRITY if is_body => {
                    self.sha1 = Some((at, attribute.value));
                }
                AttributeType::MESSAGE_INTEGRITY_SHA256 if self.sha256.is_none() => {
                    self.sha256 = Some((at, attribute.value));
                }
                AttributeType::FINGERPRINT => {
                    self.check_fingerprint(at, attribute.value)?;
                    self.has_fingerprint = true;
                }
                _ => continue,
            }
            if is_body {
                self.body_end = at;
                is_body = false;
            }
        }
        Err(Malformed::TooManyAttributes)
    }

    fn check_fingerprint(&self, at: usize, value: &[u8]) -> Result<(), Malformed> {
        let expected = crc32fast::hash(&self.bytes[..at]) ^ FINGERPRINT_MASK;
        if value == expected.to_be_bytes() {
            Ok(())
        } else {
            Err(Malformed::Fingerprint)
        }
    }

    /// What it is.
    #[must_use]
    pub fn class(&self) -> Class {
        self.kind().0
    }

    /// What it is about.
    #[must_use]
    pub fn method(&self) -> Method {
        self.kind().1
    }

    fn kind(&self) -> (Class, Method) {
        unpack_type(u16::from_be_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// Names it and its answer.
    #[must_use]
    pub fn transaction(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER_BYTES]);
        id
    }

    /// It has a FINGERPRINT, and the right one.
    #[must_use]
    pub const fn has_fingerprint(&self) -> bool {
        self.has_fingerprint
    }

    /// The attributes that integrity protects, if there is any; all of them otherwise.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let mut walk = Walk::over(self.bytes, self.body_end);
        std::iter::from_fn(move || walk.step().ok().flatten())
    }

    /// The value of the first attribute of this type; further ones do not count (RFC 8489 section 14).
    #[must_use]
    pub fn first(&self, kind: AttributeType) -> Option<&'a [u8]> {
        self.attributes()
            .find(|attribute| attribute.kind == kind)
            .map(|attribute| attribute.value)
    }

    /// Reads the value of an attribute of this message that is an XORed address; `None` if it is none.
    #[must_use]
    pub fn address(&self, value: &[u8]) -> Option<SocketAddr> {
        address::read_xor(value, &self.transaction())
    }

    /// How it is signed; of two ways the stronger one, which is the one that counts (RFC 8489 section 9.2.4).
    #[must_use]
    pub const fn integrity(&self) -> Option<Integrity> {
        match (self.sha256, self.sha1) {
            (Some(_), _) => Some(Integrity::Sha256),
            (None, Some(_)) => Some(Integrity::Sha1),
            (None, None) => None,
        }
    }

    /// Whether it is signed, and with this key.
    #[must_use]
    pub fn is_signed_with(&self, key: &Key) -> bool {
        let (integrity, (at, signature)) = match (self.sha256, self.sha1) {
            (Some(sha256), _) => (Integrity::Sha256, sha256),
            (None, Some(sha1)) => (Integrity::Sha1, sha1),
            (None, None) => return false,
        };
        let head = signed_head(self.bytes, at, signature.len());
        key.has_signed(integrity, [&head, &self.bytes[4..at]], signature)
    }
}

/// The first four bytes of a message as they are signed: with the length up to the end of the signature, which begins at
/// `at` (RFC 8489 section 14.5).
pub(super) fn signed_head(bytes: &[u8], at: usize, signature_length: usize) -> [u8; 4] {
    let length = at + 4 + signature_length.next_multiple_of(4) - HEADER_BYTES;
    let [high, low] = u16::try_from(length)
        .unwrap_or_else(|_| unreachable!("the signature lies in a message"))
        .to_be_bytes();
    [bytes[0], bytes[1], high, low]
}

/// Goes from attribute to attribute.
#[derive(Debug, Clone, Copy)]
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn over(bytes: &'a [u8], end: usize) -> Self {
        Self {
            bytes: &bytes[..end],
            at: HEADER_BYTES,
        }
    }

    fn step(&mut self) -> Result<Option<Attribute<'a>>, Malformed> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let Some((&[t0, t1, l0, l1], rest)) = rest.split_first_chunk() else {
            return Err(Malformed::Attribute);
        };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let padded = length.next_multiple_of(4);
        if padded > rest.len() {
            return Err(Malformed::Attribute);
        }
        self.at += 4 + padded;
        Ok(Some(Attribute {
            kind: AttributeType(u16::from_be_bytes([t0, t1])),
            value: &rest[..length],
        }))
    }
}
