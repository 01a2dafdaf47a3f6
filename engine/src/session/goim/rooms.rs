//! The room that a client of goim is in, and how it changes to another.

use std::sync::Arc;

use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode};
use fanfare_wire::goim::{Frame, Operation};

use super::auth::ending_code;
use super::{reply, style, subscriber, write};
use crate::core::Core;
use crate::hooks::Refusal;
use crate::membership::Subscribe;
use crate::message::Joined;
use crate::session::{Ending, questions};

/// A change of room that has not been answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    request: u32,
    version: i16,
    seq: i32,
}

/// The request of the joins that auth asks for: none of them is answered.
pub(super) const AT_AUTH: u32 = 1;

/// The same for the room that it names alone, and that a change leaves.
pub(super) const ROOM_AT_AUTH: u32 = 2;

/// How a client has come into a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// The home has been asked; its answer is to come.
    Now,
    /// It was in it.
    Before,
}

/// Joins a room because the client asks.
pub(super) fn enter(
    core: &mut Core,
    slot: u32,
    request: u32,
    room: &str,
) -> Result<Entered, ErrorCode> {
    let is_trusted = subscriber(core, slot).is_some_and(|it| it.is_trusted);
    let subscribe = Subscribe {
        request,
        ..if is_trusted {
            Subscribe::by_server(room)
        } else {
            Subscribe::by_client(room)
        }
    };
    let is_asked = core
        .check_room(room)
        .is_ok_and(|(_, options)| options.backend.subscribe);
    let entered = if is_asked && !is_trusted {
        questions::join(core, slot, &subscribe, b"")
    } else {
        core.subscribe(slot, subscribe)
    };
    match entered {
        Ok(()) => Ok(Entered::Now),
        Err(ErrorCode::ALREADY_SUBSCRIBED) => Ok(Entered::Before),
        Err(error) => {
            core.gauges.counters.client_errors.inc();
            Err(error)
        }
    }
}

/// Leaves the room that the client is in for another one; an empty name is none. The answer comes when it is there, or
/// when the next change comes before that, so answers keep their order. It repeats the name however it went, as goim's does.
pub(super) fn change_room(core: &mut Core, slot: u32, frame: &Frame<'_>) -> Result<(), Ending> {
    let Ok(room) = str::from_utf8(frame.body) else {
        return Err(DisconnectCode::BAD_REQUEST.into());
    };
    let is_there = current_room(core, slot).is_some_and(|it| *it == *room);
    let before = answer_change(core, slot);
    let Some(subscriber) = subscriber(core, slot) else {
        return Ok(());
    };
    if !is_there
        && let Some(left) = subscriber.room.take()
        && !subscriber.keeps_room
    {
        core.unsubscribe(slot, &left);
    }
    if room.is_empty() || is_there && before.is_none() {
        reply(core, slot, frame, Operation::CHANGE_ROOM_REPLY, frame.body);
        return Ok(());
    }
    let Some(subscriber) = super::subscriber(core, slot) else {
        return Ok(());
    };
    let rare = subscriber.rare();
    let next = rare.last_change.wrapping_add(1).max(ROOM_AT_AUTH + 1);
    let request = before.filter(|_| is_there).map_or(next, |it| it.request);
    rare.last_change = next;
    rare.change = Some(Change {
        request,
        version: frame.version,
        seq: frame.seq,
    });
    if !is_there {
        subscriber.room = Some(room.into());
        subscriber.keeps_room = false;
        go_on(core, slot);
    }
    Ok(())
}

/// Begins the join of the change that is not answered, unless one is under way.
fn go_on(core: &mut Core, slot: u32) {
    let Some(subscriber) = subscriber(core, slot) else {
        return;
    };
    let request = subscriber.change().map(|change| change.request);
    let (Some(request), Some(room), None) =
        (request, subscriber.room.clone(), subscriber.joining())
    else {
        return;
    };
    let entered = enter(core, slot, request, &room);
    let room = name_of(core, &room);
    let Some(subscriber) = super::subscriber(core, slot) else {
        return;
    };
    match entered {
        Ok(Entered::Now) => {
            subscriber.rare().joining = Some(request);
            subscriber.room = Some(room);
        }
        Ok(Entered::Before) => {
            subscriber.keeps_room = true;
            answer_change(core, slot);
        }
        Err(_) => {
            answer_change(core, slot);
        }
    }
}

/// Answers the change that is not answered, and returns it.
fn answer_change(core: &mut Core, slot: u32) -> Option<Change> {
    let subscriber = subscriber(core, slot)?;
    let change = subscriber.rare.as_mut()?.change.take()?;
    subscriber.tidy();
    let room = subscriber.room.clone().unwrap_or_default();
    let style = style(core, slot);
    let operation = Operation::CHANGE_ROOM_REPLY;
    let body = room.as_bytes();
    write(
        core,
        slot,
        style,
        change.version,
        operation,
        change.seq,
        body,
    );
    Some(change)
}

/// The room that the client has asked for, if it is in it or on its way.
pub(super) fn current_room(core: &mut Core, slot: u32) -> Option<Arc<str>> {
    let subscriber = subscriber(core, slot)?;
    let (room, is_on_its_way) = (subscriber.room.clone()?, subscriber.change().is_some());
    let membership = core
        .rooms
        .find(&room)
        .and_then(|key| core.conns.get(slot)?.membership(key));
    (is_on_its_way || membership.is_some()).then_some(room)
}

/// The name of a room, the room's own copy where it has one on this shard.
pub(super) fn name_of(core: &Core, room: &str) -> Arc<str> {
    let known = core
        .rooms
        .find(room)
        .and_then(|key| core.rooms.slab.get(key));
    known.map_or_else(|| room.into(), |room| Arc::clone(&room.name))
}

/// A join has come to its end, one way or the other.
fn ended(core: &mut Core, slot: u32, request: u32) {
    let Some(subscriber) = subscriber(core, slot) else {
        return;
    };
    if subscriber.joining() != Some(request) {
        return;
    }
    subscriber.rare().joining = None;
    subscriber.tidy();
    let changes = |change: &Change| change.request == request;
    if subscriber.change().is_some_and(changes) {
        answer_change(core, slot);
    } else {
        go_on(core, slot);
    }
}

pub(in crate::session) fn joined(core: &mut Core, slot: u32, joined: &Joined) {
    ended(core, slot, joined.request);
}

/// A join is given up because the client has left the room before it was there.
pub(in crate::session) fn gave_up(core: &mut Core, slot: u32, request: u32) {
    ended(core, slot, request);
}

/// A room does not want the client. Who has been told at auth that all is well, and it is not, has to go.
pub(in crate::session) fn refuse(core: &mut Core, slot: u32, request: u32, refusal: &Refusal) {
    if refusal.code == ErrorCode::ALREADY_SUBSCRIBED {
        // The server has put it there in between.
        if let Some(subscriber) = subscriber(core, slot) {
            subscriber.keeps_room |= subscriber.joining() == Some(request);
        }
    } else if request <= ROOM_AT_AUTH {
        return core.disconnect(slot, ending_code(refusal.code));
    }
    ended(core, slot, request);
}
