//! Which answers are due to one link, and whether they are what comes.

use thiserror::Error;

/// An answer that is not the one that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Misplaced {
    /// It answers what was not asked, or has been answered before.
    #[error("publication {0} of a connection was answered twice, or never sent")]
    Unasked(u64),
    /// It names another place in the room than the next one.
    #[error(
        "publication {number} of a connection stands at offset {offset} of its room, and {expected} is its place"
    )]
    Offset {
        /// Which publication of the link, from 0.
        number: u64,
        /// What the answer says.
        offset: u64,
        /// What it should say.
        expected: u64,
    },
}

/// The publications of one link, counted from 0. Number `n` goes to room `n % rooms`, as the `n / rooms`-th there, for
/// nobody else publishes in these rooms.
#[derive(Debug)]
pub(super) struct Ledger {
    rooms: u64,
    sent: u64,
    acknowledged: u64,
    /// By number modulo the window: whether it is on its way. At most a window's worth is.
    on_way: Vec<bool>,
    /// The offset of each room before the first publication; `None` until the first answer tells.
    bases: Vec<Option<u64>>,
}

impl Ledger {
    pub(super) fn new(rooms: usize, window: usize) -> Self {
        Self {
            rooms: rooms as u64,
            sent: 0,
            acknowledged: 0,
            on_way: vec![false; window],
            bases: vec![None; rooms],
        }
    }

    /// The number of the next publication to be sent.
    pub(super) const fn next(&self) -> u64 {
        self.sent
    }

    /// So many more may be sent: neither may the window overflow, nor a number be used whose place in it is still
    /// taken by an older one, for answers of different rooms overtake each other.
    pub(super) fn free(&self) -> usize {
        let window = self.on_way.len();
        let first = slot(self.sent, window);
        let (before, from) = self.on_way.split_at(first);
        let places = from.iter().chain(before);
        places.take_while(|is_on_way| !**is_on_way).count()
    }

    pub(super) fn sent(&mut self, count: usize) {
        for _ in 0..count {
            let window = self.on_way.len();
            self.on_way[slot(self.sent, window)] = true;
            self.sent += 1;
        }
    }

    /// An answer has come.
    pub(super) fn acknowledge(&mut self, number: u64, offset: u64) -> Result<(), Misplaced> {
        let window = self.on_way.len();
        let is_known = number < self.sent && self.sent - number <= window as u64;
        if !is_known || !std::mem::replace(&mut self.on_way[slot(number, window)], false) {
            return Err(Misplaced::Unasked(number));
        }
        self.acknowledged += 1;
        // Both are below the number of rooms, which is a length.
        let room = slot(number, self.bases.len());
        let nth = number / self.rooms + 1;
        let base = *self.bases[room].get_or_insert(offset.wrapping_sub(nth));
        if offset != base.wrapping_add(nth) {
            return Err(Misplaced::Offset {
                number,
                offset,
                expected: base.wrapping_add(nth),
            });
        }
        Ok(())
    }

    pub(super) const fn unanswered(&self) -> u64 {
        self.sent - self.acknowledged
    }

    /// Publications sent to the room with this index.
    pub(super) fn sent_to(&self, room: usize) -> u64 {
        let rounds = self.sent / self.rooms;
        rounds + u64::from((room as u64) < self.sent % self.rooms)
    }
}

/// A number's place in a ring of so many.
fn slot(number: u64, places: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a remainder of a usize is one"
    )]
    let slot = (number % places as u64) as usize;
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_taken_once_and_only_in_its_place() {
        let mut ledger = Ledger::new(2, 4);
        assert_eq!(ledger.free(), 4);
        ledger.sent(4);
        assert_eq!((ledger.free(), ledger.unanswered()), (0, 4));
        // The rooms answer independently of each other, and had different beginnings.
        assert_eq!(ledger.acknowledge(1, 11), Ok(()));
        assert_eq!(ledger.free(), 0, "number 0 holds its place");
        assert_eq!(ledger.acknowledge(1, 11), Err(Misplaced::Unasked(1)));
        assert_eq!(ledger.acknowledge(4, 1), Err(Misplaced::Unasked(4)));
        assert_eq!(ledger.acknowledge(0, 1), Ok(()));
        assert_eq!(ledger.free(), 2);
        let wrong = Misplaced::Offset {
            number: 3,
            offset: 13,
            expected: 12,
        };
        assert_eq!(ledger.acknowledge(3, 13), Err(wrong));
        ledger.sent(1);
        assert_eq!((ledger.sent_to(0), ledger.sent_to(1)), (3, 2));
        assert_eq!(ledger.acknowledge(0, 1), Err(Misplaced::Unasked(0)));
    }
}
