//! Replies to commands.

use super::text::{
    Fields, array, object, write_client_info, write_epoch, write_number, write_publication,
};
use crate::centrifuge::codes::ErrorCode;
use crate::centrifuge::{
    ClientInfo, ConnectResult, ConnectSubResult, Data, Publication, RefreshResult,
    SubRefreshResult, SubscribeResult,
};

/// Appends that command `id` failed. `message` is for people; [`ErrorCode::message`] has the usual one.
pub fn write_error(out: &mut Vec<u8>, id: u32, code: ErrorCode, message: &str, is_temporary: bool) {
    reply(out, id, "error", |error| {
        error.number("code", code.number().into());
        error.text("message", message);
        error.flag("temporary", is_temporary);
    });
}

/// Appends the answer to connect, with the subscriptions that the server made.
pub fn write_connect<'s>(
    out: &mut Vec<u8>,
    id: u32,
    result: &ConnectResult<'_>,
    subs: impl IntoIterator<Item = ConnectSubResult<'s>>,
) {
    reply(out, id, "connect", |fields| {
        connect_fields(fields, result, subs)
    });
}

/// Appends the answer to subscribe, with what was recovered, oldest first.
pub fn write_subscribe<'p>(
    out: &mut Vec<u8>,
    id: u32,
    result: &SubscribeResult<'_>,
    publications: impl IntoIterator<Item = Publication<'p>>,
) {
    reply(out, id, "subscribe", |fields| {
        subscribe_fields(fields, result, publications)
    });
}

/// Appends the answer to unsubscribe.
pub fn write_unsubscribe(out: &mut Vec<u8>, id: u32) {
    reply(out, id, "unsubscribe", |_| {});
}

/// Appends the answer to publish.
pub fn write_publish(out: &mut Vec<u8>, id: u32) {
    reply(out, id, "publish", |_| {});
}

/// Appends the answer to presence: who is in the channel, by the names of their connections.
pub fn write_presence<'c>(
    out: &mut Vec<u8>,
    id: u32,
    clients: impl IntoIterator<Item = ClientInfo<'c>>,
) {
    reply(out, id, "presence", |presence| {
        presence.object("presence", |fields| {
            for client in clients {
                write_client_info(fields.foreign_name(client.client), &client);
            }
        });
    });
}

/// Appends the answer to presence_stats.
pub fn write_presence_stats(out: &mut Vec<u8>, id: u32, clients: u32, users: u32) {
    reply(out, id, "presence_stats", |stats| {
        // SDKs read these two without a default.
        write_number(stats.name("num_clients"), clients.into());
        write_number(stats.name("num_users"), users.into());
    });
}

/// Appends the answer to history: the channel's position and what was asked for.
pub fn write_history<'p>(
    out: &mut Vec<u8>,
    id: u32,
    epoch: u64,
    offset: u64,
    publications: impl IntoIterator<Item = Publication<'p>>,
) {
    reply(out, id, "history", |history| {
        // SDKs read these three without a default.
        array(
            history.name("publications"),
            publications,
            |out, publication| write_publication(out, &publication),
        );
        write_epoch(history.name("epoch"), epoch);
        write_number(history.name("offset"), offset);
    });
}

/// Appends the answer to a client's ping.
pub fn write_pong(out: &mut Vec<u8>, id: u32) {
    reply(out, id, "ping", |_| {});
}

/// Appends the answer to rpc.
pub fn write_rpc(out: &mut Vec<u8>, id: u32, data: Data<'_>) {
    reply(out, id, "rpc", |rpc| rpc.data("data", data));
}

/// Appends the answer to refresh.
pub fn write_refresh(out: &mut Vec<u8>, id: u32, result: &RefreshResult<'_>) {
    reply(out, id, "refresh", |refresh| {
        refresh.text("client", result.client);
        refresh.text("version", result.version);
        refresh.flag("expires", result.expires);
        refresh.number("ttl", result.ttl_s.into());
    });
}

/// Appends the answer to sub_refresh.
pub fn write_sub_refresh(out: &mut Vec<u8>, id: u32, result: &SubRefreshResult) {
    reply(out, id, "sub_refresh", |refresh| {
        refresh.flag("expires", result.expires);
        refresh.number("ttl", result.ttl_s.into());
    });
}

pub(super) fn connect_fields<'s>(
    connect: &mut Fields<'_>,
    result: &ConnectResult<'_>,
    subs: impl IntoIterator<Item = ConnectSubResult<'s>>,
) {
    connect.text("client", result.client);
    connect.text("version", result.version);
    connect.flag("expires", result.expires);
    connect.number("ttl", result.ttl_s.into());
    connect.raw("data", result.data);
    let mut subs = subs.into_iter().peekable();
    if subs.peek().is_some() {
        connect.object("subs", |channels| {
            for sub in subs {
                object(channels.foreign_name(sub.channel), |fields| {
                    subscribe_fields(fields, &sub.result, sub.publications.iter().copied());
                });
            }
        });
    }
    connect.number("ping", result.ping_s.into());
    connect.flag("pong", result.pong);
    connect.text("session", result.session);
    connect.text("node", result.node);
    connect.time("time", result.time_unix_ms);
}

fn subscribe_fields<'p>(
    fields: &mut Fields<'_>,
    result: &SubscribeResult<'_>,
    publications: impl IntoIterator<Item = Publication<'p>>,
) {
    fields.flag("expires", result.expires);
    fields.number("ttl", result.ttl_s.into());
    fields.flag("recoverable", result.recoverable);
    fields.epoch("epoch", result.epoch);
    let mut publications = publications.into_iter().peekable();
    if publications.peek().is_some() {
        array(
            fields.name("publications"),
            publications,
            |out, publication| write_publication(out, &publication),
        );
    }
    fields.flag("recovered", result.recovered);
    fields.number("offset", result.offset);
    fields.flag("positioned", result.positioned);
    fields.raw("data", result.data);
    fields.flag("was_recovering", result.was_recovering);
    fields.flag("delta", result.delta);
}

/// `{"id":…,"<name>":{…}}`
fn reply(out: &mut Vec<u8>, id: u32, name: &str, fields: impl FnOnce(&mut Fields<'_>)) {
    object(out, |reply| {
        reply.number("id", id.into());
        reply.object(name, fields);
    });
}
