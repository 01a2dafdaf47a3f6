//! Commands as they stand in JSON.

use std::borrow::Cow;

use serde::Deserialize;

use super::command::CommandError;
use super::read::{Object, Text, epoch, object, or_default, pairs, raw, text};
use crate::centrifuge::{
    Connect, ConnectSub, Epoch, History, Method, Publish, StreamPosition, Subscribe,
};

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
    pub(super) fn method(self) -> Result<Method<'a>, CommandError> {
        if let Some(connect) = self.connect {
            return Ok(Method::Connect(Box::new(connect.into())));
        }
        if self.ping.is_some() {
            return Ok(Method::Ping);
        }
        if let Some(subscribe) = self.subscribe {
            return Ok(Method::Subscribe(subscribe.checked()?));
        }
        if let Some(unsubscribe) = self.unsubscribe {
            let channel = required(unsubscribe.channel)?;
            return Ok(Method::Unsubscribe { channel });
        }
        if let Some(publish) = self.publish {
            return Ok(Method::Publish(publish.checked()?));
        }
        if let Some(presence) = self.presence {
            let channel = required(presence.channel)?;
            return Ok(Method::Presence { channel });
        }
        if let Some(stats) = self.presence_stats {
            let channel = required(stats.channel)?;
            return Ok(Method::PresenceStats { channel });
        }
        if let Some(history) = self.history {
            return Ok(Method::History(history.checked()?));
        }
        if let Some(rpc) = self.rpc {
            let RpcFields { method, data } = rpc;
            return Ok(Method::Rpc { method, data });
        }
        if let Some(send) = self.send {
            return Ok(Method::Send { data: send.data });
        }
        if let Some(refresh) = self.refresh {
            return Ok(Method::Refresh {
                token: refresh.token,
            });
        }
        if let Some(refresh) = self.sub_refresh {
            let channel = required(refresh.channel)?;
            return Ok(Method::SubRefresh {
                channel,
                token: refresh.token,
            });
        }
        Ok(Method::Unknown)
    }
}

fn required(channel: Cow<'_, str>) -> Result<Cow<'_, str>, CommandError> {
    if channel.is_empty() {
        return Err(CommandError::MissingChannel);
    }
    Ok(channel)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConnectFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    token: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "raw")]
    data: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "pairs")]
    subs: Vec<(Text<'a>, Object<PositionFields>)>,
    #[serde(borrow, deserialize_with = "text")]
    name: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    version: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "pairs")]
    headers: Vec<(Text<'a>, Text<'a>)>,
}

impl<'a> From<ConnectFields<'a>> for Connect<'a> {
    fn from(fields: ConnectFields<'a>) -> Self {
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
        Self {
            token: fields.token,
            data: fields.data,
            subs: fields.subs.into_iter().map(sub).collect(),
            name: fields.name,
            version: fields.version,
            headers: fields
                .headers
                .into_iter()
                .map(|(name, value)| (name.0, value.0))
                .collect(),
        }
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
    data: Cow<'a, str>,
    #[serde(deserialize_with = "or_default")]
    positioned: bool,
    #[serde(deserialize_with = "or_default")]
    recoverable: bool,
    #[serde(deserialize_with = "or_default")]
    join_leave: bool,
    #[serde(borrow, deserialize_with = "text")]
    delta: Cow<'a, str>,
    #[serde(deserialize_with = "or_default")]
    flag: i64,
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: i32,
}

impl<'a> SubscribeFields<'a> {
    fn checked(self) -> Result<Subscribe<'a>, CommandError> {
        Ok(Subscribe {
            channel: required(self.channel)?,
            token: self.token,
            recover: self.recover,
            epoch: self.epoch,
            offset: self.offset,
            data: self.data,
            positioned: self.positioned,
            recoverable: self.recoverable,
            join_leave: self.join_leave,
            delta: self.delta,
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
    data: Cow<'a, str>,
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: i32,
}

impl<'a> PublishFields<'a> {
    fn checked(self) -> Result<Publish<'a>, CommandError> {
        Ok(Publish {
            channel: required(self.channel)?,
            data: self.data,
            kind: self.kind,
        })
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

impl<'a> HistoryFields<'a> {
    fn checked(self) -> Result<History<'a>, CommandError> {
        let since = self.since.map(|since| StreamPosition {
            offset: since.offset,
            epoch: since.epoch,
        });
        Ok(History {
            channel: required(self.channel)?,
            limit: self.limit,
            since,
            reverse: self.reverse,
        })
    }
}

#[derive(Deserialize)]
struct PingFields {}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SendFields<'a> {
    #[serde(borrow, deserialize_with = "raw")]
    data: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RpcFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    method: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "raw")]
    data: Cow<'a, str>,
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
