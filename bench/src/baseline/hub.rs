//! Rooms and their members.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use crate::outbox::{Outbox, Refused};

/// All rooms that have members.
#[derive(Debug)]
pub(crate) struct Hub {
    queue_frames_max: usize,
    rooms: RefCell<HashMap<Rc<str>, Rc<Room>>>,
}

#[derive(Debug)]
struct Room {
    name: Rc<str>,
    members: RefCell<Vec<Rc<Seat>>>,
}

/// A member's place in its room, kept so that it leaves without a search.
#[derive(Debug)]
struct Seat {
    place: Cell<usize>,
    outbox: Rc<Outbox>,
}

/// A member of a room until it is dropped.
#[derive(Debug)]
pub(crate) struct Membership {
    hub: Rc<Hub>,
    room: Rc<Room>,
    seat: Rc<Seat>,
}

impl Hub {
    pub(crate) fn new(queue_frames_max: usize) -> Rc<Self> {
        Rc::new(Self {
            queue_frames_max: queue_frames_max.max(1),
            rooms: RefCell::default(),
        })
    }

    /// The queue of a new connection.
    pub(crate) fn outbox(&self) -> Rc<Outbox> {
        Rc::new(Outbox::new(self.queue_frames_max))
    }

    pub(crate) fn join(self: &Rc<Self>, room: &str, outbox: &Rc<Outbox>) -> Membership {
        let mut rooms = self.rooms.borrow_mut();
        let room = match rooms.get(room) {
            Some(room) => Rc::clone(room),
            None => {
                let room = Rc::new(Room {
                    name: room.into(),
                    members: RefCell::default(),
                });
                rooms.insert(Rc::clone(&room.name), Rc::clone(&room));
                room
            }
        };
        let seat = Rc::new(Seat {
            place: Cell::new(room.members.borrow().len()),
            outbox: Rc::clone(outbox),
        });
        room.members.borrow_mut().push(Rc::clone(&seat));
        Membership {
            hub: Rc::clone(self),
            room,
            seat,
        }
    }

    /// Puts a frame into the queue of every member, and ends when all have it. Those with space get it at once; the
    /// others hold the publisher up, so that nothing is lost. To be called by one task at a time.
    pub(crate) async fn publish(&self, room: &str, frame: Bytes) {
        for member in self.push(room, &frame) {
            while member.push(frame.clone()) == Err(Refused::Full) {
                member.space().await;
            }
        }
    }

    /// Gives the members that have no space.
    fn push(&self, room: &str, frame: &Bytes) -> Vec<Rc<Outbox>> {
        let mut full = Vec::new();
        let rooms = self.rooms.borrow();
        let Some(room) = rooms.get(room) else {
            return full;
        };
        for seat in room.members.borrow().iter() {
            if seat.outbox.push(frame.clone()) == Err(Refused::Full) {
                full.push(Rc::clone(&seat.outbox));
            }
        }
        full
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut members = self.room.members.borrow_mut();
        let place = self.seat.place.get();
        members.swap_remove(place);
        if let Some(moved) = members.get(place) {
            moved.place.set(place);
        }
        if members.is_empty() {
            self.hub.rooms.borrow_mut().remove(&self.room.name);
        }
    }
}
