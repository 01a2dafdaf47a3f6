//! Who may use the relay.
//!
//! Browsers have no secrets, so what a page is given ends by itself: the user name says until when, and the password is a
//! keyed hash of the user name (draft-uberti-behave-turn-rest-00, what every WebRTC service and coturn's
//! `use-auth-secret` speak). The server keeps nothing per user. Besides, there are users with passwords of their own.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::stun::{Key, Message, PasswordAlgorithm, userhash};

/// Longest user name in bytes (RFC 8489 section 14.3: fewer than 509).
pub const USER_BYTES_MAX: usize = 508;

/// Who may use the relay, and with which passwords.
#[derive(Clone)]
pub struct Credentials {
    realm: Box<str>,
    /// Newest first: new credentials are made with the first, all are accepted.
    secrets: Vec<Box<[u8]>>,
    users: HashMap<Box<[u8]>, Box<[u8]>>,
    /// The users of the list by what stands in for their names.
    hashes: HashMap<[u8; 32], Box<[u8]>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Credentials({}, {} secrets, {} users)",
            self.realm,
            self.secrets.len(),
            self.users.len()
        )
    }
}

/// A user name and a password that are good for a time.
#[derive(Clone, PartialEq, Eq)]
pub struct TimeLimited {
    /// `<Unix seconds>:<name>`.
    pub user: String,
    /// Base64.
    pub password: String,
}

impl std::fmt::Debug for TimeLimited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TimeLimited({:?}, ..)", self.user)
    }
}

/// Why a message does not let anybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// Nobody has that name, or not with that password. Both take as long, and look alike from outside.
    #[error("no such user, or the password is wrong")]
    UserOrPassword,
    /// The time in the user name has passed.
    #[error("the credentials have expired")]
    Expired,
}

/// Who somebody has shown to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'m> {
    /// The user name.
    pub user: &'m [u8],
    /// What their messages are signed with, and the answers to them.
    pub key: Key,
    /// Unix seconds until which this is so, if it ends.
    pub expires_at_s: Option<u64>,
}

impl Credentials {
    /// For this realm, with these secrets (newest first) and these users with their passwords.
    #[must_use]
    pub fn new(
        realm: &str,
        secrets: impl IntoIterator<Item = Vec<u8>>,
        users: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let bytes = |text: String| text.into_bytes().into_boxed_slice();
        let users: HashMap<_, _> = users
            .into_iter()
            .map(|(user, password)| (bytes(user), bytes(password)))
            .collect();
        let hash = |user: &[u8]| userhash(user, realm.as_bytes());
        Self {
            hashes: users
                .keys()
                .map(|user| (hash(user), user.clone()))
                .collect(),
            realm: realm.into(),
            secrets: secrets.into_iter().map(Vec::into_boxed_slice).collect(),
            users,
        }
    }

    /// Whether this user is of the list.
    #[must_use]
    pub fn has_user(&self, user: &[u8]) -> bool {
        self.users.contains_key(user)
    }

    /// Whether every user can be known by the hash of their name: those of secrets have names that nobody has heard before.
    #[must_use]
    pub fn has_user_hashes(&self) -> bool {
        self.secrets.is_empty()
    }

    /// A secret that follows from another one, and does not tell it.
    #[must_use]
    pub fn derive_secret(of: &str) -> Vec<u8> {
        password(of.as_bytes(), b"fanfare turn").into_bytes()
    }

    /// What user names belong to.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Makes credentials that are good until then; `None` without a secret to make them with.
    #[must_use]
    pub fn mint(&self, name: &str, expires_at_s: u64) -> Option<TimeLimited> {
        let user = format!("{expires_at_s}:{name}");
        let password = password(self.secrets.first()?, user.as_bytes());
        Some(TimeLimited { user, password })
    }

    /// The user of the list whose name is behind this hash. Those whose names end with time are not to be found so: only
    /// they know what they are called.
    #[must_use]
    pub fn user_of_hash(&self, hash: &[u8]) -> Option<&[u8]> {
        let hash = <&[u8; 32]>::try_from(hash).ok()?;
        self.hashes.get(hash).map(|user| &**user)
    }

    /// Checks that a message was signed by this user.
    ///
    /// # Errors
    /// It was not, or no longer may be.
    pub fn check<'m>(
        &self,
        message: &Message<'_>,
        user: &'m [u8],
        algorithm: PasswordAlgorithm,
        now_s: u64,
    ) -> Result<Known<'m>, Unauthorized> {
        let realm = self.realm.as_bytes();
        let is_signed = |password: &[u8]| {
            let key = Key::long_term(algorithm, user, realm, password);
            message.is_signed_with(&key).then_some(key)
        };
        // Whoever it is, the list is asked once, and each secret once: how long it takes does not tell users of the list, nor
        // names that cannot be right, from others.
        let listed = self.users.get(user);
        let by_list = is_signed(listed.map_or(&[][..], |password| password));
        let mut by_secret = None;
        for secret in &self.secrets {
            let found = is_signed(password(secret, user).as_bytes());
            by_secret = by_secret.or(found);
        }
        if listed.is_some() {
            return by_list
                .map(|key| Known {
                    user,
                    key,
                    expires_at_s: None,
                })
                .ok_or(Unauthorized::UserOrPassword);
        }
        let (key, expires_at_s) = (by_secret, expiry(user));
        match (key, expires_at_s) {
            (Some(key), Some(expires_at_s)) if now_s < expires_at_s => Ok(Known {
                user,
                key,
                expires_at_s: Some(expires_at_s),
            }),
            (Some(_), Some(_)) => Err(Unauthorized::Expired),
            _ => Err(Unauthorized::UserOrPassword),
        }
    }
}

