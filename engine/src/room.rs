//! A room as the shards of its members see it: the lanes, and where its home is.

use std::sync::Arc;

use fanfare_wire::centrifuge::FilterNode;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::config::RoomOptions;
use crate::encoding::Encoding;
use crate::home::Home;
use crate::ids::ShardId;
use crate::lane::Lane;
use crate::slab::{Key, Slab};

/// Different filters that members of a room on one shard may have: each is a lane of its own, and looked at for every
/// publication.
pub(crate) const FILTERS_MAX: usize = 64;

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
    /// One per encoding in use here; few rooms have more than one.
    lanes: SmallVec<[(Encoding, Box<Lane>); 1]>,
    /// The filters of members, by number less one, and how many memberships have each.
    filters: Vec<Option<(FilterNode, u32)>>,
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
            lanes: SmallVec::new(),
            filters: Vec::new(),
            joins_pending: 0,
        }
    }

    pub(crate) fn lane(&self, encoding: Encoding) -> Option<&Lane> {
        let (_, lane) = self.lanes.iter().find(|(of, _)| *of == encoding)?;
        Some(lane)
    }

    pub(crate) fn lane_mut(&mut self, encoding: Encoding) -> Option<&mut Lane> {
        let (_, lane) = self.lanes.iter_mut().find(|(of, _)| *of == encoding)?;
        Some(lane)
    }

    /// The lane, made if this is its first member: what was published up to `top` is behind it.
    pub(crate) fn lane_or_new(&mut self, encoding: Encoding, top: u64) -> &mut Lane {
        let at = self.lanes.iter().position(|(of, _)| *of == encoding);
        let at = at.unwrap_or_else(|| {
            let lane = Lane::new(top, self.options.lane_bytes_max);
            self.lanes.push((encoding, Box::new(lane)));
            self.lanes.len() - 1
        });
        &mut self.lanes[at].1
    }

    /// The number of this filter, for one membership more. `None`: there are as many as may be.
    pub(crate) fn filter(&mut self, filter: &FilterNode) -> Option<u8> {
        let known =
            |it: &Option<(FilterNode, u32)>| it.as_ref().is_some_and(|(of, _)| of == filter);
        let at = self
            .filters
            .iter()
            .position(known)
            .or_else(|| self.filters.iter().position(Option::is_none))
            .unwrap_or(self.filters.len());
        if at >= FILTERS_MAX {
            return None;
        }
        if at == self.filters.len() {
            self.filters.push(None);
        }
        let (_, users) = self.filters[at].get_or_insert_with(|| (filter.clone(), 0));
        *users += 1;
        u8::try_from(at + 1).ok()
    }

    /// There are lanes that not everything goes to.
    pub(crate) fn has_filters(&self) -> bool {
        !self.filters.is_empty()
    }

    pub(crate) fn filter_at(&self, number: u8) -> Option<&FilterNode> {
        let at = usize::from(number).checked_sub(1)?;
        self.filters.get(at)?.as_ref().map(|(filter, _)| filter)
    }

    /// One membership has the filter less.
    pub(crate) fn drop_filter(&mut self, number: u8) {
        let Some(at) = usize::from(number).checked_sub(1) else {
            return;
        };
        if let Some(Some((_, users))) = self.filters.get_mut(at) {
            *users -= 1;
            if *users == 0 {
                self.filters[at] = None;
            }
        }
    }

    /// The lanes that a frame of this encoding goes to: that of those without a filter, and those of others.
    pub(crate) fn lanes_of(&self, encoding: Encoding) -> impl Iterator<Item = Encoding> + use<> {
        let of: SmallVec<[Encoding; 4]> = self
            .lanes
            .iter()
            .map(|(of, _)| *of)
            .filter(|of| of.unfiltered() == encoding)
            .collect();
        of.into_iter()
    }

    /// Drops the lane if nobody reads it any more. Returns whether the whole room has become unused.
    pub(crate) fn drop_unused(&mut self, encoding: Encoding) -> bool {
        self.lanes
            .retain(|(of, lane)| *of != encoding || !lane.is_empty());
        self.is_unused()
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.joins_pending == 0 && self.lanes.is_empty()
    }

    /// The encodings in use here, and how many members have each.
    pub(crate) fn members(&self) -> impl Iterator<Item = (Encoding, u32)> {
        self.lanes.iter().map(|(of, lane)| (*of, lane.len()))
    }

    #[cfg(feature = "sim")]
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().map(|(_, lane)| &**lane)
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
