//! A room as the shards of its members see it: the lanes, and where its home is.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::config::RoomOptions;
use crate::encoding::Encoding;
use crate::home::Home;
use crate::ids::ShardId;
use crate::lane::Lane;
use crate::slab::{Key, Slab};

/// A room with members, or members to be, on this shard.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) name: Arc<str>,
    pub(crate) options: Arc<RoomOptions>,
    pub(crate) home_shard: ShardId,
    /// Known from the first member on.
    pub(crate) home: Option<Key<Home>>,
    /// The room's number in native frames.
    pub(crate) number: u32,
    lanes: [Option<Box<Lane>>; Encoding::COUNT],
    /// Joins on their way to the home and back.
    pub(crate) joins_pending: u32,
}

impl Room {
    pub(crate) fn new(name: Arc<str>, options: Arc<RoomOptions>, home_shard: ShardId) -> Self {
        Self {
            name,
            options,
            home_shard,
            home: None,
            number: 0,
            lanes: [const { None }; Encoding::COUNT],
            joins_pending: 0,
        }
    }

    pub(crate) fn lane(&self, encoding: Encoding) -> Option<&Lane> {
        self.lanes[encoding.ix()].as_deref()
    }

    pub(crate) fn lane_mut(&mut self, encoding: Encoding) -> Option<&mut Lane> {
        self.lanes[encoding.ix()].as_deref_mut()
    }

    /// The lane, made if this is its first member: what was published up to `top` is behind it.
    pub(crate) fn lane_or_new(&mut self, encoding: Encoding, top: u64) -> &mut Lane {
        let bytes_max = self.options.lane_bytes_max;
        self.lanes[encoding.ix()].get_or_insert_with(|| Box::new(Lane::new(top, bytes_max)))
    }

    /// Drops the lane if nobody reads it any more. Returns whether the whole room has become unused.
    pub(crate) fn drop_unused(&mut self, encoding: Encoding) -> bool {
        let lane = &mut self.lanes[encoding.ix()];
        if lane.as_ref().is_some_and(|lane| lane.is_empty()) {
            *lane = None;
        }
        self.is_unused()
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.joins_pending == 0 && self.lanes.iter().all(Option::is_none)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().filter_map(Option::as_deref)
    }
}

/// The rooms of a shard, by key and by name.
#[derive(Debug)]
pub(crate) struct Rooms {
    pub(crate) slab: Slab<Room>,
    names: HashMap<Arc<str>, Key<Room>>,
}

impl Rooms {
    pub(crate) fn new() -> Self {
        Self {
            slab: Slab::new(),
            names: HashMap::new(),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Key<Room>> {
        self.names.get(name).copied()
    }

    /// A lane of a room, if both are there.
    pub(crate) fn lane(&self, room: Key<Room>, encoding: Encoding) -> Option<&Lane> {
        self.slab.get(room)?.lane(encoding)
    }

    /// A lane of a room, if both are there.
    pub(crate) fn lane_mut(&mut self, room: Key<Room>, encoding: Encoding) -> Option<&mut Lane> {
        self.slab.get_mut(room)?.lane_mut(encoding)
    }

    pub(crate) fn insert(&mut self, room: Room) -> Key<Room> {
        let name = Arc::clone(&room.name);
        let key = self.slab.insert(room);
        self.names.insert(name, key);
        key
    }

    /// Forgets the room if it has become unused.
    pub(crate) fn remove_unused(&mut self, key: Key<Room>) {
        if !self.slab.get(key).is_some_and(Room::is_unused) {
            return;
        }
        if let Some(room) = self.slab.remove(key) {
            self.names.remove(&room.name);
        }
    }
}