/// The password that goes with a user name and a secret.
fn password(secret: &[u8], user: &[u8]) -> String {
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(user);
    STANDARD.encode(mac.finalize().into_bytes())
}

/// The Unix time that a user name begins with: digits, at most ten of them, before a colon or the end.
fn expiry(user: &[u8]) -> Option<u64> {
    let digits = user.split(|byte| *byte == b':').next()?;
    if digits.is_empty() || digits.len() > 10 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::{AttributeType, Class, Integrity, Method, Writer};

    const NOW_S: u64 = 1_700_000_000;

    fn credentials(secrets: &[&str]) -> Credentials {
        let users = [("ann".to_owned(), "pass".to_owned())];
        Credentials::new(
            "example.org",
            secrets.iter().map(|secret| secret.as_bytes().to_vec()),
            users,
        )
    }

    /// A message of this user, signed with this password, checked.
    fn check(
        credentials: &Credentials,
        user: &str,
        password: &str,
    ) -> Result<Option<u64>, Unauthorized> {
        let mut bytes = Vec::new();
        let algorithm = PasswordAlgorithm::Sha256;
        let key = Key::long_term(
            algorithm,
            user.as_bytes(),
            b"example.org",
            password.as_bytes(),
        );
        Writer::new(&mut bytes, Class::Request, Method::ALLOCATE, [7; 12])
            .attribute(AttributeType::USERNAME, user.as_bytes())
            .integrity(Integrity::Sha256, &key)
            .fingerprint();
        let message = Message::parse(&bytes).expect("a message");
        credentials
            .check(&message, user.as_bytes(), algorithm, NOW_S)
            .map(|known| known.expires_at_s)
    }

    #[test]
    fn what_was_minted_is_good_until_its_time() {
        let it = credentials(&["north"]);
        let good = it.mint("bob", NOW_S + 1).expect("there is a secret");
        assert_eq!(good.user, "1700000001:bob");
        assert_eq!(check(&it, &good.user, &good.password), Ok(Some(NOW_S + 1)));
        let old = it.mint("bob", NOW_S).expect("there is a secret");
        assert_eq!(
            check(&it, &old.user, &old.password),
            Err(Unauthorized::Expired)
        );
        assert_eq!(
            check(&it, &good.user, &old.password),
            Err(Unauthorized::UserOrPassword)
        );
        assert_eq!(
            check(&it, &old.user, &good.password),
            Err(Unauthorized::UserOrPassword)
        );
    }

    #[test]
    fn passwords_are_those_of_other_servers() {
        // openssl dgst -sha1 -hmac north -binary <<< (without the line feed) 1700000001:bob | base64
        let good = credentials(&["north"])
            .mint("bob", NOW_S + 1)
            .expect("there is a secret");
        assert_eq!(good.password, "zqXpX1OpqZgXAvpUfB9Q5VAkDkY=");
    }

    #[test]
    fn a_secret_is_good_while_it_is_listed() {
        let old = credentials(&["old"])
            .mint("bob", NOW_S + 9)
            .expect("there is a secret");
        let both = credentials(&["new", "old"]);
        assert!(check(&both, &old.user, &old.password).is_ok());
        let new = both.mint("bob", NOW_S + 9).expect("there is a secret");
        assert_ne!(new, old);
        let is_good =
            |it: &TimeLimited| check(&credentials(&["new"]), &it.user, &it.password).is_ok();
        assert!(is_good(&new) && !is_good(&old));
        assert_eq!(credentials(&[]).mint("bob", NOW_S), None);
    }

    #[test]
    fn times_that_are_none_let_nobody_in() {
        let it = credentials(&["north"]);
        for user in [
            "",
            ":",
            "bob",
            ":bob",
            "-1:bob",
            "+1700000009:bob",
            "99999999999:bob",
            "17e9:bob",
            "1700000009 :bob",
            "bob:1700000009",
            "0x7fffffff:bob",
        ] {
            let password = password(b"north", user.as_bytes());
            assert_eq!(
                check(&it, user, &password),
                Err(Unauthorized::UserOrPassword),
                "{user:?}"
            );
        }
        // The whole name may be the time, and a name may have colons.
        for user in ["1700000009", "1700000009:", "1700000009:a:b"] {
            let password = password(b"north", user.as_bytes());
            assert_eq!(
                check(&it, user, &password),
                Ok(Some(1_700_000_009)),
                "{user:?}"
            );
        }
    }

    #[test]
    fn users_of_the_list_have_their_passwords() {
        let it = credentials(&["north"]);
        assert_eq!(check(&it, "ann", "pass"), Ok(None));
        assert_eq!(check(&it, "ann", "Pass"), Err(Unauthorized::UserOrPassword));
        // Not what the secret makes of their name.
        let minted = password(b"north", b"ann");
        assert_eq!(
            check(&it, "ann", &minted),
            Err(Unauthorized::UserOrPassword)
        );
        assert_eq!(
            it.user_of_hash(&userhash(b"ann", b"example.org")),
            Some(&b"ann"[..])
        );
        assert_eq!(it.user_of_hash(&userhash(b"ann", b"example.com")), None);
        assert_eq!(it.user_of_hash(b"ann"), None);
    }
}
