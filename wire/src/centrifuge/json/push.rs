//! Pushes.

use super::text::{Fields, object, write_client_info, write_publication};
use crate::centrifuge::codes::{DisconnectCode, UnsubscribeCode};
use crate::centrifuge::{ClientInfo, Data, Publication, SubscribePush};

/// The server's ping, a reply of nothing. Clients that were told to answer send the same back.
pub const PING: &[u8] = b"{}";

/// Appends a publication in a channel.
pub fn write_publication_push(out: &mut Vec<u8>, channel: &str, publication: &Publication<'_>) {
    push(out, channel, |push| {
        write_publication(push.name("pub"), publication)
    });
}

/// Appends that someone joined a channel.
pub fn write_join_push(out: &mut Vec<u8>, channel: &str, info: &ClientInfo<'_>) {
    push(out, channel, |push| {
        push.object("join", |join| write_client_info(join.name("info"), info))
    });
}

/// Appends that someone left a channel.
pub fn write_leave_push(out: &mut Vec<u8>, channel: &str, info: &ClientInfo<'_>) {
    push(out, channel, |push| {
        push.object("leave", |leave| write_client_info(leave.name("info"), info))
    });
}

/// Appends that the server took the client out of a channel.
pub fn write_unsubscribe_push(
    out: &mut Vec<u8>,
    channel: &str,
    code: UnsubscribeCode,
    reason: &str,
) {
    push(out, channel, |push| {
        push.object("unsubscribe", |unsubscribe| {
            unsubscribe.number("code", code.number().into());
            unsubscribe.text("reason", reason);
        });
    });
}

/// Appends that the server put the client into a channel.
pub fn write_subscribe_push(out: &mut Vec<u8>, channel: &str, subscription: &SubscribePush<'_>) {
    push(out, channel, |push| {
        push.object("subscribe", |subscribe| {
            subscribe.flag("recoverable", subscription.recoverable);
            subscribe.epoch("epoch", subscription.epoch);
            subscribe.number("offset", subscription.offset);
            subscribe.flag("positioned", subscription.positioned);
            subscribe.raw("data", subscription.data);
        });
    });
}

/// Appends a message to this connection, outside any channel.
pub fn write_message_push(out: &mut Vec<u8>, data: Data<'_>) {
    push(out, "", |push| {
        push.object("message", |message| message.data("data", data))
    });
}

/// Appends that the server is about to close the connection, for transports whose close carries no code.
pub fn write_disconnect_push(
    out: &mut Vec<u8>,
    code: DisconnectCode,
    reason: &str,
    reconnect: bool,
) {
    push(out, "", |push| {
        push.object("disconnect", |disconnect| {
            disconnect.number("code", code.number().into());
            disconnect.text("reason", reason);
            disconnect.flag("reconnect", reconnect);
        });
    });
}

fn push(out: &mut Vec<u8>, channel: &str, fields: impl FnOnce(&mut Fields<'_>)) {
    object(out, |reply| {
        reply.object("push", |push| {
            push.text("channel", channel);
            fields(push);
        });
    });
}
