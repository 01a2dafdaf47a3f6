//! The claims of tokens, as Centrifugo names them, and their translation into rights.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_engine::api::Payload;
use fanfare_engine::{Capability, Rights};
use fanfare_wire::centrifuge::json::normalise;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What a connection token says. Claims nobody knows here are ignored, as RFC 7519 section 4 asks.
#[derive(Debug, Deserialize)]
pub(super) struct ConnectionClaims {
    /// The user.
    pub(super) sub: Box<str>,
    pub(super) exp: Option<NumericDate>,
    pub(super) nbf: Option<NumericDate>,
    #[serde(rename = "iat")]
    _iat: Option<NumericDate>,
    /// When the connection ends, if not with the token; 0 for never.
    pub(super) expire_at: Option<NumericDate>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    /// Rooms the connection is subscribed to by the server.
    #[serde(default)]
    channels: Vec<Box<str>>,
    /// The same, with options, of which the data for the client is supported.
    #[serde(default)]
    subs: BTreeMap<Box<str>, SubClaim>,
    #[serde(default)]
    caps: Vec<CapabilityClaim>,
    /// Only subscription tokens have one; see [`is_for_a_subscription`](Self::is_for_a_subscription).
    channel: Option<IgnoredAny>,
}

/// An entry of `subs`.
#[derive(Debug, Default, Deserialize)]
struct SubClaim {
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
}

/// What a subscription token says.
#[derive(Debug, Deserialize)]
pub(super) struct SubscriptionClaims {
    pub(super) sub: Box<str>,
    pub(super) channel: Box<str>,
    pub(super) exp: Option<NumericDate>,
    pub(super) nbf: Option<NumericDate>,
    #[serde(rename = "iat")]
    _iat: Option<NumericDate>,
    pub(super) expire_at: Option<NumericDate>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    #[serde(default)]
    allow: Vec<Right>,
    /// Changes options of the room for one member, which is not supported.
    #[serde(rename = "override")]
    overrides: Option<IgnoredAny>,
}

/// Unix time in seconds. RFC 7519 section 2 allows a fraction, which is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumericDate(pub(super) u64);

/// An entry of `caps`.
#[derive(Debug, Deserialize)]
pub(crate) struct CapabilityClaim {
    channels: Vec<Box<str>>,
    allow: Vec<Right>,
    #[serde(default, rename = "match")]
    matching: Matching,
}

/// An entry of `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Right {
    #[serde(rename = "sub")]
    Subscribe,
    #[serde(rename = "pub")]
    Publish,
    #[serde(rename = "prs")]
    Presence,
    #[serde(rename = "hst")]
    History,
}

/// How the names of a capability are meant. Regular expressions are not supported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Matching {
    #[default]
    #[serde(alias = "")]
    Exact,
    Wildcard,
}

/// Why claims are not accepted although the signature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimsError {
    #[error("b64info is not base64 of JSON")]
    Info,
    #[error("b64data is not base64")]
    Data,
    #[error(
        "caps name a room with '*' elsewhere than at the end, or without \"match\": \"wildcard\""
    )]
    Wildcard,
}

impl ConnectionClaims {
    /// A subscription token lets its user into one room; taken for a connection token it would let them in
    /// everywhere.
    pub(super) fn is_for_a_subscription(&self) -> bool {
        self.channel.is_some()
    }

    pub(super) fn info(&self) -> Result<Option<Box<str>>, ClaimsError> {
        info(self.info.as_deref(), self.b64info.as_deref())
    }

    /// The rooms of `channels` and `subs`, each once.
    pub(super) fn rooms(&self) -> Vec<Box<str>> {
        let mut rooms: Vec<Box<str>> = self
            .channels
            .iter()
            .chain(self.subs.keys())
            .cloned()
            .collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }

    /// What the client is told with its subscriptions.
    pub(super) fn room_data(&self) -> Result<Vec<(Box<str>, Payload)>, ClaimsError> {
        let mut room_data = Vec::new();
        for (room, sub) in &self.subs {
            if let Some(data) = payload(sub.data.as_deref(), sub.b64data.as_deref())? {
                room_data.push((room.clone(), data));
            }
        }
        Ok(room_data)
    }

    pub(super) fn capabilities(&self) -> Result<Vec<Capability>, ClaimsError> {
        self.caps
            .iter()
            .map(CapabilityClaim::to_capability)
            .collect()
    }
}

impl SubscriptionClaims {
    /// It may take away what the room's options allow, so to ignore it would be to grant that.
    pub(super) fn has_overrides(&self) -> bool {
        self.overrides.is_some()
    }

    pub(super) fn info(&self) -> Result<Option<Box<str>>, ClaimsError> {
        info(self.info.as_deref(), self.b64info.as_deref())
    }

    pub(super) fn rights(&self) -> Rights {
        rights(&self.allow)
    }
}

