//! Pushes: `Reply` with a `Push`.

use super::write::{Fields, delimited};
use crate::centrifuge::codes::{DisconnectCode, UnsubscribeCode};
use crate::centrifuge::{ClientInfo, Data, Publication, SubscribePush};

/// The server's ping, a reply of nothing. Clients that were told to answer send the same back.
pub const PING: &[u8] = &[0];

/// Appends a publication in a channel.
pub fn write_publication_push(out: &mut Vec<u8>, channel: &str, publication: &Publication<'_>) {
    push(out, channel, |push| push.publication(4, publication));
}

/// Appends that someone joined a channel.
pub fn write_join_push(out: &mut Vec<u8>, channel: &str, info: &ClientInfo<'_>) {
    push(out, channel, |push| {
        push.message(5, |join| join.client_info(1, info));
    });
}

/// Appends that someone left a channel.
pub fn write_leave_push(out: &mut Vec<u8>, channel: &str, info: &ClientInfo<'_>) {
    push(out, channel, |push| {
        push.message(6, |leave| leave.client_info(1, info));
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
        push.message(7, |unsubscribe| {
            unsubscribe.number(2, code.number().into());
            unsubscribe.text(3, reason);
        });
    });
}

/// Appends that the server put the client into a channel.
pub fn write_subscribe_push(out: &mut Vec<u8>, channel: &str, subscription: &SubscribePush<'_>) {
    push(out, channel, |push| {
        push.message(9, |subscribe| {
            subscribe.flag(1, subscription.recoverable);
            subscribe.epoch(4, subscription.epoch);
            subscribe.number(5, subscription.offset);
            subscribe.flag(6, subscription.positioned);
            subscribe.raw(7, subscription.data);
        });
    });
}

/// Appends a message to this connection, outside any channel.
pub fn write_message_push(out: &mut Vec<u8>, data: Data<'_>) {
    push(out, "", |push| {
        push.message(8, |message| message.data(1, data));
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
        push.message(11, |disconnect| {
            disconnect.number(1, code.number().into());
            disconnect.text(2, reason);
            disconnect.flag(3, reconnect);
        });
    });
}

fn push(out: &mut Vec<u8>, channel: &str, fields: impl Fn(&mut Fields<'_>)) {
    delimited(out, |reply| {
        reply.message(4, |push| {
            push.text(2, channel);
            fields(push);
        });
    });
}
