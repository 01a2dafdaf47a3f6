//! Everything that was published and everything that anybody saw, and whether the two agree.
//!
//! Each payload carries its own number, so whoever sees it knows which publication it is. A [`View`] is what one
//! client saw of one room from one subscription on. At the end of a run every view must be a stretch of the room's
//! one order, without holes that were not announced and without repeats, and the views of those who stayed must
//! reach to the room's last publication.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::dialect::{Position, Publication, Subscribed};

/// A room's name.
pub(crate) type Room = Rc<str>;

/// Why a run is wrong.
pub(crate) type Violation = String;

/// A payload's number.
pub(crate) type PayloadId = usize;

/// An index into the views.
pub(crate) type ViewId = usize;

/// The record of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    payloads: Vec<Payload>,
    orders: BTreeMap<Room, Order>,
    views: Vec<View>,
    pub(crate) recoveries: u64,
    pub(crate) recoveries_failed: u64,
    pub(crate) gaps: u64,
}

#[derive(Debug)]
struct Payload {
    room: Room,
    bytes: Vec<u8>,
    offset: Option<u64>,
    is_acked: bool,
    has_failed: bool,
    /// Sent without storing: it has no number in a room with history.
    is_numbered: bool,
}

/// A room's one order, as far as it is known.
#[derive(Debug, Default)]
struct Order {
    epoch: Option<u64>,
    payloads: BTreeMap<u64, PayloadId>,
}

/// What one client saw of a room in one membership.
#[derive(Debug)]
struct View {
    whose: String,
    room: Room,
    /// The offset before the first publication to be seen, if the client was told.
    start: Option<u64>,
    /// What is to be seen next, as far as offsets are told.
    next: Option<u64>,
    seen: Vec<Seen>,
    ids: BTreeSet<PayloadId>,
    /// Payloads from this number on were published after the client knew that it is a member.
    published_before: PayloadId,
    is_over: bool,
}

#[derive(Debug, Clone, Copy)]
enum Seen {
    Publication { id: PayloadId, offset: Option<u64> },
    Gap { from: u64, to: u64 },
}

