//! A crew: a thread with a ring, and the members it holds.

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use fanfare_engine::ring::{
    BufferLease, Completion, KernelRing, Ring, RingConfig, Short, Slot, Token,
};

use super::centrifuge::Centrifuge;
use super::counts::{Counts, Gauges};
use super::dialect::Dialect;
use super::goim::Goim;
use super::goim_websocket::GoimWebSocket;
use super::member::{Ending, Member, Timer};
use super::mqtt::Mqtt;
use super::native::Native;
use super::native_websocket::NativeWebSocket;
use super::nats::Nats;
use super::websocket::WebSocket;
use super::{Behaviour, Group, Language, Part, Signals, SwarmError, latencies, socket};

/// Connections that a crew makes before it looks at what came.
const CONNECT_BATCH: u32 = 64;

/// Members on their way into their rooms at a time, over all crews. The server's backlogs hold as many
/// (`net.core.somaxconn` is 4,096), and none of them waits long enough to be taken for stale: 63 crews with 512 each were
/// 32,000 handshakes at once, four seconds' worth, and on a busy machine more than the server waits for.
pub(super) const OPENING_MAX: u32 = 4_096;

/// How long a turn waits when there is nothing to do: how soon a crew notices what it is told.
const WAIT: Duration = Duration::from_millis(10);

const RECEIVE: u8 = 1;
const WRITABLE: u8 = 2;
const CLOSE: u8 = 3;

/// What a crew is to do.
pub(super) struct Plan {
    pub(super) target: SocketAddr,
    pub(super) group: Group,
    /// The number in the group of the first of the members.
    pub(super) first_member: u32,
    pub(super) members: u32,
    /// How many connections the crews before this one make.
    pub(super) first_connection: u32,
    /// How many of them may be on their way into their rooms at a time.
    pub(super) opening_max: u32,
    /// How many completions end a wait.
    pub(super) patience: u32,
    pub(super) gauges: Arc<Gauges>,
    pub(super) signals: Arc<Signals>,
}

impl Plan {
    /// Does it, on the calling thread, until told that it is over.
    pub(super) fn run(self) -> Result<Part, SwarmError> {
        match self.group.language {
            Language::Native => Crew::<Native>::new(self)?.run(),
            Language::NativeWebSocket => Crew::<NativeWebSocket>::new(self)?.run(),
            Language::CentrifugeJson => Crew::<Centrifuge>::new(self)?.run(),
            Language::Goim => Crew::<Goim>::new(self)?.run(),
            Language::GoimWebSocket => Crew::<GoimWebSocket>::new(self)?.run(),
            Language::WebSocket { .. } => Crew::<WebSocket>::new(self)?.run(),
            Language::Nats => Crew::<Nats>::new(self)?.run(),
            Language::Mqtt => Crew::<Mqtt>::new(self)?.run(),
        }
    }

    fn ring_config(&self) -> RingConfig {
        let (buffers, buffer_bytes) = match self.group.behaviour {
            Behaviour::OneByteAtATime => (4096, 1),
            Behaviour::Reads | Behaviour::NeverReads => (512, 16_384),
        };
        RingConfig {
            // One is free while a connection that has gone is being closed.
            slots: self.members + 64,
            submission_entries: 512,
            completion_entries: 8_192,
            buffers,
            buffer_bytes,
        }
    }
}

/// A range of the outbox that is for one member.
struct Piece {
    member: u32,
    start: usize,
    end: usize,
}

struct Crew<D: Dialect> {
    plan: Plan,
    ring: KernelRing,
    members: Vec<Member<D>>,
    shared: D::Shared,
    counts: Counts,
    /// Members that are neither in their room nor gone.
    opening: u32,
    /// What is to be sent, and by whom.
    out: Vec<u8>,
    pieces: Vec<Piece>,
    batch: u32,
    /// Members whose receive has ended, and is to go on.
    unarmed: Vec<u32>,
    /// When members beat next, the first to do so first: all of them wait equally long.
    beats: VecDeque<(Instant, u32)>,
    is_awake: bool,
    latency_us: Histogram<u64>,
}

