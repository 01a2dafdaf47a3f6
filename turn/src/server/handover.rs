//! Data from a client of one thread for a client of another, in memory.
//!
//! A turn puts what it has for another thread into one parcel, with room before each packet for the header that the receiver
//! writes. So a packet is copied once, and the queue and the other thread's ring are touched once a turn, not for each.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use fanfare_engine::ring::HEAD_BYTES;

/// Bytes of a parcel after which another is begun: what a thread has not looked at yet is at most [`PARCELS_MAX`] of them.
const PARCEL_BYTES_MAX: usize = 256 << 10;

/// Parcels that may wait for a thread. What is sent to one that is as far behind is lost, as at a socket that is full.
pub(super) const PARCELS_MAX: usize = 32;

/// What one thread hands to another.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    /// Of which thread.
    from: u16,
    bytes: Vec<u8>,
    letters: Vec<Letter>,
}

/// A packet in a parcel.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// The relayed address that it is from.
    pub(super) from: SocketAddr,
    /// The relayed address that it is for.
    pub(super) to: SocketAddr,
    /// Where it is in the parcel; [`HEAD_BYTES`] before it may be written over.
    pub(super) range: Range<usize>,
}

/// What threads hand to each other through: for each what has come for it, and its own parcels that came back empty.
#[derive(Debug, Clone)]
pub(super) struct Desks(Arc<[Desk]>);

#[derive(Debug)]
struct Desk {
    arrived: ArrayQueue<Parcel>,
    /// Whoever has put something there has seen to it that the thread looks.
    is_told: AtomicBool,
    empty: ArrayQueue<Parcel>,
}

/// What a thread has to do with the others.
#[derive(Debug)]
pub(super) struct Handover {
    own: u16,
    desks: Desks,
    /// What this turn has for each thread.
    leaving: Vec<Parcel>,
}

/// A parcel could not be handed over: so many packets are lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full(pub(super) usize);

impl Desks {
    pub(super) fn new(threads: u16) -> Self {
        let desk = |_| Desk {
            arrived: ArrayQueue::new(PARCELS_MAX),
            is_told: AtomicBool::new(false),
            empty: ArrayQueue::new(PARCELS_MAX),
        };
        Self((0..threads).map(desk).collect())
    }
}

impl Handover {
    pub(super) fn new(own: u16, desks: Desks) -> Self {
        Self {
            own,
            leaving: desks.0.iter().map(|_| Parcel::default()).collect(),
            desks,
        }
    }

    /// Puts a packet into what this turn has for that thread.
    pub(super) fn put(&mut self, thread: u16, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        let parcel = &mut self.leaving[usize::from(thread)];
        let start = parcel.bytes.len() + HEAD_BYTES;
        parcel.bytes.resize(start, 0);
        parcel.bytes.extend_from_slice(data);
        let range = start..parcel.bytes.len();
        parcel.letters.push(Letter { from, to, range });
    }

    /// Whether so much is there for that thread that it should be handed over before the turn ends.
    pub(super) fn is_heavy(&self, thread: u16) -> bool {
        self.leaving[usize::from(thread)].bytes.len() >= PARCEL_BYTES_MAX
    }

    /// The threads that this turn has something for.
    pub(super) fn receivers(&self) -> impl Iterator<Item = u16> + use<> {
        let has = |(thread, parcel): (u16, &Parcel)| (!parcel.letters.is_empty()).then_some(thread);
        let threads: smallvec::SmallVec<[u16; 16]> =
            (0_u16..).zip(&self.leaving).filter_map(has).collect();
        threads.into_iter()
    }

    /// Hands over what there is for that thread; whether it has to be woken up for it.
    pub(super) fn hand_over(&mut self, thread: u16) -> Result<bool, Full> {
        let next = self.desks.0[usize::from(self.own)].empty.pop();
        let leaving = &mut self.leaving[usize::from(thread)];
        let parcel = std::mem::replace(leaving, next.unwrap_or_default());
        let desk = &self.desks.0[usize::from(thread)];
        let parcel = Parcel {
            from: self.own,
            ..parcel
        };
        match desk.arrived.push(parcel) {
            // If it has been told, it has not begun to look yet.
            Ok(()) => Ok(!desk.is_told.swap(true, Ordering::AcqRel)),
            Err(mut parcel) => {
                let lost = parcel.letters.len();
                parcel.clear();
                self.leaving[usize::from(thread)] = parcel;
                Err(Full(lost))
            }
        }
    }

