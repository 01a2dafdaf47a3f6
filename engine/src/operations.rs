//! Operations of goim: what its clients watch, and pushes to everyone are addressed to.

use std::sync::Arc;

use fanfare_wire::goim::OPERATIONS_MAX;

use crate::conn::{Conn, Membership};
use crate::core::Core;

impl Core {
    /// Makes the connection hear pushes to everyone with this operation. Each operation is a room of this shard, without a
    /// home.
    pub(crate) fn watch(&mut self, slot: u32, operation: i32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        let is_full = self.operations_of(conn) >= OPERATIONS_MAX;
        let Some(encoding) = conn.encoding() else {
            return;
        };
        if self.watches(slot, operation) {
            return;
        }
        let options = Arc::clone(&self.shared.options.default);
        let room = self.local_room(&operation_room(operation), options);
        let (Ok(key), false) = (room, is_full) else {
            self.gauges.counters.client_errors.inc();
            return;
        };
        let Some(room) = self.rooms.slab.get_mut(key) else {
            return;
        };
        let place = room.lane_or_new(encoding, 0).join(slot);
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.rooms.push(Membership::member(key, place));
        }
        self.gauges.counters.members.add(1);
    }

    pub(crate) fn unwatch(&mut self, slot: u32, operation: i32) {
        self.unsubscribe(slot, &operation_room(operation));
    }

    pub(crate) fn watches(&self, slot: u32, operation: i32) -> bool {
        self.rooms
            .find(&operation_room(operation))
            .is_some_and(|room| {
                let conn = self.conns.get(slot);
                conn.is_some_and(|conn| conn.membership(room).is_some())
            })
    }

    /// Memberships that are operations.
    pub(crate) fn operations_of(&self, conn: &Conn) -> usize {
        if !conn.is_of_goim() {
            return 0;
        }
        let is_operation = |membership: &&Membership| {
            let room = self.rooms.slab.get(membership.room);
            room.is_some_and(|room| room.name.starts_with(OPERATION_PREFIX))
        };
        conn.rooms.iter().filter(is_operation).count()
    }
}

/// The room of those who watch an operation: no client can name it, since names have no control characters.
pub(crate) fn operation_room(operation: i32) -> String {
    format!("{OPERATION_PREFIX}{operation}")
}

const OPERATION_PREFIX: &str = "\0op:";
