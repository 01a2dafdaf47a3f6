//! Replies to commands.

use super::write::{Fields, delimited, length};
use crate::centrifuge::codes::ErrorCode;
use crate::centrifuge::{
    ClientInfo, ConnectResult, ConnectSubResult, Data, Publication, RefreshResult,
    SubRefreshResult, SubscribeResult,
};

/// Appends that command `id` failed. `message` is for people; [`ErrorCode::message`] has the usual one.
pub fn write_error(out: &mut Vec<u8>, id: u32, code: ErrorCode, message: &str, is_temporary: bool) {
    reply(out, id, 2, |error| {
        error.number(1, code.number().into());
        error.text(2, message);
        error.flag(3, is_temporary);
    });
}

/// Appends the answer to connect, with the subscriptions that the server made.
pub fn write_connect<'s>(
    out: &mut Vec<u8>,
    id: u32,
    result: &ConnectResult<'_>,
    subs: impl IntoIterator<Item = ConnectSubResult<'s>>,
) {
    let around = Around {
        before: |connect: &mut Fields<'_>| {
            connect.text(1, result.client);
            connect.text(2, result.version);
            connect.flag(3, result.expires);
            connect.number(4, result.ttl_s.into());
            connect.raw(5, result.data);
        },
        after: |connect: &mut Fields<'_>| {
            connect.number(7, result.ping_s.into());
            connect.flag(8, result.pong);
            connect.text(9, result.session);
            connect.text(10, result.node);
            connect.time(11, result.time_unix_ms);
        },
    };
    around.reply(out, id, 5, subs, |connect, sub| {
        connect.message(6, |entry| {
            entry.bytes(1, sub.channel.as_bytes());
            entry.message(2, |fields| {
                before_publications(fields, &sub.result);
                for publication in sub.publications {
                    fields.publication(7, publication);
                }
                after_publications(fields, &sub.result);
            });
        });
    });
}

/// Appends the answer to subscribe, with what was recovered, oldest first.
pub fn write_subscribe<'p>(
    out: &mut Vec<u8>,
    id: u32,
    result: &SubscribeResult<'_>,
    publications: impl IntoIterator<Item = Publication<'p>>,
) {
    let around = Around {
        before: |fields: &mut Fields<'_>| before_publications(fields, result),
        after: |fields: &mut Fields<'_>| after_publications(fields, result),
    };
    around.reply(out, id, 6, publications, |fields, publication| {
        fields.publication(7, publication);
    });
}

/// Appends the answer to unsubscribe.
pub fn write_unsubscribe(out: &mut Vec<u8>, id: u32) {
    reply(out, id, 7, |_| {});
}

/// Appends the answer to publish.
pub fn write_publish(out: &mut Vec<u8>, id: u32) {
    reply(out, id, 8, |_| {});
}

/// Appends the answer to presence: who is in the channel, by the names of their connections.
pub fn write_presence<'c>(
    out: &mut Vec<u8>,
    id: u32,
    clients: impl IntoIterator<Item = ClientInfo<'c>>,
) {
    let around = Around {
        before: |_: &mut Fields<'_>| {},
        after: |_: &mut Fields<'_>| {},
    };
    around.reply(out, id, 9, clients, |presence, client| {
        presence.message(1, |entry| {
            entry.bytes(1, client.client.as_bytes());
            entry.client_info(2, client);
        });
    });
}

/// Appends the answer to presence_stats.
pub fn write_presence_stats(out: &mut Vec<u8>, id: u32, clients: u32, users: u32) {
    reply(out, id, 10, |stats| {
        stats.number(1, clients.into());
        stats.number(2, users.into());
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
    let around = Around {
        before: |_: &mut Fields<'_>| {},
        after: |history: &mut Fields<'_>| {
            history.epoch(2, epoch);
            history.number(3, offset);
        },
    };
    around.reply(out, id, 11, publications, |history, publication| {
        history.publication(1, publication);
    });
}

/// Appends the answer to a client's ping.
pub fn write_pong(out: &mut Vec<u8>, id: u32) {
    reply(out, id, 12, |_| {});
}

/// Appends the answer to rpc.
pub fn write_rpc(out: &mut Vec<u8>, id: u32, data: Data<'_>) {
    reply(out, id, 13, |rpc| rpc.data(1, data));
}

/// Appends the answer to refresh.
pub fn write_refresh(out: &mut Vec<u8>, id: u32, result: &RefreshResult<'_>) {
    reply(out, id, 14, |refresh| {
        refresh.text(1, result.client);
        refresh.text(2, result.version);
        refresh.flag(3, result.expires);
        refresh.number(4, result.ttl_s.into());
    });
}

/// Appends the answer to sub_refresh.
pub fn write_sub_refresh(out: &mut Vec<u8>, id: u32, result: &SubRefreshResult) {
    reply(out, id, 15, |refresh| {
        refresh.flag(1, result.expires);
        refresh.number(2, result.ttl_s.into());
    });
}

/// `SubscribeResult` up to its publications, field 7.
fn before_publications(fields: &mut Fields<'_>, result: &SubscribeResult<'_>) {
    fields.flag(1, result.expires);
    fields.number(2, result.ttl_s.into());
    fields.flag(3, result.recoverable);
    fields.epoch(6, result.epoch);
}

fn after_publications(fields: &mut Fields<'_>, result: &SubscribeResult<'_>) {
    fields.flag(8, result.recovered);
    fields.number(9, result.offset);
    fields.flag(10, result.positioned);
    fields.raw(11, result.data);
    fields.flag(12, result.was_recovering);
    fields.flag(13, result.delta);
}

/// A reply with one result, its field `number`.
fn reply(out: &mut Vec<u8>, id: u32, number: u8, fields: impl Fn(&mut Fields<'_>)) {
    delimited(out, |reply| {
        reply.number(1, id.into());
        reply.message(number, &fields);
    });
}

/// A result with a list of items among its fields, which can be gone through only once: they are written first, which tells
/// their length, and what belongs before them is then moved there.
struct Around<B, A> {
    before: B,
    after: A,
}

impl<B: Fn(&mut Fields<'_>), A: Fn(&mut Fields<'_>)> Around<B, A> {
    fn reply<T>(
        &self,
        out: &mut Vec<u8>,
        id: u32,
        number: u8,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Fields<'_>, &T),
    ) {
        let start = out.len();
        for item in items {
            write(&mut Fields::to(out), &item);
        }
        let items_end = out.len();
        let result_bytes = length(&self.before) + (items_end - start) + length(&self.after);

        let head = |reply: &mut Fields<'_>| {
            reply.number(1, id.into());
            reply.head(number, result_bytes);
        };
        let mut fields = Fields::to(out);
        fields.length_prefix(length(head) + result_bytes);
        head(&mut fields);
        (self.before)(&mut fields);
        let moved = out.len() - items_end;
        out[start..].rotate_right(moved);

        (self.after)(&mut Fields::to(out));
    }
}
