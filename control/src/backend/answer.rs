//! What a backend answers, checked: whatever it says is passed on to clients and kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fanfare_engine::api::Payload;
use fanfare_engine::backend::{
    Connected, Extension, PublishDecision, Refreshed, Refused, Subscribed,
};
use fanfare_engine::{Capability, Grant, SubscriptionGrant};
use fanfare_wire::centrifuge::json;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::client::Fault;
use super::refusal;
use crate::tokens::{CapabilityClaim, RightClaim, rights};

/// As the control API allows with a publication.
const TAGS_MAX: usize = 32;
const TAG_BYTES_MAX: usize = 256;
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// Rooms that an answer may subscribe a connection to: the upper bound of `limits.rooms_per_connection_max`.
const ROOMS_MAX: usize = 65_536;

/// What the backend decided, or the code that it refuses with.
pub(super) type Verdict<T> = Result<T, Refused>;

/// Reads answers within their bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    /// Of a publication's data, and of the JSON that is kept with a connection.
    pub(super) payload_bytes_max: usize,
    /// Of a user's name.
    pub(super) user_bytes_max: usize,
    /// Whether `meta` is kept.
    pub(super) keeps_meta: bool,
}

/// What every answer looks like. Of several, the first in Centrifugo's order counts: disconnect, error, result.
#[derive(Deserialize)]
#[serde(bound = "R: Deserialize<'de>")]
struct Answer<R> {
    result: Option<R>,
    error: Option<ErrorBody>,
    disconnect: Option<DisconnectBody>,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: Option<u32>,
    message: Option<String>,
    temporary: Option<bool>,
}

#[derive(Deserialize)]
struct DisconnectBody {
    code: Option<u32>,
    reason: Option<String>,
}

/// JSON as it was written, where `null` is a value too.
type Raw = Option<Box<RawValue>>;

#[derive(Deserialize)]
struct TurnUserBody {
    password: Option<String>,
    expire_at: Option<i64>,
}

#[derive(Deserialize)]
struct ConnectBody {
    user: Option<Box<str>>,
    expire_at: Option<i64>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    #[serde(default, deserialize_with = "present")]
    data: Raw,
    b64data: Option<String>,
    channels: Option<Vec<Box<str>>>,
    subs: Option<BTreeMap<Box<str>, SubscribeBody>>,
    meta: Option<Box<RawValue>>,
    caps: Option<Vec<CapabilityClaim>>,
}

#[derive(Deserialize)]
struct RefreshBody {
    expired: Option<bool>,
    expire_at: Option<i64>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    meta: Option<Box<RawValue>>,
    caps: Option<Vec<CapabilityClaim>>,
}

#[derive(Deserialize)]
struct RpcBody {
    #[serde(default, deserialize_with = "present")]
    data: Raw,
    b64data: Option<String>,
}

/// The result of a subscribe, and an entry of `subs`.
#[derive(Deserialize, Default)]
struct SubscribeBody {
    expire_at: Option<i64>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    #[serde(default, deserialize_with = "present")]
    data: Raw,
    b64data: Option<String>,
    allow: Option<Vec<RightClaim>>,
    /// Changes options of the room for one member, which is not supported, and may take away.
    #[serde(rename = "override")]
    overrides: Option<IgnoredAny>,
    /// Takes publications away, which is not supported here.
    server_tags_filter: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
struct PublishBody {
    #[serde(default, deserialize_with = "present")]
    data: Raw,
    b64data: Option<String>,
    skip_history: Option<bool>,
    tags: Option<BTreeMap<Box<str>, Box<str>>>,
    idempotency_key: Option<Box<str>>,
    version: Option<u64>,
    version_epoch: Option<String>,
}

impl Reader {
    pub(super) fn connected(&self, body: &[u8]) -> Result<Verdict<Connected>, Fault> {
        let result: ConnectBody = match answer(body)? {
            Ok(Some(result)) => result,
            Ok(None) => return Ok(Ok(Connected::default())),
            Err(refused) => return Ok(Err(refused)),
        };
        let user = result.user.unwrap_or_default();
        if user.len() > self.user_bytes_max {
            return Err(Fault::NotAccepted(
                "a longer user than limits.user_name_bytes_max",
            ));
        }
        let rooms = result.channels.unwrap_or_default();
        let subscriptions = result.subs.unwrap_or_default();
        if rooms.len() + subscriptions.len() > ROOMS_MAX {
            return Err(Fault::NotAccepted("more channels than anyone may join"));
        }
        // Terms replace the lack of them.
        let mut rooms: Vec<Box<str>> = rooms
            .into_iter()
            .filter(|room| !subscriptions.contains_key(room))
            .collect();
        rooms.sort_unstable();
        rooms.dedup();
        let subscriptions = subscriptions
            .into_iter()
            .map(|(room, terms)| Ok((room, self.subscription(terms)?)))
            .collect::<Result<Vec<_>, Fault>>()?;
        Ok(Ok(Connected {
            data: data(result.data, result.b64data)?,
            meta: self.meta(result.meta)?,
            grant: Some(Grant {
                room_data: Vec::new(),
                user,
                expires_at: time(result.expire_at),
                info: self.info(result.info, result.b64info)?,
                capabilities: capabilities(result.caps.unwrap_or_default())?,
                rooms,
                is_service: false,
            }),
            subscriptions,
        }))
    }

