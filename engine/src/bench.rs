//! For benchmarks (feature `bench`): shards driven by hand on a ring without a kernel.
//!
//! What is measured through a [`Rig`] is what the engine adds to the kernel's part: every byte takes the way that it
//! takes in a server, from the received frame to the planned send, and there the ring accepts it at once. The clock
//! stands still and nothing is random that a cost depends on, so instruction counts repeat.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_wire::{native, ws};

use crate::authority::{Authority, Denied, Grant, SubscriptionGrant};
use crate::config::{Access, EngineConfig, Namespaces, RoomOptions};
use crate::core::Now;
use crate::counters::Gauges;
use crate::encoding::Encoding;
use crate::handle::Handle;
use crate::ids::ShardId;
use crate::message::{Delivery, Frame};
use crate::ring::{Completion, Ring, RingStats, Short, Slot, Token};
use crate::room::Room;
use crate::shard::Shard;
use crate::shared::Shared;
use crate::slab::Key;

/// The namespace whose rooms keep the last [`HISTORY_SIZE`] publications; other rooms keep none.
pub const HISTORY: &str = "history";

/// Publications that a room with history keeps.
pub const HISTORY_SIZE: u32 = 100;

/// The token of a service; everyone else connects without one.
const SERVICE_TOKEN: &str = "service";

/// Slots beyond those asked for: with fewer left, a shard accepts one by one, which the ring here does not do.
const SPARE_SLOTS: u32 = 8192;

/// Any place: which room lives where has to be the same in every run.
const PLACEMENT_SEED: u64 = 7;

const NOW: Now = Now {
    ms: 1_000,
    unix: 1_700_000_000,
};

/// Shards without threads and without a kernel.
#[derive(Debug)]
pub struct Rig {
    shards: Vec<Shard<NullRing>>,
    rings: Vec<Rc<RefCell<State>>>,
    handle: Handle,
}

/// A connection of a [`Rig`].
#[derive(Debug, Clone, Copy)]
pub struct Client {
    shard: usize,
    slot: u32,
}

/// The way in which a client talks, and so the encoding that it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Native frames over TCP.
    Native,
    /// Native frames in WebSocket messages.
    NativeWebSocket,
    /// Centrifuge JSON over WebSocket.
    Centrifuge,
}

/// One room's members of one encoding on one shard.
#[derive(Debug, Clone, Copy)]
pub struct LaneRef {
    shard: usize,
    room: Key<Room>,
    encoding: Encoding,
}

/// What has left a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Sends, each whole.
    pub sends: u64,
    /// Their bytes, added up.
    pub bytes: u64,
    /// Wake-ups of other shards.
    pub wakes: u64,
}

impl Rig {
    /// So many shards, which take up to `connections_per_shard` connections each. Everyone may join and publish.
    #[must_use]
    pub fn new(shards: u16, connections_per_shard: u32) -> Self {
        let everyone = RoomOptions {
            subscribe: Access::Everyone,
            publish: Access::Everyone,
            ..RoomOptions::default()
        };
        let with_history = RoomOptions {
            history_size: HISTORY_SIZE,
            ..everyone
        };
        let config = EngineConfig {
            shards,
            allow_anonymous: true,
            namespaces: Namespaces {
                default: everyone,
                named: vec![(HISTORY.into(), with_history)],
            },
            ..EngineConfig::default()
        };
        let slots = connections_per_shard + SPARE_SLOTS;
        let shared = Shared::new(config, Arc::new(Services), PLACEMENT_SEED);
        let gauges: Arc<[Arc<Gauges>]> = (0..shards).map(|_| Arc::default()).collect();
        let rings: Vec<_> = (0..shards).map(|_| State::new(slots)).collect();
        let shards = (0..shards).zip(&rings).map(|(id, state)| {
            let ring = NullRing {
                slots,
                state: Rc::clone(state),
            };
            let gauges = Arc::clone(&gauges[usize::from(id)]);
            Shard::new(ShardId(id), shared.clone(), ring, 1, gauges, NOW)
        });
        let shards = shards.collect();
        let handle = Handle {
            shared,
            gauges,
            started: Instant::now(),
        };
        let mut rig = Self {
            shards,
            rings,
            handle,
        };
        rig.settle();
        rig
    }

    /// A client that has been let in.
    pub fn connect(&mut self, shard: usize, dialect: Dialect) -> Client {
        self.connect_with(shard, dialect, "")
    }

    /// A service's native connection: it may publish everywhere.
    pub fn connect_service(&mut self, shard: usize) -> Client {
        self.connect_with(shard, Dialect::Native, SERVICE_TOKEN)
    }

    /// Makes so many clients members of a room.
    pub fn crowd(&mut self, shard: usize, dialect: Dialect, room: &str, members: u32) {
        let join = dialect.join(room);
        for _ in 0..members {
            let client = self.connect(shard, dialect);
            self.receive(client, &join);
            self.settle();
        }
        assert_eq!(
            self.lane(shard, room, dialect)
                .and_then(|it| self.shards[shard].core.rooms.lane(it.room, it.encoding))
                .map(crate::lane::Lane::len),
            Some(members),
            "everyone was let in"
        );
    }