impl CapabilityClaim {
    pub(crate) fn to_capability(&self) -> Result<Capability, ClaimsError> {
        // The engine takes a '*' at the end of a name for a pattern. A token that does not ask for patterns
        // means the character, and must not gain rooms by it.
        let is_understood = |name: &&str| match self.matching {
            Matching::Exact => !name.ends_with('*'),
            Matching::Wildcard => !name.strip_suffix('*').unwrap_or(name).contains('*'),
        };
        if !self
            .channels
            .iter()
            .map(|name| &**name)
            .all(|name| is_understood(&name))
        {
            return Err(ClaimsError::Wildcard);
        }
        Ok(Capability {
            rooms: self.channels.clone(),
            rights: rights(&self.allow),
        })
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        if let Some(seconds) = number.as_u64() {
            return Ok(Self(seconds));
        }
        let seconds = number.as_f64().unwrap_or(-1.0);
        if !(0.0..9_007_199_254_740_992.0).contains(&seconds) {
            return Err(D::Error::custom(
                "a date is a number of seconds, not negative",
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in range of 2^53, and the fraction is meant to go"
        )]
        Ok(Self(seconds as u64))
    }
}

/// What the entries allow together.
pub(crate) fn rights(allowed: &[Right]) -> Rights {
    Rights {
        subscribe: allowed.contains(&Right::Subscribe),
        publish: allowed.contains(&Right::Publish),
        presence: allowed.contains(&Right::Presence),
        history: allowed.contains(&Right::History),
    }
}

/// Data for the client: JSON as one line, or bytes.
fn payload(json: Option<&RawValue>, base64: Option<&str>) -> Result<Option<Payload>, ClaimsError> {
    let (bytes, is_json) = match (json, base64) {
        (_, Some(text)) if !text.is_empty() => {
            (STANDARD.decode(text).map_err(|_| ClaimsError::Data)?, false)
        }
        (Some(json), _) => match normalise(json.get().as_bytes()) {
            Some(line) => (line.into_owned(), true),
            None => return Err(ClaimsError::Data),
        },
        (None, _) => return Ok(None),
    };
    let bytes = bytes.into();
    Ok(Some(Payload { bytes, is_json }))
}

/// The information as one line of JSON, for it is put verbatim into replies that end at a line break.
fn info(json: Option<&RawValue>, base64: Option<&str>) -> Result<Option<Box<str>>, ClaimsError> {
    let bytes = match (json, base64) {
        (_, Some(text)) if !text.is_empty() => {
            STANDARD.decode(text).map_err(|_| ClaimsError::Info)?
        }
        (Some(json), _) => json.get().as_bytes().to_vec(),
        (None, _) => return Ok(None),
    };
    let line = normalise(&bytes).ok_or(ClaimsError::Info)?;
    let line = std::str::from_utf8(&line).map_err(|_| ClaimsError::Info)?;
    Ok(Some(line.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> serde_json::Result<ConnectionClaims> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_date_may_have_a_fraction_and_must_not_be_negative() {
        let date = |text: &str| {
            serde_json::from_str::<NumericDate>(text)
                .ok()
                .map(|date| date.0)
        };
        assert_eq!(date("1700000000"), Some(1_700_000_000));
        assert_eq!(date("1700000000.9"), Some(1_700_000_000));
        assert_eq!(date("18446744073709551615"), Some(u64::MAX));
        for wrong in ["-1", "-0.5", "1e300", "\"1700000000\"", "true", "[]"] {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_subject_is_a_string() {
        for wrong in [
            r#"{"sub":5}"#,
            r#"{"sub":null}"#,
            r#"{"sub":["a"]}"#,
            "{}",
            r#"{"sub":"a","sub":"b"}"#,
        ] {
            assert!(claims(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn capabilities_translate() {
        let claims = claims(
            r#"{"sub":"a","caps":[{"channels":["n","m"],"allow":["sub","hst"]},
               {"channels":["chat:*","x"],"match":"wildcard","allow":["pub","prs"]}]}"#,
        )
        .expect("claims");
        let capabilities = claims.capabilities().expect("capabilities");
        assert_eq!(capabilities.len(), 2);
        assert_eq!(*capabilities[1].rooms[0], *"chat:*");
        let rights = capabilities[0].rights;
        assert!(rights.subscribe && rights.history && !rights.publish && !rights.presence);
        let rights = capabilities[1].rights;
        assert!(!rights.subscribe && !rights.history && rights.publish && rights.presence);
    }

    #[test]
    fn a_star_is_a_pattern_only_where_the_token_says_so() {
        for caps in [
            r#"[{"channels":["chat:*"],"allow":["sub"]}]"#,
            r#"[{"channels":["*:x"],"match":"wildcard","allow":["sub"]}]"#,
            r#"[{"channels":["a**"],"match":"wildcard","allow":["sub"]}]"#,
        ] {
            let claims = claims(&format!(r#"{{"sub":"a","caps":{caps}}}"#)).expect("claims");
            assert_eq!(
                claims.capabilities().err(),
                Some(ClaimsError::Wildcard),
                "{caps}"
            );
        }
        assert!(
            claims(r#"{"sub":"a","caps":[{"channels":["c"],"match":"regex","allow":["sub"]}]}"#)
                .is_err()
        );
        assert!(
            claims(r#"{"sub":"a","caps":[{"channels":["c"],"allow":["everything"]}]}"#).is_err()
        );
    }

    #[test]
    fn rooms_come_from_channels_and_subs() {
        let claims = claims(r#"{"sub":"a","channels":["b","a"],"subs":{"a":{},"c":{"data":{}}}}"#)
            .expect("claims");
        let rooms = claims.rooms();
        assert_eq!(rooms, ["a".into(), "b".into(), "c".into()] as [Box<str>; 3]);
    }

    #[test]
    fn information_is_one_line_of_json() {
        let info = |json: &str| claims(json).expect("claims").info();
        assert_eq!(
            info("{\"sub\":\"a\",\"info\":{\"n\":\n1}}"),
            Ok(Some("{\"n\": 1}".into()))
        );
        assert_eq!(
            info(r#"{"sub":"a","b64info":"eyJuIjoxfQ=="}"#),
            Ok(Some(r#"{"n":1}"#.into()))
        );
        assert_eq!(info(r#"{"sub":"a"}"#), Ok(None));
        assert_eq!(
            info(r#"{"sub":"a","b64info":"bm90IGpzb24="}"#),
            Err(ClaimsError::Info)
        );
        assert_eq!(info(r#"{"sub":"a","b64info":"!"}"#), Err(ClaimsError::Info));
    }
}
