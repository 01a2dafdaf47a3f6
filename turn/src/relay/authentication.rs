//! Who sends a request: the long-term mechanism of RFC 8489 section 9.2.4.

use std::borrow::Cow;

use super::answer::Answer;
use super::{Client, Now, Relay};
use crate::credentials::{USER_BYTES_MAX, Unauthorized};
use crate::nonce::Features;
use crate::stun::{AttributeType, Integrity, Key, Message, PasswordAlgorithm};

/// What PASSWORD-ALGORITHMS says here: SHA-256 and MD5, without parameters (RFC 8489 section 14.11).
const PASSWORD_ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// Who has signed a request.
#[derive(Debug)]
pub(super) struct Known<'u> {
    pub(super) user: Cow<'u, [u8]>,
    pub(super) key: Key,
    pub(super) integrity: Integrity,
}

/// Why it is not known who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Challenge {
    /// It is not signed, or not by anybody known: 401.
    Unauthenticated,
    /// It is signed, but what belongs to that is missing or does not fit: 400.
    BadRequest,
    /// The nonce is too old or somebody else's: 438.
    StaleNonce,
}

/// Why a request is not handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotKnown<'u> {
    /// This is missing.
    Challenge(Challenge),
    /// Its source has been wrong so often that nobody has looked.
    NotAsked,
    /// Somebody else may know this user.
    Ask(&'u [u8]),
}

impl From<Challenge> for NotKnown<'_> {
    fn from(challenge: Challenge) -> Self {
        Self::Challenge(challenge)
    }
}

impl Relay {
    pub(super) fn authenticate<'u>(
        &self,
        client: &Client,
        message: &Message<'u>,
        now: Now,
    ) -> Result<Known<'u>, NotKnown<'u>> {
        let Some(integrity) = message.integrity() else {
            return Err(Challenge::Unauthenticated.into());
        };
        let first = |kind| message.first(kind);
        let (Some(realm), Some(nonce)) = (first(AttributeType::REALM), first(AttributeType::NONCE))
        else {
            return Err(Challenge::BadRequest.into());
        };
        let algorithm = password_algorithm(message).ok_or(Challenge::BadRequest)?;
        let names = (
            first(AttributeType::USERNAME),
            first(AttributeType::USERHASH),
        );
        let is_one = match names {
            (Some(user), None) => user.len() <= USER_BYTES_MAX,
            (None, Some(hash)) => hash.len() == 32,
            _ => false,
        };
        if !is_one {
            return Err(Challenge::BadRequest.into());
        }
        // Before the signature: it costs as little, and a nonce of somebody else's says that the rest is, too.
        let is_good = |remote| self.nonces.check(nonce, remote, now.unix_s).is_ok();
        // Some clients take the nonce of one connection to another, and know no way out when that is refused.
        let of_allocation = self.allocation_of_bind(client, message);
        if !is_good(client.remote) && !of_allocation.is_some_and(|(_, at)| is_good(at)) {
            return Err(Challenge::StaleNonce.into());
        }
        let credentials = &self.access.credentials;
        // A realm that is not ours makes another key, which is nobody's.
        let is_our_realm = realm == credentials.realm().as_bytes();
        let user = match names {
            (Some(user), _) => Cow::Borrowed(user),
            (_, hash) => {
                let user = hash.and_then(|hash| credentials.user_of_hash(hash));
                Cow::Owned(user.unwrap_or_default().to_vec())
            }
        };
        // Credentials are asked for when something is allocated; what is, may be kept with those it was allocated with, and so
        // may what belongs to it on another connection.
        let of_allocation = of_allocation.map(|(client, _)| client);
        if let Some(allocation) = self.allocations.get(of_allocation.unwrap_or(client))
            && *allocation.user == *user
            && message.is_signed_with(&allocation.key)
        {
            let key = allocation.key;
            return Ok(Known {
                user,
                key,
                integrity,
            });
        }
        // Passwords cannot be tried faster than this, nor take the thread's time from those who know theirs.
        if !self.failures.has_one(client.remote.ip(), now.ns) {
            return Err(NotKnown::NotAsked);
        }
        let checked = credentials.check(message, &user, algorithm, u64::from(now.unix_s));
        let key = match (checked, &user) {
            (Ok(known), _) => Some(known.key),
            (Err(Unauthorized::UserOrPassword), Cow::Borrowed(name))
                if self.config.asks && is_our_realm && !credentials.has_user(name) =>
            {
                let password = self.learned.of(name, now.unix_s);
                let password = password.ok_or(NotKnown::Ask(name))?;
                let key = |password| Key::long_term(algorithm, name, realm, password);
                password.map(key).filter(|key| message.is_signed_with(key))
            }
            (Err(_), _) => None,
        };
        match key {
            Some(key) if is_our_realm => Ok(Known {
                user,
                key,
                integrity,
            }),
            _ => Err(Challenge::Unauthenticated.into()),
        }
    }

    /// Tells a stranger what is missing, in as few bytes as there can be.
    pub(super) fn challenge(
        &self,
        client: &Client,
        message: &Message<'_>,
        challenge: Challenge,
        now: Now,
        reply: &mut Vec<u8>,
    ) {
        let answer = Answer::to(message, None, reply);
        let code = match challenge {
            Challenge::BadRequest => return answer.error(400),
            Challenge::Unauthenticated => 401,
            Challenge::StaleNonce => 438,
        };
        let features = Features {
            has_user_hashes: self.access.credentials.has_user_hashes(),
        };
        let nonce = self.nonces.make(client.remote, now.unix_s, features);
        answer.error_with(code, |writer| {
            writer
                .attribute(
                    AttributeType::REALM,
                    self.access.credentials.realm().as_bytes(),
                )
                .attribute(AttributeType::NONCE, &nonce)
                .attribute(AttributeType::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
        });
    }
}

/// How the client says it has made its key; `None` if what it was offered was changed on the way, so that it took the
/// weaker one (RFC 8489 section 9.2.4). A client that does not know of the choice has made it with MD5.
fn password_algorithm(message: &Message<'_>) -> Option<PasswordAlgorithm> {
    let offered = message.first(AttributeType::PASSWORD_ALGORITHMS);
    match (offered, message.first(AttributeType::PASSWORD_ALGORITHM)) {
        (None, None) => Some(PasswordAlgorithm::Md5),
        (Some(offered), Some(chosen)) if offered == PASSWORD_ALGORITHMS => match chosen {
            [0, 2, 0, 0] => Some(PasswordAlgorithm::Sha256),
            [0, 1, 0, 0] => Some(PasswordAlgorithm::Md5),
            _ => None,
        },
        _ => None,
    }
}
