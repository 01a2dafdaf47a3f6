//! The home of a room: the one place that orders its publications and knows who is in it.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_wire::fossil;
use hashbrown::HashMap;

use crate::api::{
    ApiError, IDEMPOTENCY_SECONDS, Position, PresenceEntry, PresenceStats, Published, Reached,
    StoredPublication,
};
use crate::config::{RecoveryMode, RoomOptions};
use crate::encoding::{Counts, Encoding, RoomTag};
use crate::history::History;
use crate::idempotency::Idempotency;
use crate::ids::{ConnRef, ShardId};
use crate::message::{Join, Joined, Post};
use crate::room::Room;
use crate::slab::Key;

/// How long a room that nobody uses keeps its numbering. While it does, who comes back can tell "nothing
/// happened" from "something was lost"; after it, a new epoch says so.
const META_TTL_MS: u64 = 3_600_000;

/// How long a room without history stays after its last use.
const IDLE_TTL_MS: u64 = 1_000 * (IDEMPOTENCY_SECONDS + 1);

/// Largest publication that differences are taken of and from, in bytes. To find that two of 1 MiB have nothing in common
/// takes 12 to 30 ms, which everybody else of the shard waits for; of this size it takes one to two.
const DELTA_BYTES_MAX: usize = 64 << 10;

/// A shard with members of the room.
#[derive(Debug)]
pub(crate) struct MemberShard {
    pub(crate) shard: ShardId,
    /// The room as that shard knows it.
    pub(crate) local: Key<Room>,
    pub(crate) counts: Counts,
}

/// A room at its home shard.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) name: Arc<str>,
    pub(crate) options: Arc<RoomOptions>,
    /// Names the room in native frames; unique among the rooms that live.
    pub(crate) number: u32,
    position: Position,
    history: History,
    pub(crate) shards: Vec<MemberShard>,
    counts: Counts,
    presence: HashMap<ConnRef, Present>,
    idempotency: Option<Box<Idempotency>>,
    /// The last publication, whole, as differences are taken from it.
    previous: Option<Bytes>,
    used_at_ms: u64,
}

/// Where differences are found.
pub(crate) type Deltas = fossil::Scratch;

/// Someone in a room.
#[derive(Debug)]
struct Present {
    entry: PresenceEntry,
    /// Who leaves and comes back before the answer to its first Join joins twice before the first Leave.
    joins: u32,
}

/// A publication that has been given its place.
pub(crate) struct Ordered {
    pub(crate) published: Published,
    /// What members receive, and [`keep`](Home::keep) then takes; `None` for a repeat, which goes to nobody.
    pub(crate) publication: Option<StoredPublication>,
}

impl Home {
    pub(crate) fn new(name: Arc<str>, options: Arc<RoomOptions>, epoch: u64, now_ms: u64) -> Self {
        Self {
            name,
            options,
            number: 0,
            position: Position { epoch, offset: 0 },
            history: History::default(),
            shards: Vec::new(),
            counts: Counts::default(),
            presence: HashMap::new(),
            idempotency: None,
            previous: None,
            used_at_ms: now_ms,
        }
    }

    /// Counts a member in; what is ordered from now on is to reach it.
    pub(crate) fn join(
        &mut self,
        key: Key<Self>,
        home_shard: ShardId,
        join: &Join,
        now_ms: u64,
    ) -> Joined {
        self.used_at_ms = now_ms;
        self.history.expire(now_ms, &self.options);
        let shard = join.conn.shard();
        let at = self
            .shards
            .iter()
            .position(|member| member.shard == shard)
            .unwrap_or_else(|| {
                self.shards.push(MemberShard {
                    shard,
                    local: join.local,
                    counts: Counts::default(),
                });
                self.shards.len() - 1
            });
        let member = &mut self.shards[at];
        // The shard may have forgotten the room and met it again while its last Leave was under way.
        member.local = join.local;
        member.counts.add(join.encoding);
        self.counts.add(join.encoding);
        // Who leaves is told by what was kept of it when it came.
        if (self.options.presence || self.options.join_leave)
            && let Some(entry) = &join.presence
        {
            let joins = self.presence.get(&join.conn).map_or(0, |it| it.joins) + 1;
            let entry = entry.clone();
            self.presence.insert(join.conn, Present { entry, joins });
        }
        let recovered = join.recover.and_then(|since| self.recover(since));
        Joined {
            conn: join.conn,
            join: join.number,
            request: join.request,
            local: join.local,
            home: key,
            home_shard,
            number: self.number,
            encoding: join.encoding,
            position: self.position,
            recovered,
            was_recovering: join.recover.is_some(),
        }
    }

    /// Whether a client that left off here can be given all that it missed.
    pub(crate) fn can_recover(&mut self, since: Position, now_ms: u64) -> bool {
        self.history.expire(now_ms, &self.options);
        self.recover(since).is_some()
    }