    pub(super) fn refreshed(&self, body: &[u8]) -> Result<Verdict<Refreshed>, Fault> {
        let result: RefreshBody = match answer(body)? {
            Ok(Some(result)) => result,
            Ok(None) => return Ok(Ok(Refreshed::Expired)),
            Err(refused) => return Ok(Err(refused)),
        };
        if result.expired == Some(true) {
            return Ok(Ok(Refreshed::Expired));
        }
        Ok(Ok(Refreshed::Extended(Extension {
            expires_at: time(result.expire_at),
            info: self.info(result.info, result.b64info)?,
            meta: self.meta(result.meta)?,
            capabilities: result.caps.map(capabilities).transpose()?,
        })))
    }

    pub(super) fn called(&self, body: &[u8]) -> Result<Verdict<Option<Payload>>, Fault> {
        Ok(match answer::<RpcBody>(body)? {
            Ok(Some(result)) => Ok(data(result.data, result.b64data)?),
            Ok(None) => Ok(None),
            Err(refused) => Err(refused),
        })
    }

    /// The status has said that it was taken. A body may still ask for the end of the connection; one that is no
    /// answer is none.
    pub(super) fn taken(&self, body: &[u8]) -> Result<Verdict<()>, Fault> {
        Ok(match answer::<IgnoredAny>(body) {
            Ok(Err(refused)) => Err(refused),
            Ok(Ok(_)) | Err(_) => Ok(()),
        })
    }

    pub(super) fn subscribed(&self, body: &[u8]) -> Result<Verdict<Subscribed>, Fault> {
        Ok(match answer::<SubscribeBody>(body)? {
            Ok(result) => Ok(self.subscription(result.unwrap_or_default())?),
            Err(refused) => Err(refused),
        })
    }

    pub(super) fn decided(&self, body: &[u8]) -> Result<Verdict<PublishDecision>, Fault> {
        let result: PublishBody = match answer(body)? {
            Ok(result) => result.unwrap_or_default(),
            Err(refused) => return Ok(Err(refused)),
        };
        let is_versioned = result.version.unwrap_or_default() != 0
            || result.version_epoch.is_some_and(|epoch| !epoch.is_empty());
        if is_versioned {
            return Err(Fault::NotAccepted(
                "version or version_epoch, which are not supported",
            ));
        }
        let tags = result.tags.unwrap_or_default();
        let is_long = |text: &str| text.len() > TAG_BYTES_MAX;
        if tags.len() > TAGS_MAX
            || tags
                .iter()
                .any(|(key, value)| is_long(key) || is_long(value))
        {
            return Err(Fault::NotAccepted(
                "more or longer tags than the API allows",
            ));
        }
        let idempotency_key = result.idempotency_key.filter(|key| !key.is_empty());
        if idempotency_key
            .as_ref()
            .is_some_and(|key| key.len() > IDEMPOTENCY_KEY_BYTES_MAX)
        {
            return Err(Fault::NotAccepted(
                "a longer idempotency_key than the API allows",
            ));
        }
        // Here alone Centrifugo prefers data to b64data.
        let b64data = result.b64data.filter(|_| result.data.is_none());
        let data = data(result.data, b64data)?;
        if data
            .as_ref()
            .is_some_and(|data| data.bytes.len() > self.payload_bytes_max)
        {
            return Err(Fault::NotAccepted("longer data than a room can carry"));
        }
        Ok(Ok(PublishDecision {
            data,
            skip_history: result.skip_history.unwrap_or_default(),
            tags: tags.into_iter().collect(),
            idempotency_key,
        }))
    }

    /// The password of a user of the relay, and until when it is good (0: nothing was said of that); `None` if there is no such
    /// user.
    pub(super) fn turn_user(body: &[u8]) -> Result<Option<(String, u64)>, Fault> {
        let Ok(Some(user)) = answer::<TurnUserBody>(body)? else {
            return Ok(None);
        };
        let expire_at = u64::try_from(user.expire_at.unwrap_or_default()).unwrap_or_default();
        Ok(user.password.map(|password| (password, expire_at)))
    }

