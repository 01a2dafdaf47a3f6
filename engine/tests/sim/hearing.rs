//! What clients make of what they are told.

use super::client::{Client, Pending, Scene};
use super::dialect::{Command, Event, Position, Subscribed};
use super::ledger::{Ledger, Room, ViewId, Violation};

use std::collections::BTreeMap;

const ALREADY_SUBSCRIBED: u16 = 105;
const UNKNOWN_ROOM: u16 = 102;
/// It was taken out of the room before it was in it.
const GAVE_UP: u16 = 100;
const TOO_MANY_REQUESTS: u16 = 111;

impl Client {
    /// Whatever is not an answer to something, or not in its place, is a violation.
    pub(crate) fn hear(&mut self, event: Event, scene: &mut Scene<'_>) -> Result<(), Violation> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let user = &self.user;
        if connection.disconnected.is_some() && !matches!(event, Event::Disconnected { .. }) {
            return Err(format!("{user} was told to go, and then {event:?}"));
        }
        if connection.client.is_none()
            && !matches!(event, Event::Connected { .. } | Event::Disconnected { .. })
        {
            return Err(format!("{user} is not welcomed yet, but hears {event:?}"));
        }
        scene.net.note(|| format!("{user} hears {event:?}"));
        match event {
            Event::Connected { client } => {
                if connection.client.replace(client).is_some() {
                    return Err(format!("{user} was welcomed twice"));
                }
            }
            Event::Subscribed(subscribed) => self.subscribed(&subscribed, scene)?,
            Event::Unsubscribed { request, room } => self.unsubscribed(request, &room, scene)?,
            Event::Publication { room, publication } => {
                let Some(&view) = connection.rooms.get(&room) else {
                    return Err(format!(
                        "{user} got a publication of {room}, of which it is no member"
                    ));
                };
                scene.ledger.saw(view, &publication)?;
            }
            Event::Gap { room, from, to } => {
                let Some(&view) = connection.rooms.get(&room) else {
                    return Err(format!(
                        "{user} got a gap in {room}, of which it is no member"
                    ));
                };
                scene.ledger.announced_gap(view, from, to)?;
            }
            Event::Published { request, position } => match self.answer(request)? {
                Pending::Publish { id } => scene.ledger.acked(id, position)?,
                other => {
                    return Err(format!(
                        "request {request} ({other:?}) was answered as a publish"
                    ));
                }
            },
            Event::Answered { request } => match self.answer(request)? {
                Pending::Question => {}
                other => {
                    return Err(format!(
                        "request {request} ({other:?}) was answered as a question"
                    ));
                }
            },
            Event::Failed { request, code } => self.failed(request, code, scene)?,
            Event::Message { data } => connection.messages.push(data),
            Event::Disconnected { code } => self.disconnected(code, scene)?,
            Event::Ping => {
                let connection = self.connection.as_mut().ok_or("just heard from it")?;
                connection
                    .dialect
                    .write(&mut connection.outgoing, &Command::Pong);
            }
            Event::Pong => {
                connection.pings = connection
                    .pings
                    .checked_sub(1)
                    .ok_or_else(|| format!("{user} got a pong too many"))?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: u32) -> Result<Pending, Violation> {
        self.answered += 1;
        let connection = self.connection.as_mut().ok_or("just heard from it")?;
        let pending = connection.pending.remove(&request);
        pending.ok_or_else(|| {
            format!(
                "{} got an answer to request {request}, which is answered or was never made",
                self.user
            )
        })
    }

    fn subscribed(
        &mut self,
        subscribed: &Subscribed,
        scene: &mut Scene<'_>,
    ) -> Result<(), Violation> {
        let mut since = None;
        if subscribed.request != 0 {
            match self.answer(subscribed.request)? {
                Pending::Subscribe {
                    room, since: asked, ..
                } if room == subscribed.room => since = asked,
                other => {
                    return Err(format!(
                        "request {} ({other:?}) was answered as a subscribe",
                        subscribed.request
                    ));
                }
            }
        }
        let connection = self.connection.as_mut().ok_or("just heard from it")?;
        connection.is_put |= subscribed.request == 0;
        let whose = format!("{} (socket {})", self.user, connection.end.socket());
        let view = scene.ledger.joined(whose, subscribed, since)?;
        if connection
            .rooms
            .insert(subscribed.room.clone(), view)
            .is_some()
        {
            return Err(format!(
                "{} became a member of {} twice",
                self.user, subscribed.room
            ));
        }
        Ok(())
    }

    fn unsubscribed(
        &mut self,
        request: u32,
        room: &Room,
        scene: &mut Scene<'_>,
    ) -> Result<(), Violation> {
        if request != 0 {
            match self.answer(request)? {
                Pending::Unsubscribe { room: asked } if asked == *room => {}
                other => {
                    return Err(format!(
                        "request {request} ({other:?}) was answered as an unsubscribe"
                    ));
                }
            }
        }
        let connection = self.connection.as_mut().ok_or("just heard from it")?;
        if let Some(view) = connection.rooms.remove(room) {
            remember(&mut self.memory, scene.ledger, room, view);
        }
        Ok(())
    }

    fn failed(&mut self, request: u32, code: u16, scene: &mut Scene<'_>) -> Result<(), Violation> {
        let pending = self.answer(request)?;
        let is_excused = match &pending {
            Pending::Subscribe { room, .. } if room.starts_with("nowhere:") => code == UNKNOWN_ROOM,
            // Meanwhile the server may have put it in, or out.
            Pending::Subscribe { .. } => code == ALREADY_SUBSCRIBED || code == GAVE_UP,
            Pending::Unsubscribe { .. } => true,
            Pending::Publish { id } => {
                scene.ledger.failed(*id);
                false
            }
            Pending::Question => true,
        };
        if is_excused || code == TOO_MANY_REQUESTS {
            return Ok(());
        }
        Err(format!("{}: {pending:?} failed with {code}", self.user))
    }

    fn disconnected(&mut self, code: u16, scene: &mut Scene<'_>) -> Result<(), Violation> {
        let connection = self.connection.as_mut().ok_or("just heard from it")?;
        let is_excused = match code {
            // Slow: a small lane overflows under anyone.
            3008 => true,
            // The same in a room that it cannot subscribe to again, because the server has put it there.
            3010 => connection.is_put,
            3001 => scene.is_draining,
            3012 => connection.is_slow,
            3502 => connection.client.is_none(),
            code => {
                scene.kicked.get(&self.user) == Some(&code) || connection.disconnected == Some(code)
            }
        };
        connection.disconnected.get_or_insert(code);
        if !is_excused {
            return Err(format!(
                "{} was disconnected with {code} for no reason",
                self.user
            ));
        }
        for (room, view) in std::mem::take(&mut connection.rooms) {
            remember(&mut self.memory, scene.ledger, &room, view);
        }
        Ok(())
    }
}

/// The client is no longer a member: it knows where to recover from.
pub(crate) fn remember(
    memory: &mut BTreeMap<Room, Position>,
    ledger: &mut Ledger,
    room: &Room,
    view: ViewId,
) {
    ledger.left(view);
    if let Some(position) = ledger.position(view) {
        memory.insert(room.clone(), position);
    }
}