    fn recover(&self, since: Position) -> Option<Vec<StoredPublication>> {
        match self.options.recovery_mode {
            RecoveryMode::Stream => self.history.recover(since, self.position),
            RecoveryMode::Cache => self.history.newest(since, self.position),
        }
    }

    /// Counts a member out. Returns who it was, if the room keeps presence and nothing of it is left.
    pub(crate) fn leave(
        &mut self,
        conn: ConnRef,
        encoding: Encoding,
        now_ms: u64,
    ) -> Option<PresenceEntry> {
        self.used_at_ms = now_ms;
        if let Some(at) = self
            .shards
            .iter()
            .position(|member| member.shard == conn.shard())
        {
            let member = &mut self.shards[at];
            member.counts.remove(encoding);
            self.counts.remove(encoding);
            if member.counts.is_empty() {
                self.shards.swap_remove(at);
            }
        }
        let present = self.presence.get_mut(&conn)?;
        present.joins -= 1;
        if present.joins > 0 {
            return None;
        }
        self.presence.remove(&conn).map(|present| present.entry)
    }

    /// Whether the connection is kept as someone in the room.
    pub(crate) fn is_present(&self, conn: ConnRef) -> bool {
        self.presence.contains_key(&conn)
    }

    /// Gives a publication its place.
    pub(crate) fn order(&mut self, post: Post, now_ms: u64) -> Ordered {
        self.used_at_ms = now_ms;
        let extras = post.extras.map(|extras| *extras).unwrap_or_default();
        if let Some(key) = &extras.idempotency_key
            && let Some(first) = self.idempotency.get_or_insert_default().find(key, now_ms)
        {
            let published = Published {
                position: first,
                reached: Reached::default(),
                is_duplicate: true,
            };
            return Ordered {
                published,
                publication: None,
            };
        }
        let keeps_history = self.options.history_size > 0;
        // In a room with history, what is not stored gets no number: a hole would make recovery fail.
        let is_numbered = !(keeps_history && extras.skip_history);
        if is_numbered {
            self.position.offset += 1;
        }
        let mut payload = post.payload;
        let mut json = None;
        if keeps_history || self.counts.needs_json() {
            json = payload.find_json();
        }
        let publication = StoredPublication {
            offset: if is_numbered { self.position.offset } else { 0 },
            payload,
            json,
            publisher: post.publisher,
            tags: extras.tags,
        };
        if let Some(key) = extras.idempotency_key {
            self.idempotency
                .get_or_insert_default()
                .insert(key, self.position, now_ms);
        }
        let published = Published {
            position: self.position,
            reached: self.counts.reached(),
            is_duplicate: false,
        };
        Ordered {
            published,
            publication: Some(publication),
        }
    }

    /// The difference of a publication that has been ordered from the one before it, if somebody is told differences and
    /// it is shorter.
    pub(crate) fn delta(
        &mut self,
        publication: &StoredPublication,
        scratch: &mut Deltas,
    ) -> Option<Vec<u8>> {
        if !self.options.delta {
            return None;
        }
        // What is not JSON as it is, is told in two ways, and no difference fits both.
        let payload = &publication.payload;
        let current = (payload.is_json && payload.bytes.len() <= DELTA_BYTES_MAX)
            .then(|| payload.bytes.clone());
        let previous = std::mem::replace(&mut self.previous, current.clone())?;
        if !self.counts.has_deltas() {
            return None;
        }
        let mut delta = Vec::new();
        fossil::write_delta(&mut delta, &previous, &current?, scratch).then_some(delta)
    }

