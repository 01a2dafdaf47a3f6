//! Commands as they stand in JSON.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::filter::filter;
use super::read::{Object, epoch, object, pairs, raw, text};
use crate::centrifuge::command_error::{CONNECT_HEADERS_MAX, CONNECT_SUBS_MAX, CommandError};
use crate::centrifuge::parts::{Parts, Rpc, SubRefresh};
use crate::centrifuge::{Connect, ConnectSub, Epoch, History, Publish, StreamPosition, Subscribe};
use crate::json_fields::{Text, or_default};

/// A command as it stands in JSON. Unknown fields are the future's, and skipped; `null` is as good as absent.
#[derive(Deserialize)]
pub(super) struct CommandFields<'a> {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) id: u32,
    #[serde(borrow, default, deserialize_with = "object")]
    connect: Option<ConnectFields<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    subscribe: Option<SubscribeFields<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    unsubscribe: Option<ChannelFields<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    publish: Option<PublishFields<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    presence: Option<ChannelFields<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    presence_stats: Option<ChannelFields<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    history: Option<HistoryFields<'a>>,
    #[serde(default, deserialize_with = "object")]
    ping: Option<PingFields>,
    #[serde(borrow, default, deserialize_with = "object")]
    send: Option<SendFields<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    rpc: Option<RpcFields<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    refresh: Option<RefreshFields<'a>>,
    #[serde(borrow, default, deserialize_with = "object")]
    sub_refresh: Option<SubRefreshFields<'a>>,
}

impl<'a> CommandFields<'a> {
    pub(super) fn parts(self) -> Result<Parts<'a>, CommandError> {
        let connect = self.connect.map(ConnectFields::checked).transpose()?;
        let subscribe = self.subscribe.map(SubscribeFields::checked).transpose()?;
        Ok(Parts {
            id: self.id,
            connect: connect.map(Box::new),
            has_ping: self.ping.is_some(),
            subscribe,
            unsubscribe: self.unsubscribe.map(|fields| fields.channel),
            publish: self.publish.map(Publish::from),
            presence: self.presence.map(|fields| fields.channel),
            presence_stats: self.presence_stats.map(|fields| fields.channel),
            history: self.history.map(History::from),
            rpc: self
                .rpc
                .map(|RpcFields { method, data }| Rpc { method, data }),
            send: self.send.map(|fields| fields.data),
            refresh: self.refresh.map(|fields| fields.token),
            sub_refresh: self
                .sub_refresh
                .map(|SubRefreshFields { channel, token }| SubRefresh { channel, token }),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ConnectFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    token: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "raw")]
    data: Cow<'a, [u8]>,
    #[serde(borrow, deserialize_with = "pairs::<_, _, _, CONNECT_SUBS_MAX>")]
    subs: Vec<(Text<'a>, Object<PositionFields>)>,
    #[serde(borrow, deserialize_with = "text")]
    name: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    version: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "pairs::<_, _, _, CONNECT_HEADERS_MAX>")]
    headers: Vec<(Text<'a>, Text<'a>)>,
}

impl<'a> ConnectFields<'a> {
    pub(super) fn checked(self) -> Result<Connect<'a>, CommandError> {
        if self.subs.len() > CONNECT_SUBS_MAX || self.headers.len() > CONNECT_HEADERS_MAX {
            return Err(CommandError::TooManyEntries);
        }
        let sub = |(channel, position): (Text<'a>, Object<PositionFields>)| {
            let position = position.0.unwrap_or_default();
            ConnectSub {
                channel: channel.0,
                recover: position.recover,
                position: StreamPosition {
                    offset: position.offset,
                    epoch: position.epoch,
                },
            }
        };
        Ok(Connect {
            token: self.token,
            data: self.data,
            subs: self.subs.into_iter().map(sub).collect(),
            name: self.name,
            version: self.version,
            headers: self
                .headers
                .into_iter()
                .map(|(name, value)| (name.0, value.0))
                .collect(),
        })
    }
}

/// A server-side subscription of connect, or the `since` of history.
#[derive(Deserialize, Default)]
#[serde(default)]
struct PositionFields {
    #[serde(deserialize_with = "or_default")]
    recover: bool,
    #[serde(deserialize_with = "epoch")]
    epoch: Epoch,
    #[serde(deserialize_with = "or_default")]
    offset: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SubscribeFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    token: Cow<'a, str>,
    #[serde(deserialize_with = "or_default")]
    recover: bool,
    #[serde(deserialize_with = "epoch")]
    epoch: Epoch,
    #[serde(deserialize_with = "or_default")]
    offset: u64,
    #[serde(borrow, deserialize_with = "raw")]
    data: Cow<'a, [u8]>,
    #[serde(deserialize_with = "or_default")]
    positioned: bool,
    #[serde(deserialize_with = "or_default")]
    recoverable: bool,
    #[serde(deserialize_with = "or_default")]
    join_leave: bool,
    #[serde(borrow, deserialize_with = "text")]
    delta: Cow<'a, str>,
    #[serde(borrow)]
    tf: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    flag: i64,
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: i32,
}

impl<'a> SubscribeFields<'a> {
    fn checked(self) -> Result<Subscribe<'a>, CommandError> {
        Ok(Subscribe {
            channel: self.channel,
            token: self.token,
            recover: self.recover,
            epoch: self.epoch,
            offset: self.offset,
            data: self.data,
            positioned: self.positioned,
            recoverable: self.recoverable,
            join_leave: self.join_leave,
            delta: self.delta,
            filter: self.tf.map(|tf| filter(tf.get())).transpose()?,
            flags: self.flag,
            kind: self.kind,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ChannelFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    channel: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PublishFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "raw")]
    data: Cow<'a, [u8]>,
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: i32,
}

impl<'a> From<PublishFields<'a>> for Publish<'a> {
    fn from(fields: PublishFields<'a>) -> Self {
        Self {
            channel: fields.channel,
            data: fields.data,
            kind: fields.kind,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HistoryFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(deserialize_with = "or_default")]
    limit: i32,
    #[serde(deserialize_with = "object")]
    since: Option<PositionFields>,
    #[serde(deserialize_with = "or_default")]
    reverse: bool,
}

impl<'a> From<HistoryFields<'a>> for History<'a> {
    fn from(fields: HistoryFields<'a>) -> Self {
        let since = fields.since.map(|since| StreamPosition {
            offset: since.offset,
            epoch: since.epoch,
        });
        Self {
            channel: fields.channel,
            limit: fields.limit,
            since,
            reverse: fields.reverse,
        }
    }
}

#[derive(Deserialize)]
struct PingFields {}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SendFields<'a> {
    #[serde(borrow, deserialize_with = "raw")]
    data: Cow<'a, [u8]>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RpcFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    method: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "raw")]
    data: Cow<'a, [u8]>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RefreshFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    token: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SubRefreshFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    token: Cow<'a, str>,
}