impl<D: Dialect> Crew<D> {
    fn new(plan: Plan) -> Result<Self, SwarmError> {
        let ring = KernelRing::new(plan.ring_config(), Vec::new())?;
        Ok(Self {
            members: Vec::with_capacity(plan.members as usize),
            plan,
            ring,
            shared: D::Shared::default(),
            counts: Counts::default(),
            opening: 0,
            out: Vec::new(),
            pieces: Vec::new(),
            batch: 1,
            unarmed: Vec::new(),
            beats: VecDeque::new(),
            is_awake: false,
            latency_us: latencies(),
        })
    }

    fn run(mut self) -> Result<Part, SwarmError> {
        let mut completions = Vec::new();
        while !self.plan.signals.is_over.load(Ordering::Relaxed) {
            let is_connecting = self.connect()?;
            if !self.is_awake && self.plan.signals.is_awake.load(Ordering::Relaxed) {
                self.wake();
            }
            self.beat();
            self.flush();
            for member in mem::take(&mut self.unarmed) {
                self.listen(member);
            }
            let wait = if is_connecting { Duration::ZERO } else { WAIT };
            // Who is let in one after the other is waited for by all behind it.
            let patience = if self.opening > 0 {
                1
            } else {
                self.plan.patience
            };
            self.ring
                .turn_for(patience, wait, &mut completions)
                .map_err(SwarmError::Turn)?;
            for completion in completions.drain(..) {
                self.completed(completion);
            }
            self.flush();
            self.plan.gauges.write(&self.counts);
        }
        Ok(Part {
            members: self.members.into_iter().map(Member::report).collect(),
            latency_us: self.latency_us,
        })
    }

    /// Makes some of the connections that are still to be made. Returns whether it could make more at once.
    fn connect(&mut self) -> Result<bool, SwarmError> {
        for _ in 0..CONNECT_BATCH {
            let index = self.member_count();
            if index == self.plan.members || self.opening >= self.plan.opening_max {
                return Ok(false);
            }
            let target = self.plan.target;
            let slot = self
                .connect_one(index)
                .map_err(|source| SwarmError::Connect { target, source })?;
            let identity = (self.plan.group.identity)(self.plan.first_member + index);
            let start = self.out.len();
            let mut member = Member::open(slot, self.plan.group.language, &identity, &mut self.out);
            member.batch = self.batch;
            self.members.push(member);
            self.pieces.push(Piece {
                member: index,
                start,
                end: self.out.len(),
            });
            self.opening += 1;
            self.counts.connected += 1;
            self.listen(index);
        }
        Ok(true)
    }

    fn connect_one(&mut self, index: u32) -> std::io::Result<Slot> {
        let connection = self.plan.first_connection + index;
        let socket = socket::connect(
            self.plan.target,
            connection,
            self.plan.group.receive_buffer_bytes,
        )?;
        self.ring.install(socket)
    }