    /// The room, as frames name it.
    pub(crate) fn tag(&self, goim_operation: i32) -> RoomTag<'_> {
        RoomTag {
            name: &self.name,
            number: self.number,
            is_recoverable: self.options.history_size > 0,
            goim_operation,
        }
    }

    /// Keeps a publication that has been ordered, if the room has a history and the publication a number in it.
    pub(crate) fn keep(&mut self, publication: StoredPublication, now_ms: u64) {
        if self.options.history_size > 0 && publication.offset > 0 {
            self.history.push(publication, now_ms, &self.options);
        }
    }

    pub(crate) fn presence(&self) -> Result<Vec<PresenceEntry>, ApiError> {
        if !self.options.presence {
            return Err(ApiError::NotAvailable);
        }
        let present = self.presence.values();
        let mut entries: Vec<PresenceEntry> = present.map(|it| it.entry.clone()).collect();
        // The same every time it is asked for, and in every run of a simulation.
        entries.sort_unstable_by_key(|entry| entry.client.0);
        Ok(entries)
    }

    pub(crate) fn presence_stats(&self) -> Result<PresenceStats, ApiError> {
        if !self.options.presence {
            return Err(ApiError::NotAvailable);
        }
        let present = self.presence.values();
        let mut users: Vec<&str> = present.map(|it| &*it.entry.user).collect();
        users.sort_unstable();
        users.dedup();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(PresenceStats {
            clients: count(self.presence.len()),
            users: count(users.len()),
        })
    }

    pub(crate) fn history(
        &mut self,
        limit: Option<u32>,
        since: Option<Position>,
        reverse: bool,
        now_ms: u64,
    ) -> Result<crate::api::History, ApiError> {
        if self.options.history_size == 0 {
            return Err(ApiError::NotAvailable);
        }
        self.used_at_ms = now_ms;
        self.history.expire(now_ms, &self.options);
        let publications = self.history.read(limit, since, reverse, self.position)?;
        Ok(crate::api::History {
            position: self.position,
            publications,
        })
    }

    pub(crate) fn history_remove(&mut self) -> Result<(), ApiError> {
        if self.options.history_size == 0 {
            return Err(ApiError::NotAvailable);
        }
        self.history.clear();
        Ok(())
    }

    /// Members per encoding, on all shards.
    pub(crate) const fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn members(&self) -> u32 {
        self.counts.total()
    }

    pub(crate) const fn position(&self) -> Position {
        self.position
    }

    #[cfg(feature = "sim")]
    pub(crate) const fn history_bytes(&self) -> u64 {
        self.history.bytes()
    }

    /// Nobody is in it, nothing is kept in it, and it has been so for long enough.
    pub(crate) fn is_over(&mut self, now_ms: u64) -> bool {
        if self.members() > 0 {
            return false;
        }
        self.history.expire(now_ms, &self.options);
        let keeps_history = self.options.history_size > 0 && self.position.offset > 0;
        let ttl_ms = if keeps_history {
            META_TTL_MS
        } else {
            IDLE_TTL_MS
        };
        self.history.is_empty() && now_ms.saturating_sub(self.used_at_ms) >= ttl_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Payload;
    use crate::homes::Homes;
    use crate::message::Extras;

    fn homes() -> (Homes, Arc<RoomOptions>) {
        (
            Homes::new(4),
            Arc::new(RoomOptions {
                history_size: 8,
                ..RoomOptions::default()
            }),
        )
    }

    fn post(key: Option<&str>, skip_history: bool) -> Post {
        let payload = Payload {
            bytes: Bytes::from_static(b"1"),
            is_json: true,
        };
        let extras = Extras {
            skip_history,
            idempotency_key: key.map(Into::into),
            ..Extras::default()
        };
        Post {
            payload,
            publisher: None,
            extras: Some(Box::new(extras)),
        }
    }

    #[test]
    fn a_repeat_of_an_idempotency_key_gets_the_first_answer_for_two_minutes() {
        let (mut homes, options) = homes();
        let key = homes
            .find_or_insert(&"r".into(), &options, ShardId(0), 1, 0)
            .expect("room for it");
        let home = homes.slab.get_mut(key).expect("just made");
        let first = home.order(post(Some("k"), false), 0).published;
        let second = home.order(post(Some("other"), false), 1).published;
        let repeat = home.order(post(Some("k"), false), 119_999);
        assert_eq!((first.position.offset, second.position.offset), (1, 2));
        assert!(repeat.published.is_duplicate && repeat.publication.is_none());
        assert_eq!(repeat.published.position, first.position);
        assert!(
            !home
                .order(post(Some("k"), false), 120_000)
                .published
                .is_duplicate
        );
    }

    #[test]
    fn what_is_not_stored_gets_no_number_in_a_room_with_history() {
        let (mut homes, options) = homes();
        let key = homes
            .find_or_insert(&"r".into(), &options, ShardId(0), 1, 0)
            .expect("room for it");
        let home = homes.slab.get_mut(key).expect("just made");
        let mut publish = |skip_history| {
            let Ordered {
                published,
                publication,
            } = home.order(post(None, skip_history), 0);
            let publication = publication.expect("no repeat");
            let offsets = (published.position.offset, publication.offset);
            home.keep(publication, 0);
            offsets
        };
        assert_eq!(publish(false), (1, 1));
        assert_eq!(publish(true), (1, 0));
        assert_eq!(publish(false), (2, 2));
        let kept = home.history(None, None, false, 0).expect("history");
        let kept: Vec<u64> = kept.publications.iter().map(|p| p.offset).collect();
        assert_eq!(kept, [1, 2]);
    }

    #[test]
    fn rooms_are_bounded_and_forgotten_when_they_are_over() {
        let (mut homes, options) = homes();
        for name in ["a", "b", "c", "d"] {
            assert!(
                homes
                    .find_or_insert(&name.into(), &options, ShardId(1), 2, 0)
                    .is_some()
            );
        }
        assert!(
            homes
                .find_or_insert(&"e".into(), &options, ShardId(1), 2, 0)
                .is_none(),
            "full"
        );
        assert!(
            homes
                .find_or_insert(&"a".into(), &options, ShardId(1), 2, 0)
                .is_some(),
            "known"
        );
        homes.collect(IDLE_TTL_MS - 1, 10);
        assert_eq!(homes.slab.len(), 4);
        homes.collect(IDLE_TTL_MS, 10);
        assert_eq!(homes.slab.len(), 0);
        assert!(homes.find("a").is_none());
    }
}
