//! What the backend is asked on behalf of a client, and what becomes of its answers.

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode};
use fanfare_wire::centrifuge::{Data, FilterNode};

use super::codec;
use super::commands::publish_as;
use super::replies::{error, refused, say};
use crate::api::{Payload, Position};
use crate::backend::{
    PublishAsk, Question, Refreshed, Refused, RpcAsk, SendAsk, SubscribeAsk, Subscribed,
};
use crate::core::Core;
use crate::encoding::{centrifuge_data, data_in};
use crate::membership::Subscribe;
use crate::message::Extras;
use crate::session::Ending;

pub(super) fn rpc(
    core: &mut Core,
    slot: u32,
    id: u32,
    method: &str,
    data: &[u8],
) -> Result<(), ErrorCode> {
    if !core.asked().rpc {
        return Err(ErrorCode::NOT_AVAILABLE);
    }
    let ask = RpcAsk {
        method: method.into(),
        data: Bytes::copy_from_slice(data),
    };
    core.ask(
        slot,
        |caller, answerer| Question::Rpc(caller, ask, answerer),
        move |core, slot, answer| match answer {
            Ok(data) => {
                let codec = codec(core, slot);
                let told = |data| centrifuge_data(codec, data, None);
                let data = data.as_ref().map_or(Data::Json(b""), told);
                say!(core, slot, write_rpc(id, data));
            }
            Err(answer) => refused(core, slot, id, answer),
        },
    )
}

/// A message that has no answer. Without anyone to take it, the client is told by the end of the connection.
pub(super) fn send(core: &mut Core, slot: u32, data: &[u8]) -> Result<(), Ending> {
    if !core.asked().send {
        return Err(DisconnectCode::NOT_AVAILABLE.into());
    }
    let ask = SendAsk {
        data: Bytes::copy_from_slice(data),
    };
    let asked = core.ask(
        slot,
        |caller, answerer| Question::Send(caller, ask, answerer),
        |core, slot, answer| {
            if let Err(answer) = answer
                && core.refused(slot, answer).is_some()
            {
                core.gauges.counters.messages_refused.inc();
            }
        },
    );
    asked.map_err(|_| DisconnectCode::TOO_MANY_REQUESTS.into())
}

pub(super) fn subscribe(
    core: &mut Core,
    slot: u32,
    subscribe: &Subscribe<'_>,
    data: &[u8],
) -> Result<(), ErrorCode> {
    let ask = SubscribeAsk {
        room: subscribe.room.into(),
        token: Box::default(),
        data: Bytes::copy_from_slice(data),
    };
    let wish = Wish {
        request: subscribe.request,
        room: subscribe.room.into(),
        recover: subscribe.recover,
        rejects_unrecovered: subscribe.rejects_unrecovered,
        wants_delta: subscribe.wants_delta,
        filter: subscribe.filter.cloned(),
    };
    core.ask(
        slot,
        |caller, answerer| Question::Subscribe(caller, ask, answerer),
        move |core, slot, answer| match answer {
            Ok(subscribed) => wish.come_true(core, slot, subscribed),
            Err(answer) => refused(core, slot, wish.request, answer),
        },
    )
}

/// A subscribe that the backend decides about.
struct Wish {
    request: u32,
    room: Box<str>,
    recover: Option<Position>,
    rejects_unrecovered: bool,
    wants_delta: bool,
    filter: Option<FilterNode>,
}

impl Wish {
    fn come_true(&self, core: &mut Core, slot: u32, subscribed: Subscribed) {
        let Subscribed { grant, data } = subscribed;
        let encoding = super::replies::encoding(core, slot);
        if let Some(data) = data
            && let Some(conn) = core.conns.get_mut(slot)
        {
            let data = data_in(encoding.codec, &data);
            let room_data = &mut conn.more().room_data;
            room_data.retain(|(of, _)| *of != self.room);
            room_data.push((self.room.clone(), data));
        }
        let subscribe = Subscribe {
            request: self.request,
            recover: self.recover,
            rejects_unrecovered: self.rejects_unrecovered,
            wants_delta: self.wants_delta,
            filter: self.filter.as_ref(),
            granted: Some(&grant),
            ..Subscribe::by_client(&self.room)
        };
        if let Err(code) = core.subscribe(slot, subscribe) {
            core.gauges.counters.client_errors.inc();
            error(core, slot, self.request, code);
        }
    }
}

/// Asks whether a client may publish this, and what exactly. It need not have the right otherwise.
pub(super) fn publish(
    core: &mut Core,
    slot: u32,
    id: u32,
    channel: &str,
    payload: Payload,
) -> Result<(), ErrorCode> {
    let room: Box<str> = channel.into();
    let ask = PublishAsk {
        room: room.clone(),
        data: payload.bytes.clone(),
    };
    core.ask(
        slot,
        |caller, answerer| Question::Publish(caller, ask, answerer),
        move |core, slot, answer| match answer {
            Ok(decision) => {
                let extras = Extras {
                    tags: decision.tags,
                    skip_history: decision.skip_history,
                    idempotency_key: decision.idempotency_key,
                };
                let extras = (extras != Extras::default()).then(|| Box::new(extras));
                let payload = decision.data.unwrap_or(payload);
                publish_as(core, slot, id, &room, payload, extras);
            }
            Err(answer) => refused(core, slot, id, answer),
        },
    )
}

/// Asks whether a connection whose time is up may stay.
pub(crate) fn refresh(core: &mut Core, slot: u32) {
    let Some(conn) = core.conns.get_mut(slot) else {
        return;
    };
    if std::mem::replace(&mut conn.more().is_refreshing, true) {
        return;
    }
    let asked = core.ask(slot, Question::Refresh, refreshed);
    if asked.is_err()
        && let Some(conn) = core.conns.get_mut(slot)
    {
        conn.more().is_refreshing = false;
    }
}

/// How long a connection goes on that the backend could not be asked about, in seconds, as in Centrifugo.
const UNREACHABLE_GRACE_S: u64 = 60;

fn refreshed(core: &mut Core, slot: u32, answer: Result<Refreshed, Refused>) {
    let unreachable_until = core.now.unix + UNREACHABLE_GRACE_S;
    let Some(conn) = core.conns.get_mut(slot) else {
        return;
    };
    conn.more().is_refreshing = false;
    match answer {
        Ok(Refreshed::Extended(extension)) => {
            if let Some(meta) = extension.meta {
                conn.more().meta = Some(meta);
            }
            if let Some(identity) = conn.identity.as_mut() {
                identity.extend(extension.expires_at, extension.info, extension.capabilities);
            }
        }
        Err(Refused::Unreachable) => {
            if let Some(identity) = conn.identity.as_mut() {
                identity.extend(Some(unreachable_until), None, None);
            }
        }
        Err(Refused::Disconnect { code, reason }) => {
            core.end_refused(
                slot,
                Refused::Disconnect { code, reason },
                DisconnectCode::EXPIRED,
            );
        }
        Ok(Refreshed::Expired) | Err(Refused::Error { .. }) => {
            core.disconnect(slot, DisconnectCode::EXPIRED);
        }
    }
}
