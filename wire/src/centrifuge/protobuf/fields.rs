//! The messages of commands, by the field numbers of client.proto.
//!
//! A field that comes twice counts with its last value, and a message that comes twice is one with the fields of both, as
//! the encoding has it; lists grow.

use std::borrow::Cow;

use super::filter::filter;
use super::read::{Malformed, Message};
use crate::centrifuge::command_error::{CONNECT_HEADERS_MAX, CONNECT_SUBS_MAX, CommandError};
use crate::centrifuge::parts::{Parts, Rpc, SubRefresh};
use crate::centrifuge::{Connect, ConnectSub, Epoch, History, Publish, StreamPosition, Subscribe};

/// `Command`
pub(super) fn parts(mut message: Message<'_>) -> Result<Parts<'_>, CommandError> {
    let mut parts = Parts::default();
    while let Some(field) = message.field()? {
        match field.number {
            1 => parts.id = field.u32()?,
            4 => connect(parts.connect.get_or_insert_default(), field.message()?)?,
            5 => subscribe(parts.subscribe.get_or_insert_default(), field.message()?)?,
            6 => one_text(parts.unsubscribe.get_or_insert_default(), field.message()?)?,
            7 => publish(parts.publish.get_or_insert_default(), field.message()?)?,
            8 => one_text(parts.presence.get_or_insert_default(), field.message()?)?,
            9 => one_text(
                parts.presence_stats.get_or_insert_default(),
                field.message()?,
            )?,
            10 => history(parts.history.get_or_insert_default(), field.message()?)?,
            11 => {
                nothing(field.message()?)?;
                parts.has_ping = true;
            }
            12 => send(parts.send.get_or_insert_default(), field.message()?)?,
            13 => rpc(parts.rpc.get_or_insert_default(), field.message()?)?,
            14 => one_text(parts.refresh.get_or_insert_default(), field.message()?)?,
            15 => sub_refresh(parts.sub_refresh.get_or_insert_default(), field.message()?)?,
            _ => {}
        }
    }
    Ok(parts)
}

/// `ConnectRequest`
fn connect<'a>(connect: &mut Connect<'a>, mut message: Message<'a>) -> Result<(), CommandError> {
    while let Some(field) = message.field()? {
        match field.number {
            1 => connect.token = field.text()?,
            2 => connect.data = field.bytes()?,
            3 if connect.subs.len() == CONNECT_SUBS_MAX => {
                return Err(CommandError::TooManyEntries);
            }
            3 => connect.subs.push(connect_sub(field.message()?)?),
            4 => connect.name = field.text()?,
            5 => connect.version = field.text()?,
            6 if connect.headers.len() == CONNECT_HEADERS_MAX => {
                return Err(CommandError::TooManyEntries);
            }
            6 => connect.headers.push(header(field.message()?)?),
            _ => {}
        }
    }
    Ok(())
}

