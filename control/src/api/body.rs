//! Bodies of requests as they are sent, with Centrifugo's names. `request` gives them a meaning.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::method::Method;

#[derive(Deserialize)]
pub(super) struct PublishBody<'a> {
    #[serde(default)]
    pub(super) channel: Option<Box<str>>,
    #[serde(default)]
    pub(super) channels: Option<Vec<Box<str>>>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    pub(super) data: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) b64data: Option<Box<str>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) skip_history: bool,
    #[serde(default)]
    pub(super) tags: Option<BTreeMap<Box<str>, Box<str>>>,
    #[serde(default)]
    pub(super) idempotency_key: Option<Box<str>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) version: u64,
    #[serde(default)]
    pub(super) version_epoch: Option<Box<str>>,
}

#[derive(Deserialize)]
pub(super) struct BatchBody<'a> {
    #[serde(borrow)]
    pub(super) commands: Vec<&'a RawValue>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) parallel: bool,
}

/// One command of a batch, `{"publish": {…}}`.
pub(super) enum CommandBody<'a> {
    /// Its method, if it is one, and what that takes.
    One(Option<Method>, &'a RawValue),
    /// None or several.
    NotOne,
}

impl<'de> Deserialize<'de> for CommandBody<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = CommandBody<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let Some((MethodName(method), body)) = entries.next_entry()? else {
                    return Ok(CommandBody::NotOne);
                };
                let mut command = CommandBody::One(method, body);
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    command = CommandBody::NotOne;
                }
                Ok(command)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// The method of this name.
struct MethodName(Option<Method>);

impl<'de> Deserialize<'de> for MethodName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = MethodName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a method")
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(MethodName(Method::parse(name)))
            }
        }

        deserializer.deserialize_str(Name)
    }
}

#[derive(Deserialize)]
pub(super) struct SubscribeBody<'a> {
    #[serde(default)]
    pub(super) user: Option<Box<str>>,
    #[serde(default)]
    pub(super) channel: Option<Box<str>>,
    #[serde(default)]
    pub(super) client: Option<Box<str>>,
    #[serde(default)]
    pub(super) session: Option<Box<str>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) expire_at: u64,
    #[serde(borrow, default)]
    pub(super) info: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) b64info: Option<Box<str>>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) b64data: Option<Box<str>>,
    #[serde(borrow, default)]
    pub(super) recover_since: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "override")]
    pub(super) overrides: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct DisconnectBody {
    #[serde(default)]
    pub(super) user: Option<Box<str>>,
    #[serde(default)]
    pub(super) client: Option<Box<str>>,
    #[serde(default)]
    pub(super) session: Option<Box<str>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) whitelist: Vec<Box<str>>,
    #[serde(default)]
    pub(super) disconnect: Option<DisconnectReason>,
}

#[derive(Deserialize)]
pub(super) struct DisconnectReason {
    pub(super) code: u16,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) reason: Box<str>,
}

#[derive(Deserialize)]
pub(super) struct RoomBody {
    #[serde(default)]
    pub(super) channel: Option<Box<str>>,
}

#[derive(Deserialize)]
pub(super) struct HistoryBody {
    #[serde(default)]
    pub(super) channel: Option<Box<str>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) limit: i64,
    #[serde(default)]
    pub(super) since: Option<SinceBody>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) reverse: bool,
}

#[derive(Deserialize)]
pub(super) struct SinceBody {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) offset: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) epoch: Box<str>,
}

#[derive(Deserialize)]
pub(super) struct ChannelsBody {
    #[serde(default)]
    pub(super) pattern: Option<Box<str>>,
}

#[derive(Deserialize)]
pub(super) struct InfoBody {}

#[derive(Deserialize)]
pub(super) struct TurnCredentialsBody {
    #[serde(default)]
    pub(super) user: Option<Box<str>>,
    /// Seconds.
    #[serde(default)]
    pub(super) ttl: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct TurnDisconnectBody {
    #[serde(default)]
    pub(super) relayed: Option<SocketAddr>,
}

#[derive(Deserialize)]
pub(super) struct PushBody<'a> {
    #[serde(default)]
    pub(super) user: Option<Box<str>>,
    #[serde(default)]
    pub(super) client: Option<Box<str>>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    pub(super) data: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) b64data: Option<Box<str>>,
}

/// `null` is JSON to be pushed, too; only a field that is not there is none.
fn even_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// `null` is as good as nothing: clients in some languages send it for a field that was not set.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
