//! Pushes.

use super::text::{Fields, object, write_client_info, write_publication};
use crate::centrifuge::codes::{DisconnectCode, UnsubscribeCode};
use crate::centrifuge::{ClientInfo, Data, Publication, SubscribePush};

/// The server's ping, a reply of nothing. Clients that were told to answer send the same back.
pub const PING: &[u8] = b"{}";

/// Appends a publication in a channel.
pub fn write_publication_push(out: &mut Vec<u8>, channel: &str, publication: &Publication<'_>) {
    push(out, |push| publication_in(push, channel, publication));
}

/// Appends that someone joined a channel.
pub fn write_join_push(out: &mut Vec<u8>, channel: &str, info: &ClientInfo<'_>) {
    push(out, |push| join(push, channel, info));
}

/// Appends that someone left a channel.
pub fn write_leave_push(out: &mut Vec<u8>, channel: &str, info: &ClientInfo<'_>) {
    push(out, |push| leave(push, channel, info));
}

/// Appends that the server took the client out of a channel.
pub fn write_unsubscribe_push(
    out: &mut Vec<u8>,
    channel: &str,
    code: UnsubscribeCode,
    reason: &str,
) {
    push(out, |push| unsubscribe(push, channel, code, reason));
}

/// Appends that the server put the client into a channel.
pub fn write_subscribe_push(out: &mut Vec<u8>, channel: &str, subscription: &SubscribePush<'_>) {
    push(out, |push| subscribe(push, channel, subscription));
}

/// Appends a message to this connection, outside any channel.
pub fn write_message_push(out: &mut Vec<u8>, data: Data<'_>) {
    push(out, |push| message(push, data));
}

/// Appends that the server is about to close the connection, for transports whose close carries no code.
pub fn write_disconnect_push(
    out: &mut Vec<u8>,
    code: DisconnectCode,
    reason: &str,
    reconnect: bool,
) {
    push(out, |push| disconnect(push, code, reason, reconnect));
}

/// `{"push":{…}}`
fn push(out: &mut Vec<u8>, fields: impl FnOnce(&mut Fields<'_>)) {
    object(out, |reply| reply.object("push", fields));
}

// -- the fields of a push, which are the same where it stands alone

pub(super) fn publication_in(push: &mut Fields<'_>, channel: &str, publication: &Publication<'_>) {
    push.text("channel", channel);
    write_publication(push.name("pub"), publication);
}

pub(super) fn join(push: &mut Fields<'_>, channel: &str, info: &ClientInfo<'_>) {
    push.text("channel", channel);
    push.object("join", |join| write_client_info(join.name("info"), info));
}

pub(super) fn leave(push: &mut Fields<'_>, channel: &str, info: &ClientInfo<'_>) {
    push.text("channel", channel);
    push.object("leave", |leave| write_client_info(leave.name("info"), info));
}

pub(super) fn unsubscribe(
    push: &mut Fields<'_>,
    channel: &str,
    code: UnsubscribeCode,
    reason: &str,
) {
    push.text("channel", channel);
    push.object("unsubscribe", |unsubscribe| {
        unsubscribe.number("code", code.number().into());
        unsubscribe.text("reason", reason);
    });
}

pub(super) fn subscribe(push: &mut Fields<'_>, channel: &str, subscription: &SubscribePush<'_>) {
    push.text("channel", channel);
    push.object("subscribe", |subscribe| {
        subscribe.flag("recoverable", subscription.recoverable);
        subscribe.epoch("epoch", subscription.epoch);
        subscribe.number("offset", subscription.offset);
        subscribe.flag("positioned", subscription.positioned);
        subscribe.raw("data", subscription.data);
    });
}

pub(super) fn message(push: &mut Fields<'_>, data: Data<'_>) {
    push.object("message", |message| message.data("data", data));
}

pub(super) fn disconnect(
    push: &mut Fields<'_>,
    code: DisconnectCode,
    reason: &str,
    reconnect: bool,
) {
    push.object("disconnect", |disconnect| {
        disconnect.number("code", code.number().into());
        disconnect.text("reason", reason);
        disconnect.flag("reconnect", reconnect);
    });
}