    /// These bytes have come from the client; the next turn of its shard takes them.
    pub fn receive(&self, client: Client, bytes: &[u8]) {
        self.rings[client.shard]
            .borrow_mut()
            .received(client.slot, bytes);
    }

    /// Turns this shard until it has nothing left to do.
    pub fn run(&mut self, shard: usize) {
        loop {
            self.shards[shard]
                .turn(NOW, Duration::MAX)
                .expect("a ring without a kernel does not fail");
            if self.rings[shard].borrow().is_idle {
                return;
            }
        }
    }

    /// Turns all shards until none has anything left to do.
    pub fn settle(&mut self) {
        loop {
            let wakes = self.wakes();
            for shard in 0..self.shards.len() {
                self.run(shard);
            }
            if self.wakes() == wakes {
                return;
            }
        }
    }

    /// The lane of a room, if it has members of this dialect on this shard.
    #[must_use]
    pub fn lane(&self, shard: usize, room: &str, dialect: Dialect) -> Option<LaneRef> {
        let core = &self.shards[shard].core;
        let (room, encoding) = (core.rooms.find(room)?, dialect.encoding());
        core.rooms.lane(room, encoding)?;
        Some(LaneRef {
            shard,
            room,
            encoding,
        })
    }

    /// A frame for the lane, as the room's home delivers it. The next turn appends it, and sweeps.
    pub fn append(&mut self, lane: LaneRef, frame: &Bytes) {
        let core = &mut self.shards[lane.shard].core;
        let Some(top) = core.rooms.lane(lane.room, lane.encoding).map(|it| it.top()) else {
            return;
        };
        core.local.push_back(Delivery::Frame(Frame {
            room: lane.room,
            encoding: lane.encoding,
            extra: None,
            top: top + 1,
            bytes: frame.clone(),
        }));
    }

    /// Sends a frame from one shard to another, where no lane waits for it: the way alone. The wake-up, when the
    /// other sleeps, leaves with the next turn.
    pub fn hop(&mut self, from: usize, to: u16, frame: &Bytes) {
        let core = &mut self.shards[from].core;
        let frame = Frame {
            // The same key on every shard, and nobody there reads this encoding.
            room: core.everyone,
            encoding: Encoding::NATIVE_WEBSOCKET,
            top: 0,
            bytes: frame.clone(),
            extra: None,
        };
        core.mesh.deliver(ShardId(to), Delivery::Frame(frame));
    }

    /// A name for a room that has this shard for its home, in this namespace (empty: the default one).
    #[must_use]
    pub fn room_at(&self, shard: u16, namespace: &str) -> String {
        let colon = if namespace.is_empty() { "" } else { ":" };
        let mut names = (0_u32..).map(|number| format!("{namespace}{colon}room-{number}"));
        names
            .find(|name| self.handle.shared.home_of(name).0 == shard)
            .unwrap_or_default()
    }

    /// The way in for services.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What has left this shard so far.
    #[must_use]
    pub fn sent(&self, shard: usize) -> Sent {
        self.rings[shard].borrow().sent
    }

    fn wakes(&self) -> u64 {
        self.rings.iter().map(|ring| ring.borrow().sent.wakes).sum()
    }

    fn connect_with(&mut self, shard: usize, dialect: Dialect, token: &str) -> Client {
        let slot = self.rings[shard].borrow_mut().accepted();
        self.run(shard);
        let client = Client { shard, slot };
        self.receive(client, &dialect.hello(token));
        self.settle();
        client
    }
}

