//! The rooms that a shard is home of.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::api::Position;
use crate::config::RoomOptions;
use crate::home::Home;
use crate::ids::ShardId;
use crate::slab::{Key, Slab};

/// The rooms that a shard is home of.
#[derive(Debug)]
pub(crate) struct Homes {
    pub(crate) slab: Slab<Home>,
    names: HashMap<Arc<str>, Key<Home>>,
    rooms_max: u32,
    /// Where the search for rooms that are over goes on.
    collect_at: u32,
}

impl Homes {
    pub(crate) fn new(rooms_max: u32) -> Self {
        Self {
            slab: Slab::new(),
            names: HashMap::new(),
            rooms_max,
            collect_at: 0,
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Key<Home>> {
        self.names.get(name).copied()
    }

    /// The room's home, made if there is none yet. `None` when the shard has as many as it may.
    ///
    /// A room's number is its place among the shard's rooms, spread over the shards: a place is taken again only
    /// after everyone has left the room, so no member can mistake one for the other.
    pub(crate) fn find_or_insert(
        &mut self,
        name: &Arc<str>,
        options: &Arc<RoomOptions>,
        shard: ShardId,
        shards: u16,
        now_ms: u64,
    ) -> Option<Key<Home>> {
        if let Some(key) = self.find(name) {
            return Some(key);
        }
        if self.slab.len() >= self.rooms_max as usize {
            return None;
        }
        let epoch = random_epoch();
        let key = self.slab.insert(Home::new(
            Arc::clone(name),
            Arc::clone(options),
            epoch,
            now_ms,
        ));
        let number = key
            .index()
            .wrapping_mul(u32::from(shards))
            .wrapping_add(u32::from(shard.0));
        if let Some(home) = self.slab.get_mut(key) {
            home.number = number;
        }
        self.names.insert(Arc::clone(name), key);
        Some(key)
    }

    /// Looks at some rooms and forgets those that are over; all of them are looked at in turn.
    pub(crate) fn collect(&mut self, now_ms: u64, at_most: u32) {
        for _ in 0..at_most.min(self.slab.places()) {
            self.collect_at = (self.collect_at + 1) % self.slab.places().max(1);
            let Some(key) = self.slab.key_at(self.collect_at) else {
                continue;
            };
            if self
                .slab
                .get_mut(key)
                .is_some_and(|home| home.is_over(now_ms))
                && let Some(home) = self.slab.remove(key)
            {
                self.names.remove(&home.name);
            }
        }
    }
}

/// Epochs only have to differ from each other, also across restarts; 0 means "none" on the wire.
fn random_epoch() -> u64 {
    fastrand::u64(1..Position::FOREIGN_EPOCH)
}
