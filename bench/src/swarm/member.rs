//! One member: its connection's state, and how what it hears changes it.

use fanfare_engine::ring::Slot;
use hdrhistogram::Histogram;

use super::counts::Counts;
use super::dialect::{Dialect, Event, ProtocolError};
use super::ledger::Ledger;
use super::schedule::Schedule;
use super::{Identity, Language};
use crate::stamp;

/// How far a member has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// Connected, not yet welcomed.
    #[default]
    Opening,
    /// It has asked to join its room.
    Joining,
    /// It is in its room.
    Joined,
    /// A request of it was refused with this code.
    Refused(u16),
    /// The server took it out of its room, with this code.
    Unsubscribed(u16),
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The server closed it.
    Closed,
    /// The system ended it, with this errno.
    Broken(i32),
    /// The server sent something that is not of the protocol.
    Misunderstood(ProtocolError),
}

/// The account of a member, at the end.
#[derive(Debug, Clone)]
pub struct Report {
    /// What it heard.
    pub ledger: Ledger,
    /// How far it came.
    pub stage: Stage,
    /// The code the server gave for ending the connection; `Some(None)` when it ended it in the protocol without one.
    pub disconnected: Option<Option<u16>>,
    /// How its connection ended; `None` when it has not.
    pub ending: Option<Ending>,
}

/// Operations of the ring in flight for a member.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InRing {
    pub(super) receive: bool,
    pub(super) poll: bool,
}

/// A member of a crew.
#[derive(Debug)]
pub(super) struct Member<D> {
    pub(super) slot: Slot,
    pub(super) in_ring: InRing,
    /// It reads no more, for now.
    pub(super) is_asleep: bool,
    /// The connection is closed.
    pub(super) is_gone: bool,
    /// The batch of sends that it was last part of.
    pub(super) batch: u32,
    /// What the socket did not take.
    pub(super) unsent: Option<Box<Vec<u8>>>,
    dialect: D,
    stage: Stage,
    ledger: Ledger,
    disconnected: Option<Option<u16>>,
    pub(super) ending: Option<Box<Ending>>,
}

impl<D: Dialect> Member<D> {
    /// A connection in this slot; what it sends first is appended to `out`.
    pub(super) fn open(
        slot: Slot,
        language: Language,
        identity: &Identity,
        out: &mut Vec<u8>,
    ) -> Self {
        Self {
            slot,
            in_ring: InRing::default(),
            is_asleep: false,
            is_gone: false,
            batch: 0,
            unsent: None,
            dialect: D::open(out, language, identity),
            stage: Stage::Opening,
            ledger: Ledger::default(),
            disconnected: None,
            ending: None,
        }
    }

    /// What it says unasked, so that the server knows that it lives.
    pub(super) fn beat(&mut self, out: &mut Vec<u8>) {
        self.dialect.beat(out);
    }

    /// Takes what was received; what it answers is appended to `out`.
    pub(super) fn receive(
        &mut self,
        shared: &mut D::Shared,
        room: impl FnOnce() -> std::sync::Arc<str>,
        input: &mut [u8],
        out: &mut Vec<u8>,
        counts: &mut Counts,
        mut timer: Option<Timer<'_>>,
    ) -> Result<(), ProtocolError> {
        let Self {
            dialect,
            stage,
            ledger,
            disconnected,
            ..
        } = self;
        let before = *ledger;
        let mut is_welcome = false;
        let mut pings = 0;
        let result = dialect.feed(shared, input, out, &mut |event| match event {
            Event::Publication { offset, data } => {
                hear(ledger, offset, data);
                if let Some(timer) = &mut timer {
                    timer.heard(ledger.last - ledger.base);
                }
            }
            Event::Publications { first, count } => {
                ledger.heard_all(first, count);
                if let Some(timer) = &mut timer {
                    let base = ledger.base;
                    (first..first + count)
                        .for_each(|number| timer.heard(number.saturating_sub(base)));
                }
            }
            Event::Contradicted => ledger.corrupt(),
            Event::Ping => pings += 1,
            Event::HeartbeatAnswered => counts.pongs += 1,
            Event::Gap { from, to } => ledger.gap(from, to),
            Event::Welcomed => is_welcome = true,
            Event::Subscribed { offset } => {
                *stage = Stage::Joined;
                counts.joined += 1;
                if let Some(offset) = offset {
                    ledger.begin(offset);
                }
            }
            Event::Unsubscribed { code } => *stage = Stage::Unsubscribed(code),
            Event::Refused { code } => *stage = Stage::Refused(code),
            Event::Disconnected { code } => *disconnected = Some(code),
        });
        counts.publications += ledger.received - before.received;
        counts.skipped += ledger.skipped - before.skipped;
        counts.lost = counts.lost + ledger.lost - before.lost;
        if is_welcome {
            self.stage = Stage::Joining;
            self.dialect.subscribe(out, &room());
        }
        for _ in 0..pings {
            self.dialect.pong(out);
            counts.pongs += 1;
        }
        result
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Opening | Stage::Joining) && self.ending.is_none()
    }

    /// Whether there is nothing more to hear for it up to this number.
    pub(super) fn is_settled(&self, last_number: u64) -> bool {
        self.ledger.last >= last_number
            || self.ending.is_some()
            || matches!(self.stage, Stage::Refused(_) | Stage::Unsubscribed(_))
    }

    pub(super) fn is_joined(&self) -> bool {
        self.stage == Stage::Joined
    }

    pub(super) fn report(self) -> Report {
        Report {
            ledger: self.ledger,
            stage: self.stage,
            disconnected: self.disconnected,
            ending: self.ending.map(|ending| *ending),
        }
    }
}

/// Records how late publications reach a member.
pub(super) struct Timer<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) member: u32,
    /// When what is being read was received.
    pub(super) now_ns: u64,
    pub(super) latency_us: &'a mut Histogram<u64>,
}

impl Timer<'_> {
    fn heard(&mut self, number: u64) {
        if let Some(late_us) = self.schedule.latency_us(self.member, number, self.now_ns) {
            self.latency_us.saturating_record(late_us);
        }
    }
}

/// A publication counts by its offset, and where there is none by the number in its payload.
fn hear(ledger: &mut Ledger, offset: Option<u64>, data: &[u8]) {
    let number = match offset {
        Some(_) => stamp::number(data),
        None => stamp::number_near(data, ledger.last + 1),
    };
    match (offset, number) {
        (Some(offset), Some(number)) if offset != number => ledger.corrupt(),
        (Some(number), _) | (None, Some(number)) => ledger.heard(number),
        // Neither: all that can be told is that it came.
        (None, None) => ledger.received += 1,
    }
}
