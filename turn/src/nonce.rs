//! Nonces that nobody has to remember.
//!
//! A nonce is what the server can check without having kept anything: when it was made, which security features it stands
//! for, and a keyed hash of both and of the address that it was given to. A flood of requests from made-up addresses leaves
//! nothing behind, and a nonce that was seen on the way is of no use elsewhere.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::policy::canonical_socket;

/// How long a nonce is good for, in seconds. RFC 8656 section 5 says an hour at most.
pub const NONCE_LIFETIME_S: u32 = 3600;

/// What a nonce begins with that carries security features (RFC 8489 section 9.2).
const COOKIE: &[u8] = b"obMatJos2";

/// The security features that a nonce stands for, besides PASSWORD-ALGORITHMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Users may be named by USERHASH. Who reads this names them so, and knows no way back.
    pub has_user_hashes: bool,
}

impl Features {
    /// PASSWORD-ALGORITHMS is bit 0 of 24, USERHASH bit 1 (RFC 8489 section 18.1).
    const fn bits(self) -> [u8; 3] {
        [
            if self.has_user_hashes {
                0b1100_0000
            } else {
                0b1000_0000
            },
            0,
            0,
        ]
    }
}

/// Bytes of the keyed hash.
const TAG_BYTES: usize = 12;

/// The whole of it, in base64 behind the cookie and the features.
const SEALED_BYTES: usize = 4 + TAG_BYTES;

/// Bytes of a nonce: cookie, features in base64, time and hash in base64. RFC 8489 allows 127 characters.
pub const NONCE_BYTES: usize = COOKIE.len() + 4 + (SEALED_BYTES * 4).div_ceil(3);

/// Makes nonces and knows them again.
#[derive(Clone)]
pub struct Nonces {
    key: [u8; 32],
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces(..)")
    }
}

/// A nonce is not one to be accepted: the client gets a fresh one with 438.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the nonce is too old, or was not made here for this client")]
pub struct StaleNonce;

impl Nonces {
    /// With a secret of this process, or of a fleet that is to know each other's nonces.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// A nonce for this client, made now.
    #[must_use]
    pub fn make(&self, client: SocketAddr, now_s: u32, features: Features) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        let (cookie, rest) = nonce.split_at_mut(COOKIE.len());
        cookie.copy_from_slice(COOKIE);
        let (shown, sealed) = rest.split_at_mut(4);
        encode(&features.bits(), shown);
        let mut bytes = [0; SEALED_BYTES];
        bytes[..4].copy_from_slice(&now_s.to_be_bytes());
        bytes[4..].copy_from_slice(&self.tag(client, now_s, features));
        encode(&bytes, sealed);
        nonce
    }

    /// Checks a nonce that came from this client.
    ///
    /// # Errors
    /// It was not made here for this client within the last hour.
    pub fn check(&self, nonce: &[u8], client: SocketAddr, now_s: u32) -> Result<(), StaleNonce> {
        let made_s = made_at(nonce).ok_or(StaleNonce)?;
        // The whole is compared, so that its features and every bit of the encoding count as well.
        let is_made_with = |has_user_hashes| {
            let made = self.make(client, made_s, Features { has_user_hashes });
            bool::from(made.ct_eq(nonce))
        };
        if !is_made_with(shows_user_hashes(nonce)) {
            return Err(StaleNonce);
        }
        match now_s.checked_sub(made_s) {
            Some(age_s) if age_s <= NONCE_LIFETIME_S => Ok(()),
            _ => Err(StaleNonce),
        }
    }

    fn tag(&self, client: SocketAddr, now_s: u32, features: Features) -> [u8; TAG_BYTES] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        let client = canonical_socket(client);
        match client.ip() {
            std::net::IpAddr::V4(ip) => mac.update(&ip.octets()),
            std::net::IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&client.port().to_be_bytes());
        mac.update(&now_s.to_be_bytes());
        mac.update(&features.bits());
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&mac.finalize().into_bytes()[..TAG_BYTES]);
        tag
    }
}

/// When a nonce was made, if it is one and says the truth.
fn made_at(nonce: &[u8]) -> Option<u32> {
    if nonce.len() != NONCE_BYTES {
        return None;
    }
    let mut bytes = [0; SEALED_BYTES];
    let length = STANDARD_NO_PAD
        .decode_slice(&nonce[COOKIE.len() + 4..], &mut bytes)
        .ok()?;
    let (made_s, _) = bytes[..length].split_first_chunk()?;
    Some(u32::from_be_bytes(*made_s))
}

/// Which of the two sets of features a nonce claims to be of: the first letter of them in base64 tells.
fn shows_user_hashes(nonce: &[u8]) -> bool {
    nonce.get(COOKIE.len()) == Some(&b'w')
}

fn encode(bytes: &[u8], text: &mut [u8]) {
    STANDARD_NO_PAD
        .encode_slice(bytes, text)
        .unwrap_or_else(|_| unreachable!("the lengths are constants that fit"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEATURES: Features = Features {
        has_user_hashes: true,
    };

    const NOW: u32 = 1_700_000_000;

    fn client(text: &str) -> SocketAddr {
        text.parse().expect("a socket")
    }

    #[test]
    fn a_nonce_is_good_for_an_hour_and_where_it_was_given() {
        let nonces = Nonces::new([7; 32]);
        let it = client("192.0.2.1:5000");
        let nonce = nonces.make(it, NOW, FEATURES);
        assert_eq!(nonces.check(&nonce, it, NOW), Ok(()));
        assert_eq!(
            nonces.check(&nonce, client("[::ffff:192.0.2.1]:5000"), NOW),
            Ok(())
        );
        assert_eq!(nonces.check(&nonce, it, NOW + NONCE_LIFETIME_S), Ok(()));
        for (from, now_s) in [
            (it, NOW + NONCE_LIFETIME_S + 1),
            // Of the future.
            (it, NOW - 1),
            (client("192.0.2.1:5001"), NOW),
            (client("192.0.2.2:5000"), NOW),
            (client("[2001:db8::1]:5000"), NOW),
        ] {
            assert_eq!(nonces.check(&nonce, from, now_s), Err(StaleNonce));
        }
        assert_eq!(Nonces::new([8; 32]).check(&nonce, it, NOW), Err(StaleNonce));
    }

    #[test]
    fn no_bit_of_it_can_be_changed() {
        let nonces = Nonces::new([7; 32]);
        let it = client("192.0.2.1:5000");
        let nonce = nonces.make(it, NOW, FEATURES);
        for at in 0..nonce.len() {
            for bit in 0..8 {
                let mut changed = nonce;
                changed[at] ^= 1 << bit;
                assert_eq!(nonces.check(&changed, it, NOW), Err(StaleNonce));
            }
        }
        for length in 0..nonce.len() {
            assert_eq!(nonces.check(&nonce[..length], it, NOW), Err(StaleNonce));
        }
        assert_eq!(
            nonces.check(&[&nonce[..], b"A"].concat(), it, NOW),
            Err(StaleNonce)
        );
    }

    #[test]
    fn it_says_which_features_it_stands_for() {
        // RFC 8489 section 9.2: 24 bits behind the cookie; the first is for password algorithms, the second for USERHASH.
        let nonce = Nonces::new([7; 32]).make(client("192.0.2.1:5000"), NOW, FEATURES);
        assert!(nonce.starts_with(b"obMatJos2wAAA"));
    }
}
