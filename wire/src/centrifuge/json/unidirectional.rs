//! What unidirectional transports carry: one connect up, and from then on only pushes down.
//!
//! Source: the transports `uni_sse`, `uni_http_stream` and `uni_websocket` of Centrifugo v6, which are JSON only. A push is
//! what [`super::write_publication_push`] and its like put into a reply, without the reply; the answer to connect is a push
//! too, and a connect that fails ends the connection. Clients answer no pings.
//!
//! The connect is in the body of the request (HTTP stream, SSE by `POST`), in its parameter
//! [`CONNECT_PARAMETER`](crate::centrifuge::CONNECT_PARAMETER) (SSE and WebSocket), or the first message (WebSocket). SSE
//! without the parameter is a [`Connect::default`].

use super::command;
use super::push;
use super::reply::connect_fields;
use super::text::{Fields, object};
use crate::centrifuge::codes::{DisconnectCode, UnsubscribeCode};
use crate::centrifuge::{
    ClientInfo, CommandError, Connect, ConnectResult, ConnectSubResult, Data, Publication,
    RefreshPush, SubscribePush,
};

pub use super::push::PING;

/// Reads the connect: a JSON object over any number of lines, or `null` for one with nothing.
///
/// # Errors
/// See [`CommandError`]; by HTTP the answer is 400, on a WebSocket [`CommandError::code`].
pub fn connect(json: &[u8]) -> Result<Connect<'_>, CommandError> {
    let text = std::str::from_utf8(json).map_err(|error| CommandError::Malformed {
        column: error.valid_up_to(),
    })?;
    command::connect(text)
}

/// Appends that the client is let in, with the subscriptions that the server made.
pub fn write_connect_push<'s>(
    out: &mut Vec<u8>,
    result: &ConnectResult<'_>,
    subs: impl IntoIterator<Item = ConnectSubResult<'s>>,
) {
    object(out, |push| {
        push.object("connect", |fields| connect_fields(fields, result, subs));
    });
}

/// Appends a publication in a channel.
pub fn write_publication_push(out: &mut Vec<u8>, channel: &str, publication: &Publication<'_>) {
    object(out, |push| {
        push::publication_in(push, channel, publication);
    });
}

/// Appends that someone joined a channel.
pub fn write_join_push(out: &mut Vec<u8>, channel: &str, info: &ClientInfo<'_>) {
    object(out, |push| push::join(push, channel, info));
}

/// Appends that someone left a channel.
pub fn write_leave_push(out: &mut Vec<u8>, channel: &str, info: &ClientInfo<'_>) {
    object(out, |push| push::leave(push, channel, info));
}

/// Appends that the server took the client out of a channel.
pub fn write_unsubscribe_push(
    out: &mut Vec<u8>,
    channel: &str,
    code: UnsubscribeCode,
    reason: &str,
) {
    object(out, |push| push::unsubscribe(push, channel, code, reason));
}

/// Appends that the server put the client into a channel.
pub fn write_subscribe_push(out: &mut Vec<u8>, channel: &str, subscription: &SubscribePush<'_>) {
    object(out, |push| push::subscribe(push, channel, subscription));
}

/// Appends a message to this connection, outside any channel.
pub fn write_message_push(out: &mut Vec<u8>, data: Data<'_>) {
    object(out, |push| push::message(push, data));
}

/// Appends that the server is about to close the connection.
pub fn write_disconnect_push(
    out: &mut Vec<u8>,
    code: DisconnectCode,
    reason: &str,
    reconnect: bool,
) {
    object(out, |push| push::disconnect(push, code, reason, reconnect));
}

/// Appends that the connection was extended.
pub fn write_refresh_push(out: &mut Vec<u8>, refresh: &RefreshPush) {
    object(out, |push: &mut Fields<'_>| {
        push.object("refresh", |fields| {
            fields.flag("expires", refresh.expires);
            fields.number("ttl", refresh.ttl_s.into());
        });
    });
}