impl Ledger {
    /// Makes a payload for a room: JSON that names its number and has this many bytes of padding.
    pub(crate) fn payload(&mut self, room: &Room, padding: usize) -> (PayloadId, Vec<u8>) {
        let id = self.payloads.len();
        let filler = ["a", "b", "c", "d", "e", "f", "g"][id % 7];
        let bytes = format!(r#"{{"id":{id},"pad":"{}"}}"#, filler.repeat(padding)).into_bytes();
        self.payloads.push(Payload {
            room: room.clone(),
            bytes: bytes.clone(),
            offset: None,
            is_acked: false,
            has_failed: false,
            is_numbered: true,
        });
        (id, bytes)
    }

    pub(crate) fn is_not_numbered(&mut self, id: PayloadId) {
        self.payloads[id].is_numbered = false;
    }

    /// The publisher was told that it is published, and where if its dialect says so.
    pub(crate) fn acked(
        &mut self,
        id: PayloadId,
        position: Option<Position>,
    ) -> Result<(), Violation> {
        self.payloads[id].is_acked = true;
        let Some(Position { epoch, offset }) = position.filter(|_| self.payloads[id].is_numbered)
        else {
            return Ok(());
        };
        let room = self.payloads[id].room.clone();
        self.epoch(&room, epoch)?;
        self.place(&room, offset, id)
    }

    /// The room's history has it there.
    pub(crate) fn stored(&mut self, id: PayloadId, position: Position) -> Result<(), Violation> {
        let room = self.payloads[id].room.clone();
        self.epoch(&room, position.epoch)?;
        self.place(&room, position.offset, id)
    }

    /// The publisher was told that it is not published.
    pub(crate) fn failed(&mut self, id: PayloadId) {
        self.payloads[id].has_failed = true;
    }

    /// The payload with these bytes, which must be one that was published to this room.
    pub(crate) fn recognise(&self, room: &Room, data: &[u8]) -> Result<PayloadId, Violation> {
        let text = String::from_utf8_lossy(data);
        let id = text
            .strip_prefix(r#"{"id":"#)
            .and_then(|rest| rest.split(',').next()?.parse::<PayloadId>().ok());
        let id = id
            .filter(|&id| id < self.payloads.len())
            .ok_or_else(|| format!("unknown payload in {room}: {text}"))?;
        let payload = &self.payloads[id];
        if payload.bytes != data {
            return Err(format!(
                "payload {id} in {room} was changed on the way: {text}"
            ));
        }
        if payload.room != *room {
            return Err(format!(
                "payload {id} of {} was delivered in {room}",
                payload.room
            ));
        }
        Ok(id)
    }

    /// A client has become a member. `since` is where it asked to recover from.
    pub(crate) fn joined(
        &mut self,
        whose: String,
        subscribed: &Subscribed,
        since: Option<Position>,
    ) -> Result<ViewId, Violation> {
        let room = &subscribed.room;
        if let Some(position) = subscribed.position {
            self.epoch(room, position.epoch)?;
        }
        let mut start = subscribed.position.map(|position| position.offset);
        if since.is_some() && subscribed.is_recoverable && !subscribed.was_recovering {
            return Err(format!(
                "{whose} asked to recover {room} and got no answer to that"
            ));
        }
        if subscribed.was_recovering {
            let Some(since) = since else {
                return Err(format!("{whose} recovers {room} without having asked"));
            };
            if subscribed.has_recovered {
                self.recoveries += 1;
                start = Some(since.offset);
            } else {
                self.recoveries_failed += 1;
            }
        }
        if !subscribed.has_recovered && !subscribed.publications.is_empty() {
            return Err(format!(
                "{whose} got publications of {room} without having recovered"
            ));
        }
        self.views.push(View {
            whose,
            room: room.clone(),
            start,
            next: start.map(|start| start + 1),
            seen: Vec::new(),
            ids: BTreeSet::new(),
            published_before: self.payloads.len(),
            is_over: false,
        });
        let view = self.views.len() - 1;
        for publication in &subscribed.publications {
            self.saw(view, publication)?;
        }
        let last = self.views[view].next.map(|next| next - 1);
        let end = subscribed.position.map(|position| position.offset);
        if !subscribed.publications.is_empty() && last != end {
            return Err(format!(
                "{room} was recovered up to {last:?}, its position is {end:?}"
            ));
        }
        Ok(view)
    }

    /// A member saw a publication.
    pub(crate) fn saw(&mut self, view: ViewId, publication: &Publication) -> Result<(), Violation> {
        let room = self.views[view].room.clone();
        let id = self.recognise(&room, &publication.data)?;
        let View {
            whose,
            next,
            seen,
            ids,
            ..
        } = &mut self.views[view];
        if !ids.insert(id) {
            return Err(format!("{whose} got payload {id} of {room} twice"));
        }
        if !self.payloads[id].is_numbered {
            return Ok(());
        }
        seen.push(Seen::Publication {
            id,
            offset: publication.offset,
        });
        let Some(offset) = publication.offset else {
            *next = next.map(|next| next + 1);
            return Ok(());
        };
        if next.is_some_and(|next| next != offset) {
            return Err(format!(
                "{whose} got offset {offset} of {room} instead of {next:?}"
            ));
        }
        *next = Some(offset + 1);
        self.place(&room, offset, id)
    }

    /// A member was told that it will not get these.
    pub(crate) fn announced_gap(
        &mut self,
        view: ViewId,
        from: u64,
        to: u64,
    ) -> Result<(), Violation> {
        self.gaps += 1;
        let View {
            whose,
            room,
            next,
            seen,
            ..
        } = &mut self.views[view];
        if from > to || next.is_some_and(|next| next != from) {
            return Err(format!(
                "{whose} was told of a gap {from}..={to} in {room} while it expected {next:?}"
            ));
        }
        seen.push(Seen::Gap { from, to });
        *next = Some(to + 1);
        Ok(())
    }

    /// A client is no longer a member, or no longer there.
    pub(crate) fn left(&mut self, view: ViewId) {
        self.views[view].is_over = true;
    }

    /// Where a client that leaves now could recover from.
    pub(crate) fn position(&self, view: ViewId) -> Option<Position> {
        let View { room, next, .. } = &self.views[view];
        let epoch = self.orders.get(room)?.epoch?;
        next.map(|next| Position {
            epoch,
            offset: next - 1,
        })
    }

    /// The whole run is over, and every room got a last publication that nobody was kept from seeing.
    pub(crate) fn check(&mut self) -> Result<(), Violation> {
        while self.infer()? {}
        (0..self.views.len()).try_for_each(|view| self.check_view(&self.views[view]))?;
        for (room, order) in &self.orders {
            let numbered = order
                .payloads
                .iter()
                .find(|&(_, &id)| self.payloads[id].has_failed);
            if let Some((offset, id)) = numbered {
                return Err(format!(
                    "payload {id} was refused, and published at {offset} of {room}"
                ));
            }
        }
        Ok(())
    }

    /// The newest publication of a room that is known.
    pub(crate) fn top(&self, room: &Room) -> u64 {
        self.orders
            .get(room)
            .and_then(|order| order.payloads.last_key_value())
            .map_or(0, |(&top, _)| top)
    }

    pub(crate) fn views(&self) -> usize {
        self.views.len()
    }

    fn epoch(&mut self, room: &Room, epoch: u64) -> Result<(), Violation> {
        let known = self
            .orders
            .entry(room.clone())
            .or_default()
            .epoch
            .get_or_insert(epoch);
        if *known == epoch {
            Ok(())
        } else {
            Err(format!("{room} has two epochs: {known} and {epoch}"))
        }
    }

    fn place(&mut self, room: &Room, offset: u64, id: PayloadId) -> Result<(), Violation> {
        let order = self.orders.entry(room.clone()).or_default();
        let there = *order.payloads.entry(offset).or_insert(id);
        if there != id {
            return Err(format!(
                "payloads {there} and {id} are both at offset {offset} of {room}"
            ));
        }
        let known = *self.payloads[id].offset.get_or_insert(offset);
        if known != offset {
            return Err(format!(
                "payload {id} is at offset {known} and at {offset} of {room}"
            ));
        }
        Ok(())
    }

    /// Numbers what was seen without numbers, from what was seen beside it. Returns whether that found any.
    fn infer(&mut self) -> Result<bool, Violation> {
        let mut has_found = false;
        for view in 0..self.views.len() {
            let room = self.views[view].room.clone();
            let seen = self.views[view].seen.clone();
            let start = self.views[view].start;
            let ahead = seen
                .iter()
                .scan(start.map(|start| start + 1), |next, &seen| {
                    Some(self.number(seen, next, true))
                });
            let ahead: Vec<_> = ahead.collect();
            let behind = seen
                .iter()
                .rev()
                .scan(None, |next, &seen| Some(self.number(seen, next, false)));
            let behind: Vec<_> = behind.collect();
            for (ahead, behind) in ahead.into_iter().zip(behind.into_iter().rev()) {
                if let Some((id, offset)) = ahead.or(behind)
                    && self.payloads[id].offset.is_none()
                {
                    has_found = true;
                    self.place(&room, offset, id)?;
                }
            }
        }
        Ok(has_found)
    }

    /// What a publication's number is, given what its neighbour's says it should be.
    fn number(
        &self,
        seen: Seen,
        next: &mut Option<u64>,
        is_forward: bool,
    ) -> Option<(PayloadId, u64)> {
        match seen {
            Seen::Gap { from, to } => {
                *next = if is_forward {
                    Some(to + 1)
                } else {
                    from.checked_sub(1)
                };
                None
            }
            Seen::Publication { id, offset } => {
                let offset = self.payloads[id].offset.or(offset).or(*next);
                *next = offset.and_then(|offset| {
                    if is_forward {
                        Some(offset + 1)
                    } else {
                        offset.checked_sub(1)
                    }
                });
                offset.map(|offset| (id, offset))
            }
        }
    }

    fn check_view(&self, view: &View) -> Result<(), Violation> {
        let View { whose, room, .. } = view;
        let mut next = view.start.map(|start| start + 1);
        let mut first = next;
        for &seen in &view.seen {
            match seen {
                Seen::Gap { to, .. } => next = Some(to + 1),
                Seen::Publication { id, .. } => {
                    // Without a number it is between two that nobody can tell apart from a hole.
                    let Some(offset) = self.payloads[id].offset else {
                        continue;
                    };
                    if next.is_some_and(|next| next != offset) {
                        return Err(format!(
                            "{whose} got offset {offset} of {room} (payload {id}) instead of {next:?}"
                        ));
                    }
                    first = first.or(Some(offset));
                    next = Some(offset + 1);
                }
            }
        }
        let top = self.top(room);
        if !view.is_over && next != Some(top + 1) {
            return Err(format!(
                "{whose} stayed in {room} until {top} and stopped before {next:?}"
            ));
        }
        // Whoever knew that it was a member sees everything that was published from then on.
        let since = view.published_before..self.payloads.len();
        let mut later = since.filter_map(|id| {
            (self.payloads[id].room == *room).then(|| self.payloads[id].offset)?
        });
        if let (Some(first), Some(next)) = (first, next)
            && let Some(missed) = later.find(|&offset| offset < first && first < next)
        {
            return Err(format!(
                "{whose} was a member of {room} and did not get {missed}, its first is {first}"
            ));
        }
        Ok(())
    }

    /// Publications that were acknowledged must be in the view of everyone who was there all the time.
    pub(crate) fn check_acked(&self) -> Result<(), Violation> {
        for view in self.views.iter().filter(|view| !view.is_over) {
            let has_gaps = view
                .seen
                .iter()
                .any(|seen| matches!(seen, Seen::Gap { .. }));
            for id in view.published_before..self.payloads.len() {
                let payload = &self.payloads[id];
                if payload.is_acked
                    && payload.room == view.room
                    && !has_gaps
                    && !view.ids.contains(&id)
                {
                    return Err(format!(
                        "{} stayed in {} and never got payload {id}",
                        view.whose, view.room
                    ));
                }
            }
        }
        Ok(())
    }
}
