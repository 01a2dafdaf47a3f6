//! What must hold: at any moment, when everything has calmed down, and when everyone has gone.

use fanfare_engine::harness::Audit;

use super::ledger::Violation;
use super::run::World;

/// The most that one turn says to one connection: a recovered history in JSON, and some more.
const TURN_BYTES_MAX: usize = 128 * 1024;

impl World {
    /// At any moment between turns: who has messages does not sleep, and nothing is larger than it may be.
    pub(crate) fn look(&self) -> Result<(), Violation> {
        for shard in 0..self.cluster.len() {
            let audit = self.cluster.audit(shard);
            if audit.inbox > 0 && audit.outbox == 0 && !self.is_runnable(shard) {
                return Err(format!(
                    "shard {shard} sleeps through its messages: {audit:?}"
                ));
            }
            self.check_sizes(shard, &audit)?;
        }
        Ok(())
    }

    /// When everything that was begun is done, and everyone reads.
    pub(crate) fn check(&mut self) -> Result<(), Violation> {
        self.ledger.check()?;
        self.ledger.check_acked()?;
        self.service.check_pushes(&self.ledger, &self.clients)?;
        self.service.check_presence(&self.clients)?;
        self.check_homes()?;
        self.check_nothing_waits()
    }

    /// When everyone has gone, nobody is remembered.
    pub(crate) fn check_empty(&self) -> Result<(), Violation> {
        self.check_nothing_waits()?;
        for shard in 0..self.cluster.len() {
            self.net
                .assert_idle(u16::try_from(shard).expect("there are few shards"));
            let audit = self.cluster.audit(shard);
            let counts = [
                audit.connections as usize,
                audit.memberships,
                audit.rooms_local,
                audit.users,
                audit.lane_bytes,
                audit.unsent_bytes_max,
            ];
            let has_members = audit.homes.iter().any(|&(_, members)| members > 0);
            if counts.iter().any(|&count| count > 0) || has_members {
                return Err(format!("shard {shard} remembers who has gone: {audit:?}"));
            }
        }
        Ok(())
    }

    fn check_nothing_waits(&self) -> Result<(), Violation> {
        for shard in 0..self.cluster.len() {
            let audit = self.cluster.audit(shard);
            if (audit.outbox, audit.inbox, audit.deferred, audit.starved) != (0, 0, 0, 0) {
                return Err(format!("shard {shard} holds what is to be done: {audit:?}"));
            }
            self.check_sizes(shard, &audit)?;
        }
        Ok(())
    }

    fn check_sizes(&self, shard: usize, audit: &Audit) -> Result<(), Violation> {
        // The limit is looked at after each turn, so what one turn says goes beyond it: above all what was recovered.
        let unsent_bytes_max =
            self.scenario.config.limits.direct_bytes_max as usize + TURN_BYTES_MAX;
        if audit.lanes_over_cap > 0 || audit.unsent_bytes_max > unsent_bytes_max {
            return Err(format!("shard {shard} keeps more than it may: {audit:?}"));
        }
        Ok(())
    }

    /// Homes count as many members as there are.
    fn check_homes(&self) -> Result<(), Violation> {
        for shard in 0..self.cluster.len() {
            for (room, counted) in self.cluster.audit(shard).homes {
                let room = (&*room).into();
                let members = self
                    .clients
                    .iter()
                    .filter(|client| client.member_name(&room).is_some());
                let members = members.count();
                if members != counted as usize {
                    return Err(format!(
                        "{room} has {members} members, its home counts {counted}"
                    ));
                }
            }
        }
        Ok(())
    }
}