    fn member_count(&self) -> u32 {
        // At most `plan.members`, which is a `u32`.
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Arms the member's receive, unless it does not want to hear.
    fn listen(&mut self, index: u32) {
        let member = &mut self.members[index as usize];
        if member.in_ring.receive || member.is_asleep || member.ending.is_some() {
            return;
        }
        member.in_ring.receive = true;
        self.ring
            .receive(member.slot, Token::new(RECEIVE, 0, index));
    }

    /// Those who slept read from now on.
    fn wake(&mut self) {
        self.is_awake = true;
        for index in 0..self.member_count() {
            let member = &mut self.members[index as usize];
            // Whose receive is still being cancelled goes on when that is done.
            if mem::take(&mut member.is_asleep) && !member.in_ring.receive {
                self.counts.asleep -= u64::from(member.ending.is_none());
                self.unarmed.push(index);
            }
        }
    }

    /// Has those beat whose time has come.
    fn beat(&mut self) {
        if self.beats.is_empty() {
            return;
        }
        let now = Instant::now();
        let due = self.beats.partition_point(|&(at, _)| at <= now);
        for _ in 0..due {
            let Some((_, index)) = self.beats.pop_front() else {
                return;
            };
            let member = &mut self.members[index as usize];
            if member.ending.is_some() {
                continue;
            }
            let start = self.out.len();
            member.beat(&mut self.out);
            self.post(index, start);
            self.beats
                .push_back((now + self.plan.group.heartbeat, index));
        }
    }

    fn completed(&mut self, completion: Completion<BufferLease>) {
        let index = completion.token.index();
        match completion.token.kind() {
            RECEIVE => self.received(index, completion),
            WRITABLE => {
                self.members[index as usize].in_ring.poll = false;
                self.resend(index);
                self.close_if_free(index);
            }
            // A close that fails leaves a slot unused; there are as many as members.
            _ => {}
        }
    }

    fn received(&mut self, index: u32, completion: Completion<BufferLease>) {
        if !completion.more {
            self.members[index as usize].in_ring.receive = false;
        }
        if let Some(mut input) = completion.buffer {
            self.read(index, &mut input);
        }
        let member = &mut self.members[index as usize];
        if completion.more {
            return;
        }
        let is_asleep = member.is_asleep;
        match completion.result {
            // Ended by the kernel, for want of buffers or of its own accord; or by us.
            1.. => self.unarmed.push(index),
            ENOBUFS => {
                self.counts.starved += 1;
                self.unarmed.push(index);
            }
            ECANCELED if is_asleep => {
                self.counts.asleep += 1;
                return;
            }
            ECANCELED => self.unarmed.push(index),
            0 => self.end(index, Ending::Closed),
            error => self.end(index, Ending::Broken(-error)),
        }
        if is_asleep && self.members[index as usize].ending.is_none() {
            self.counts.asleep += 1;
        }
        self.close_if_free(index);
    }

    fn read(&mut self, index: u32, input: &mut [u8]) {
        let member = &mut self.members[index as usize];
        if member.ending.is_some() {
            return;
        }
        self.counts.bytes += input.len() as u64;
        let was_opening = member.is_opening();
        let last_number = self.plan.group.last_number.unwrap_or(u64::MAX);
        let was_settled = member.is_settled(last_number);
        let start = self.out.len();
        let (plan, number) = (&self.plan, self.plan.first_member + index);
        let timer = match &plan.group.schedule {
            Some(schedule) if schedule.records(number) => Some(Timer {
                schedule,
                member: number,
                now_ns: schedule.now_ns(),
                latency_us: &mut self.latency_us,
            }),
            _ => None,
        };
        let result = member.receive(
            &mut self.shared,
            || (plan.group.identity)(number).room,
            input,
            &mut self.out,
            &mut self.counts,
            timer,
        );
        self.counts.settled += u64::from(!was_settled && member.is_settled(last_number));
        if was_opening && !member.is_opening() {
            self.opening -= 1;
            if D::BEATS && member.is_joined() {
                let next = Instant::now() + self.plan.group.heartbeat;
                self.beats.push_back((next, index));
            }
            let sleeps = self.plan.group.behaviour == Behaviour::NeverReads && !self.is_awake;
            if sleeps && member.is_joined() {
                member.is_asleep = true;
                if member.in_ring.receive {
                    self.ring.cancel(Token::new(RECEIVE, 0, index));
                }
            }
        }
        self.post(index, start);
        if let Err(error) = result {
            self.end(index, Ending::Misunderstood(error));
        }
    }

    /// Has sent what was appended to the outbox from `start` on.
    fn post(&mut self, index: u32, start: usize) {
        let end = self.out.len();
        if start == end {
            return;
        }
        let member = &mut self.members[index as usize];
        if let Some(unsent) = &mut member.unsent {
            unsent.extend_from_slice(&self.out[start..]);
            self.out.truncate(start);
            return;
        }
        let member = index;
        if let Some(last) = self.pieces.last_mut()
            && last.member == member
        {
            last.end = end;
            return;
        }
        if self.members[index as usize].batch == self.batch {
            // One send per socket and batch: the first one may be short.
            let held = self.out.split_off(start);
            self.flush();
            if let Some(unsent) = &mut self.members[index as usize].unsent {
                unsent.extend_from_slice(&held);
                return;
            }
            self.out.extend_from_slice(&held);
            self.members[index as usize].batch = self.batch;
            self.pieces.push(Piece {
                member,
                start: 0,
                end: self.out.len(),
            });
            return;
        }
        self.members[index as usize].batch = self.batch;
        self.pieces.push(Piece { member, start, end });
    }

    /// Sends the outbox.
    fn flush(&mut self) {
        if self.pieces.is_empty() {
            return;
        }
        let mut short: Vec<Short> = Vec::new();
        let (out, members) = (&self.out, &self.members);
        self.ring.send_all(
            self.pieces.iter().map(|piece| {
                (
                    members[piece.member as usize].slot,
                    &out[piece.start..piece.end],
                )
            }),
            &mut short,
        );
        for short in short {
            let piece = &self.pieces[short.index as usize];
            let (index, taken) = (piece.member, short.taken);
            // A send that failed has its reason told by the receive, too.
            if let Ok(taken) = taken {
                let rest = self.out[piece.start + taken as usize..piece.end].to_vec();
                self.await_writable(index, rest);
            }
        }
        self.pieces.clear();
        self.out.clear();
        self.batch = self.batch.wrapping_add(1);
    }

    fn await_writable(&mut self, index: u32, rest: Vec<u8>) {
        let member = &mut self.members[index as usize];
        if member.ending.is_some() {
            return;
        }
        member.unsent = Some(Box::new(rest));
        member.in_ring.poll = true;
        self.ring
            .poll_writable(member.slot, Token::new(WRITABLE, 0, index));
    }

    /// Sends what the socket did not take before.
    fn resend(&mut self, index: u32) {
        let member = &mut self.members[index as usize];
        let Some(unsent) = member.unsent.take().filter(|_| member.ending.is_none()) else {
            return;
        };
        let mut short = Vec::new();
        let send = (member.slot, unsent.as_slice());
        self.ring.send_all(std::iter::once(send), &mut short);
        if let Some(Short {
            taken: Ok(taken), ..
        }) = short.first()
        {
            self.await_writable(index, unsent[*taken as usize..].to_vec());
        }
    }

    /// The connection has ended, or is given up.
    fn end(&mut self, index: u32, ending: Ending) {
        let member = &mut self.members[index as usize];
        if member.ending.is_some() {
            return;
        }
        self.opening -= u32::from(member.is_opening());
        let last_number = self.plan.group.last_number.unwrap_or(u64::MAX);
        self.counts.settled += u64::from(!member.is_settled(last_number));
        member.ending = Some(Box::new(ending));
        member.unsent = None;
        self.counts.ended += 1;
        if member.in_ring.receive {
            self.ring.cancel(Token::new(RECEIVE, 0, index));
        }
        if member.in_ring.poll {
            self.ring.cancel(Token::new(WRITABLE, 0, index));
        }
        self.close_if_free(index);
    }

    /// Closes a connection that has ended, once the ring holds nothing of it.
    fn close_if_free(&mut self, index: u32) {
        let member = &mut self.members[index as usize];
        let is_free = !member.in_ring.receive && !member.in_ring.poll;
        if member.ending.is_some() && is_free && !mem::replace(&mut member.is_gone, true) {
            self.ring.close(member.slot, Token::new(CLOSE, 0, index));
        }
    }
}

/// What a receive ends with when all buffers are leased, on Linux.
const ENOBUFS: i32 = -105;
/// What a cancelled operation ends with, on Linux.
const ECANCELED: i32 = -125;