    fn subscription(&self, terms: SubscribeBody) -> Result<Subscribed, Fault> {
        if terms.overrides.is_some() {
            return Err(Fault::NotAccepted("override, which is not supported"));
        }
        if terms.server_tags_filter.is_some() {
            return Err(Fault::NotAccepted(
                "server_tags_filter, which is not supported",
            ));
        }
        Ok(Subscribed {
            grant: SubscriptionGrant {
                expires_at: time(terms.expire_at),
                info: self.info(terms.info, terms.b64info)?,
                rights: rights(&terms.allow.unwrap_or_default()),
            },
            data: data(terms.data, terms.b64data)?,
        })
    }

    /// One line of JSON, for it is put verbatim into replies that end at a line break.
    fn info(
        &self,
        json: Option<Box<RawValue>>,
        base64: Option<String>,
    ) -> Result<Option<Box<str>>, Fault> {
        let Some(bytes) = bytes(json, base64)? else {
            return Ok(None);
        };
        self.line(bytes.as_ref()).map(Some)
    }

    fn meta(&self, json: Option<Box<RawValue>>) -> Result<Option<Arc<str>>, Fault> {
        let Some(json) = json.filter(|_| self.keeps_meta) else {
            return Ok(None);
        };
        Ok(Some(self.line(json.get().as_bytes())?.into()))
    }

    fn line(&self, json: &[u8]) -> Result<Box<str>, Fault> {
        let line = json::normalise(json)
            .and_then(|line| String::from_utf8(line.into_owned()).ok())
            .ok_or(Fault::NotAccepted(
                "info or meta that is not JSON, or too deep",
            ))?;
        if line.len() > self.payload_bytes_max {
            return Err(Fault::NotAccepted("longer info or meta than a message"));
        }
        Ok(line.into())
    }
}

/// Reads an answer's frame.
fn answer<R: DeserializeOwned>(body: &[u8]) -> Result<Verdict<Option<R>>, Fault> {
    let answer: Answer<R> = serde_json::from_slice(body).map_err(|error| Fault::Malformed {
        line: error.line(),
        column: error.column(),
    })?;
    if let Some(body) = answer.disconnect {
        let reason = body.reason.unwrap_or_default();
        return refusal::disconnect(body.code.unwrap_or_default(), &reason)
            .map(Err)
            .ok_or(Fault::NotAccepted(
                "a disconnect code that is not from 3000 to 4999",
            ));
    }
    if let Some(body) = answer.error {
        let (message, is_temporary) = (body.message.unwrap_or_default(), body.temporary);
        return refusal::error(
            body.code.unwrap_or_default(),
            &message,
            is_temporary.unwrap_or_default(),
        )
        .map(Err)
        .ok_or(Fault::NotAccepted(
            "an error code that is not from 100 to 1999",
        ));
    }
    Ok(Ok(answer.result))
}

/// Unix time; nothing, zero and less stand for never.
fn time(expire_at: Option<i64>) -> Option<u64> {
    expire_at
        .and_then(|at| u64::try_from(at).ok())
        .filter(|at| *at > 0)
}

fn capabilities(claims: Vec<CapabilityClaim>) -> Result<Vec<Capability>, Fault> {
    claims
        .iter()
        .map(|claim| {
            claim
                .to_capability()
                .map_err(|_| Fault::NotAccepted("caps with a pattern that is not supported"))
        })
        .collect()
}

/// What a client is sent: JSON as it was written but in one line, or bytes.
fn data(json: Raw, base64: Option<String>) -> Result<Option<Payload>, Fault> {
    let is_json = base64.as_ref().is_none_or(String::is_empty);
    let Some(bytes) = bytes(json, base64)? else {
        return Ok(None);
    };
    if !is_json {
        return Ok(Some(Payload { bytes, is_json }));
    }
    let line = json::normalise(&bytes).ok_or(Fault::NotAccepted("data that is nested too deep"))?;
    Ok(Some(Payload {
        bytes: Bytes::copy_from_slice(&line),
        is_json,
    }))
}

/// The bytes of either form; base64 goes first, as in Centrifugo.
fn bytes(json: Raw, base64: Option<String>) -> Result<Option<Bytes>, Fault> {
    if let Some(text) = base64.filter(|text| !text.is_empty()) {
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| Fault::NotAccepted("b64data or b64info that is not base64"))?;
        return Ok(Some(bytes.into()));
    }
    Ok(json.map(|json| Bytes::copy_from_slice(json.get().as_bytes())))
}

/// A value that is there, `null` included; serde would take that for the lack of one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}