/// An entry of a map from channels to `SubscribeRequest`s, of which the position counts.
fn connect_sub(mut entry: Message<'_>) -> Result<ConnectSub<'_>, Malformed> {
    let mut sub = ConnectSub {
        channel: Cow::default(),
        recover: false,
        position: StreamPosition::default(),
    };
    while let Some(field) = entry.field()? {
        match field.number {
            1 => sub.channel = field.text()?,
            2 => {
                let mut request = field.message()?;
                while let Some(field) = request.field()? {
                    match field.number {
                        3 => sub.recover = field.flag()?,
                        6 => sub.position.epoch = Epoch::parse(&field.text()?),
                        7 => sub.position.offset = field.u64()?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(sub)
}

/// An entry of a map from texts to texts.
fn header(mut entry: Message<'_>) -> Result<(Cow<'_, str>, Cow<'_, str>), Malformed> {
    let mut header = <(Cow<'_, str>, Cow<'_, str>)>::default();
    while let Some(field) = entry.field()? {
        match field.number {
            1 => header.0 = field.text()?,
            2 => header.1 = field.text()?,
            _ => {}
        }
    }
    Ok(header)
}

/// `SubscribeRequest`
fn subscribe<'a>(
    subscribe: &mut Subscribe<'a>,
    mut message: Message<'a>,
) -> Result<(), CommandError> {
    while let Some(field) = message.field()? {
        match field.number {
            1 => subscribe.channel = field.text()?,
            2 => subscribe.token = field.text()?,
            3 => subscribe.recover = field.flag()?,
            6 => subscribe.epoch = Epoch::parse(&field.text()?),
            7 => subscribe.offset = field.u64()?,
            8 => subscribe.data = field.bytes()?,
            9 => subscribe.positioned = field.flag()?,
            10 => subscribe.recoverable = field.flag()?,
            11 => subscribe.join_leave = field.flag()?,
            12 => subscribe.delta = field.text()?,
            // Of two filters the last counts: no encoder writes two, and half of one and half of the other is none.
            13 => subscribe.filter = Some(filter(field.message()?)?),
            14 => subscribe.flags = field.i64()?,
            15 => subscribe.kind = field.i32()?,
            _ => {}
        }
    }
    Ok(())
}

/// `UnsubscribeRequest`, `PresenceRequest` and `PresenceStatsRequest` have a channel, `RefreshRequest` a token.
fn one_text<'a>(text: &mut Cow<'a, str>, mut message: Message<'a>) -> Result<(), Malformed> {
    while let Some(field) = message.field()? {
        if field.number == 1 {
            *text = field.text()?;
        }
    }
    Ok(())
}

/// `PublishRequest`
fn publish<'a>(publish: &mut Publish<'a>, mut message: Message<'a>) -> Result<(), Malformed> {
    while let Some(field) = message.field()? {
        match field.number {
            1 => publish.channel = field.text()?,
            2 => publish.data = field.bytes()?,
            3 => publish.kind = field.i32()?,
            _ => {}
        }
    }
    Ok(())
}

/// `HistoryRequest`
fn history<'a>(history: &mut History<'a>, mut message: Message<'a>) -> Result<(), Malformed> {
    while let Some(field) = message.field()? {
        match field.number {
            1 => history.channel = field.text()?,
            7 => history.limit = field.i32()?,
            8 => position(history.since.get_or_insert_default(), field.message()?)?,
            9 => history.reverse = field.flag()?,
            _ => {}
        }
    }
    Ok(())
}

/// `StreamPosition`
fn position(position: &mut StreamPosition, mut message: Message<'_>) -> Result<(), Malformed> {
    while let Some(field) = message.field()? {
        match field.number {
            1 => position.offset = field.u64()?,
            2 => position.epoch = Epoch::parse(&field.text()?),
            _ => {}
        }
    }
    Ok(())
}

/// `PingRequest`
fn nothing(mut message: Message<'_>) -> Result<(), Malformed> {
    while message.field()?.is_some() {}
    Ok(())
}

/// `SendRequest`
fn send<'a>(data: &mut Cow<'a, [u8]>, mut message: Message<'a>) -> Result<(), Malformed> {
    while let Some(field) = message.field()? {
        if field.number == 1 {
            *data = field.bytes()?;
        }
    }
    Ok(())
}

/// `RPCRequest`
fn rpc<'a>(rpc: &mut Rpc<'a>, mut message: Message<'a>) -> Result<(), Malformed> {
    while let Some(field) = message.field()? {
        match field.number {
            1 => rpc.data = field.bytes()?,
            2 => rpc.method = field.text()?,
            _ => {}
        }
    }
    Ok(())
}

/// `SubRefreshRequest`
fn sub_refresh<'a>(
    refresh: &mut SubRefresh<'a>,
    mut message: Message<'a>,
) -> Result<(), Malformed> {
    while let Some(field) = message.field()? {
        match field.number {
            1 => refresh.channel = field.text()?,
            2 => refresh.token = field.text()?,
            _ => {}
        }
    }
    Ok(())
}
