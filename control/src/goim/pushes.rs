//! What the handlers need of the engine.

use fanfare_engine::api::{Message, Publish, Published, Reply, RoomInfo};
use fanfare_engine::{Handle, ShardSnapshot};

/// The questions that goim's HTTP API has. Every reply is called once; [`ApiError::Busy`] means that nothing was done.
pub(crate) trait Pushes: Send + Sync {
    /// To all connections of these users; answers how many were addressed.
    fn push_users(&self, users: Vec<Box<str>>, message: Message, reply: Reply<u32>);

    /// To all connections that authenticated with these goim keys; answers how many were addressed.
    fn push_keys(&self, keys: Vec<Box<str>>, message: Message, reply: Reply<u32>);

    /// To everyone.
    fn push_all(&self, message: Message, reply: Reply<u32>);

    /// To a room.
    fn publish(&self, publish: Publish, reply: Reply<Published>);

    /// How many are in each of the rooms, in their order.
    fn room_members(&self, rooms: Vec<Box<str>>, reply: Reply<Vec<u32>>);

    /// The rooms that have members, with names that match a pattern in which `*` stands for anything.
    fn rooms(&self, pattern: Option<&str>, reply: Reply<Vec<RoomInfo>>);

    /// The counters of each shard.
    fn counters(&self) -> Vec<ShardSnapshot>;
}

impl Pushes for Handle {
    fn push_users(&self, users: Vec<Box<str>>, message: Message, reply: Reply<u32>) {
        Self::push_users(self, users, message, reply);
    }

    fn push_keys(&self, keys: Vec<Box<str>>, message: Message, reply: Reply<u32>) {
        Self::push_keys(self, keys, message, reply);
    }

    fn push_all(&self, message: Message, reply: Reply<u32>) {
        Self::push_all(self, message, reply);
    }

    fn publish(&self, publish: Publish, reply: Reply<Published>) {
        Self::publish(self, publish, reply);
    }

    fn room_members(&self, rooms: Vec<Box<str>>, reply: Reply<Vec<u32>>) {
        Self::room_members(self, rooms, reply);
    }

    fn rooms(&self, pattern: Option<&str>, reply: Reply<Vec<RoomInfo>>) {
        Self::rooms(self, pattern, reply);
    }

    fn counters(&self) -> Vec<ShardSnapshot> {
        Self::counters(self)
    }
}