impl Dialect {
    /// A client's wish to join a room, as its bytes.
    #[must_use]
    pub fn join(self, room: &str) -> Vec<u8> {
        let native = native::Subscribe {
            request: 1,
            room,
            token: "",
            recover: false,
            epoch: 0,
            offset: 0,
        };
        self.write(
            |out| native::write_subscribe(out, &native),
            &format!(r#"{{"id":1,"subscribe":{{"channel":"{room}"}}}}"#),
        )
    }

    /// A client's wish to leave a room, as its bytes.
    #[must_use]
    pub fn leave(self, room: &str) -> Vec<u8> {
        let native = native::Unsubscribe { request: 1, room };
        self.write(
            |out| native::write_unsubscribe(out, &native),
            &format!(r#"{{"id":1,"unsubscribe":{{"channel":"{room}"}}}}"#),
        )
    }

    /// A client's publication of a JSON payload, as its bytes. It is answered.
    #[must_use]
    pub fn publish(self, room: &str, payload: &str) -> Vec<u8> {
        let native = native::Publish {
            request: 1,
            room,
            data: payload.as_bytes(),
        };
        self.write(
            |out| native::write_publish(out, &native),
            &format!(r#"{{"id":1,"publish":{{"channel":"{room}","data":{payload}}}}}"#),
        )
    }

    fn hello(self, token: &str) -> Vec<u8> {
        let native = native::Hello {
            token,
            client_name: "",
        };
        let hello = self.write(
            |out| native::write_hello(out, &native),
            &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#),
        );
        let path = match self {
            Self::Native => return hello,
            Self::NativeWebSocket => "/connection/native",
            Self::Centrifuge => "/connection/websocket",
        };
        let mut out = Vec::new();
        let key = ws::handshake::client_key([7; 16]);
        ws::handshake::write_client_handshake(&mut out, "fanfare", path, &key, None);
        out.extend(hello);
        out
    }

    fn write(self, native: impl FnOnce(&mut Vec<u8>), json: &str) -> Vec<u8> {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        let mut out = Vec::new();
        match self {
            Self::Native => native(&mut out),
            Self::NativeWebSocket => {
                let mut message = Vec::new();
                native(&mut message);
                ws::write_masked_frame(&mut out, ws::Opcode::Binary, &message, MASK);
            }
            Self::Centrifuge => {
                ws::write_masked_frame(&mut out, ws::Opcode::Text, json.as_bytes(), MASK);
            }
        }
        out
    }

    const fn encoding(self) -> Encoding {
        match self {
            Self::Native => Encoding::NATIVE,
            Self::NativeWebSocket => Encoding::NATIVE_WEBSOCKET,
            Self::Centrifuge => Encoding::CENTRIFUGE_JSON,
        }
    }
}

/// Takes whoever brings a token for a service.
#[derive(Debug)]
struct Services;

impl Authority for Services {
    fn connect(&self, token: &str, _: u64) -> Result<Grant, Denied> {
        if token != SERVICE_TOKEN {
            return Err(Denied::Invalid);
        }
        Ok(Grant {
            is_service: true,
            ..Grant::default()
        })
    }

    fn subscribe(&self, _: &str, _: &str, _: &str, _: u64) -> Result<SubscriptionGrant, Denied> {
        Err(Denied::Invalid)
    }
}

/// A ring without a kernel: takes every send whole, and receives what it is told to have received.
#[derive(Debug)]
struct NullRing {
    slots: u32,
    state: Rc<RefCell<State>>,
}

/// What the rig sees of a ring.
#[derive(Debug)]
struct State {
    accept: Option<Token>,
    accepted: u32,
    /// The receive that is armed on each slot.
    receives: Vec<Option<Token>>,
    completions: Vec<Completion<Vec<u8>>>,
    /// The last turn left nothing to do.
    is_idle: bool,
    sent: Sent,
}

impl State {
    fn new(slots: u32) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            accept: None,
            accepted: 0,
            receives: vec![None; slots as usize],
            completions: Vec::new(),
            is_idle: false,
            sent: Sent::default(),
        }))
    }

    /// Someone has connected. Returns the slot.
    fn accepted(&mut self) -> u32 {
        let slot = self.accepted;
        self.accepted += 1;
        assert!(
            slot + SPARE_SLOTS < u32::try_from(self.receives.len()).unwrap_or(u32::MAX),
            "more connections than the rig was made for"
        );
        self.completions.push(Completion {
            token: self.accept.expect("a shard accepts from its first turn on"),
            result: i32::try_from(slot).unwrap_or(i32::MAX),
            more: true,
            buffer: None,
        });
        slot
    }

    fn received(&mut self, slot: u32, bytes: &[u8]) {
        self.completions.push(Completion {
            token: self.receives[slot as usize].expect("the connection is open"),
            result: i32::try_from(bytes.len()).unwrap_or(i32::MAX),
            more: true,
            buffer: Some(bytes.to_vec()),
        });
    }
}

impl Ring for NullRing {
    type Buffer = Vec<u8>;

    fn slots(&self) -> u32 {
        self.slots
    }

    fn accept(&mut self, _: u32, token: Token) {
        self.state.borrow_mut().accept = Some(token);
    }

    fn receive(&mut self, slot: Slot, token: Token) {
        self.state.borrow_mut().receives[slot.0 as usize] = Some(token);
    }

    fn send_all<'d, I>(&mut self, sends: I, _: &mut Vec<Short>)
    where
        I: Iterator<Item = (Slot, &'d [u8])>,
    {
        let sent = &mut self.state.borrow_mut().sent;
        for (slot, bytes) in sends {
            // What an entry of the submission queue would hold has to be worked out.
            std::hint::black_box((slot, bytes.as_ptr()));
            sent.sends += 1;
            sent.bytes += bytes.len() as u64;
        }
    }

    fn wake(&mut self, _: u16) {
        self.state.borrow_mut().sent.wakes += 1;
    }

    fn turn(
        &mut self,
        wait: Duration,
        completions: &mut Vec<Completion<Vec<u8>>>,
    ) -> std::io::Result<()> {
        let state = &mut *self.state.borrow_mut();
        state.is_idle = !wait.is_zero() && state.completions.is_empty();
        completions.append(&mut state.completions);
        Ok(())
    }

    fn stats(&self) -> RingStats {
        RingStats::default()
    }

    // Nobody here stalls or goes, and there is always room for one more.
    fn accept_one(&mut self, _: u32, _: Token) {}
    fn poll_writable(&mut self, _: Slot, _: Token) {}
    fn shutdown(&mut self, _: Slot, _: Token) {}
    fn cancel(&mut self, _: Token) {}
    fn close(&mut self, _: Slot, _: Token) {}
}