    /// To be called before looking at what has come: what comes from now on is told anew.
    pub(super) fn look(&self) {
        self.desks.0[usize::from(self.own)]
            .is_told
            .swap(false, Ordering::AcqRel);
    }

    /// What has come from another thread.
    pub(super) fn receive(&self) -> Option<Parcel> {
        self.desks.0[usize::from(self.own)].arrived.pop()
    }

    /// Whether there is more than was received.
    pub(super) fn has_more(&self) -> bool {
        !self.desks.0[usize::from(self.own)].arrived.is_empty()
    }

    /// Gives a parcel back to whom it came from, for the next time.
    pub(super) fn give_back(&self, mut parcel: Parcel) {
        parcel.clear();
        // More than fit are more than are needed.
        let _ = self.desks.0[usize::from(parcel.from)].empty.push(parcel);
    }
}

impl Parcel {
    /// A packet of it, by its number.
    pub(super) fn letter(&self, number: usize) -> Option<Letter> {
        self.letters.get(number).cloned()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.letters.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(of: &mut Handover, thread: u16, data: &[u8]) {
        let from = "198.51.100.1:50000".parse().expect("a socket");
        let to = "198.51.100.1:50001".parse().expect("a socket");
        of.put(thread, from, to, data);
    }

    fn pair() -> [Handover; 2] {
        let desks = Desks::new(2);
        [0, 1].map(|own| Handover::new(own, desks.clone()))
    }

    #[test]
    fn packets_arrive_in_order_with_room_before_them() {
        let [mut one, mut other] = pair();
        put(&mut one, 1, b"first");
        put(&mut one, 1, b"second");
        assert_eq!(one.receivers().collect::<Vec<_>>(), [1]);
        assert_eq!(one.hand_over(1), Ok(true));
        assert_eq!(one.receivers().count(), 0);
        put(&mut one, 1, b"third");
        // It has been told, and has not looked yet.
        assert_eq!(one.hand_over(1), Ok(false));
        let mut heard = Vec::new();
        other.look();
        while let Some(parcel) = other.receive() {
            for letter in (0..).map_while(|number| parcel.letter(number)) {
                assert!(letter.range.start >= HEAD_BYTES);
                heard.push(parcel.bytes()[letter.range].to_vec());
            }
            other.give_back(parcel);
        }
        assert_eq!(heard, [&b"first"[..], b"second", b"third"]);
        // They are used again, empty.
        put(&mut one, 1, b"fourth");
        assert_eq!(one.hand_over(1), Ok(true));
        let parcel = other.receive().expect("a parcel");
        assert_eq!(
            (parcel.bytes().len(), parcel.letters.len()),
            (HEAD_BYTES + 6, 1)
        );
        put(&mut other, 0, b"back");
        assert_eq!(other.hand_over(0), Ok(true));
    }

    #[test]
    fn what_waits_is_bounded() {
        let [mut one, other] = pair();
        for _ in 0..PARCELS_MAX {
            put(&mut one, 1, b"it");
            assert!(one.hand_over(1).is_ok());
        }
        put(&mut one, 1, b"too");
        put(&mut one, 1, b"many");
        assert_eq!(one.hand_over(1), Err(Full(2)));
        assert_eq!(std::iter::from_fn(|| other.receive()).count(), PARCELS_MAX);
        let data = [0; 1_000];
        while !one.is_heavy(1) {
            put(&mut one, 1, &data);
        }
        let bytes = one.leaving[1].bytes.len();
        assert!((PARCEL_BYTES_MAX..PARCEL_BYTES_MAX + 2_000).contains(&bytes));
    }
}
