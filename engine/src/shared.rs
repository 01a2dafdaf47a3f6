//! What all shards of an engine share, and never change.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::authority::Authority;
use crate::backend::Backend;
use crate::config::{EngineConfig, Namespaces, RoomOptions};
use crate::ids::ShardId;
use crate::mesh::Inbox;

/// What all shards of an engine share, and never change.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<EngineConfig>,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) backend: Option<Arc<dyn Backend>>,
    pub(crate) inboxes: Arc<[Inbox]>,
    pub(crate) options: Arc<Options>,
    /// Picks homes; seeded at start, so that nobody outside can choose names that all live in one place.
    pub(crate) placement: FixedState,
    /// The name of this process among those that a request may be meant for.
    pub(crate) node: Arc<str>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        config: EngineConfig,
        authority: Arc<dyn Authority>,
        placement_seed: u64,
    ) -> Self {
        let inboxes = (0..config.shards)
            .map(|_| Inbox::new(config.inbox_entries))
            .collect();
        Self {
            options: Arc::new(Options::new(&config.namespaces)),
            config: Arc::new(config),
            authority,
            backend: None,
            inboxes,
            placement: FixedState::with_seed(placement_seed),
            // Not the seed itself, which nobody may know.
            node: format!("{:016x}", fastrand::u64(..)).into(),
        }
    }

    /// The home of a room or a user.
    pub(crate) fn home_of(&self, name: &str) -> ShardId {
        let shards = self.inboxes.len() as u64;
        // Multiply-shift instead of a remainder: even for any number of shards, and no division.
        let home = (u128::from(self.placement.hash_one(name)) * u128::from(shards)) >> 64;
        ShardId(u16::try_from(home).unwrap_or(0))
    }
}

/// The options of rooms, shared by the rooms that have them.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) default: Arc<RoomOptions>,
    named: Vec<(Box<str>, Arc<RoomOptions>)>,
}

impl Options {
    pub(crate) fn new(namespaces: &Namespaces) -> Self {
        Self {
            default: Arc::new(namespaces.default.clone()),
            named: namespaces
                .named
                .iter()
                .map(|(name, options)| (name.clone(), Arc::new(options.clone())))
                .collect(),
        }
    }

    /// The options of a room; `None` when its namespace is not configured.
    pub(crate) fn of(&self, room: &str) -> Option<&Arc<RoomOptions>> {
        let room = room.strip_prefix('$').unwrap_or(room);
        let Some((namespace, _)) = room.split_once(':') else {
            return Some(&self.default);
        };
        self.named
            .iter()
            .find(|(name, _)| &**name == namespace)
            .map(|(_, options)| options)
    }
}
