//! Who made a message (RFC 8489 sections 9.2, 14.4 to 14.7).

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The function of a MESSAGE-INTEGRITY attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY: HMAC-SHA1, 20 bytes.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256: HMAC-SHA256, in messages from 16 to 32 bytes of it.
    Sha256,
}

/// How a key is made of user name, realm and password (RFC 8489 section 18.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordAlgorithm {
    /// What clients of RFC 5389 use.
    Md5,
    /// What RFC 8489 adds.
    Sha256,
}

impl PasswordAlgorithm {
    /// Its number in the registry.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
        }
    }
}

/// What messages are signed with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    bytes: [u8; 32],
    length: u8,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// The key of a user (RFC 8489 section 9.2.2). User name, realm and password are as they come out of the OpaqueString
    /// profile; ASCII does as it is.
    #[must_use]
    pub fn long_term(
        algorithm: PasswordAlgorithm,
        user: &[u8],
        realm: &[u8],
        password: &[u8],
    ) -> Self {
        let parts = [user, b":", realm, b":", password];
        let mut bytes = [0; 32];
        let length = match algorithm {
            PasswordAlgorithm::Md5 => {
                bytes[..16].copy_from_slice(&digest::<Md5>(parts));
                16
            }
            PasswordAlgorithm::Sha256 => {
                bytes.copy_from_slice(&digest::<Sha256>(parts));
                32
            }
        };
        Self { bytes, length }
    }

    /// The key of the short-term mechanism (RFC 8489 section 9.1.1): the password itself, of at most 32 bytes. Only what
    /// speaks ICE has such; the relay does not.
    #[must_use]
    pub fn short_term(password: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes.get_mut(..password.len())?.copy_from_slice(password);
        let length = u8::try_from(password.len()).ok()?;
        Some(Self { bytes, length })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// What the parts are signed with: the bytes, of which 20 or 32 count.
    pub(super) fn sign(&self, integrity: Integrity, parts: [&[u8]; 2]) -> ([u8; 32], usize) {
        let mut signature = [0; 32];
        let length = match integrity {
            Integrity::Sha1 => {
                signature[..20].copy_from_slice(&hmac::<Hmac<Sha1>>(self.as_bytes(), parts));
                20
            }
            Integrity::Sha256 => {
                signature.copy_from_slice(&hmac::<Hmac<Sha256>>(self.as_bytes(), parts));
                32
            }
        };
        (signature, length)
    }

    /// Whether the parts were signed so with this key. Takes as long for any signature of that length.
    pub(super) fn has_signed(
        &self,
        integrity: Integrity,
        parts: [&[u8]; 2],
        signature: &[u8],
    ) -> bool {
        let is_whole = match integrity {
            Integrity::Sha1 => signature.len() == 20,
            // RFC 8489 section 14.6: it may have been cut off, but not below 16 bytes.
            Integrity::Sha256 => {
                (16..=32).contains(&signature.len()) && signature.len().is_multiple_of(4)
            }
        };
        let (expected, _) = self.sign(integrity, parts);
        is_whole && bool::from(expected[..signature.len()].ct_eq(signature))
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], parts: [&[u8]; 2]) -> hmac::digest::Output<M> {
    let mut mac = <M as KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes()
}

fn digest<D: Digest>(parts: [&[u8]; 5]) -> md5::digest::Output<D> {
    let mut digest = D::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// What stands in place of a user name that is not to be seen (RFC 8489 section 14.4).
#[must_use]
pub fn userhash(user: &[u8], realm: &[u8]) -> [u8; 32] {
    digest::<Sha256>([user, b":", realm, b"", b""]).into()
}
