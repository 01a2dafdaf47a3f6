//! A simulated user: connects, joins, publishes, reads or does not, leaves, comes back; and checks what it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_engine::ring::sim::{Received, SimClient, SimNet};
use fastrand::Rng;

use super::centrifuge::Centrifuge;
use super::dialect::{Command, Dialect, Position};
use super::hearing::remember;
use super::ledger::{Ledger, PayloadId, Room, ViewId, Violation};
use super::native::Native;

/// The first number of a request; the one before is connect's.
pub(crate) const FIRST_REQUEST: u32 = 2;

/// With a smaller window, even a client that keeps reading is slow.
const SMALL_WINDOW_BYTES: usize = 1_024;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Native,
    NativeWebSocket,
    Centrifuge,
}

/// What a client tends to do.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    pub(crate) speech: Speech,
    /// Now and then it stops reading for a while.
    pub(crate) stalls: bool,
    /// Now and then it hangs up.
    pub(crate) leaves: bool,
    /// It changes its mind while a request is under way.
    pub(crate) is_hasty: bool,
}

/// What a client acts in.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) net: &'a SimNet,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) shards: u16,
    pub(crate) rooms: &'a [Room],
    /// Nobody begins anything any more.
    pub(crate) is_winding_down: bool,
    /// The server may send everyone away.
    pub(crate) is_draining: bool,
    pub(crate) padding_max: usize,
    /// Users whom a service sends away, and with what code.
    pub(crate) kicked: &'a BTreeMap<String, u16>,
}

/// A user, connected or not.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) user: String,
    pub(crate) habits: Habits,
    pub(crate) rng: Rng,
    pub(crate) connection: Option<Connection>,
    /// Where it left rooms, to recover from.
    pub(crate) memory: BTreeMap<Room, Position>,
    /// Requests that were answered, in all connections.
    pub(crate) answered: u64,
}

/// A connection of a user.
pub(crate) struct Connection {
    pub(crate) end: SimClient,
    pub(crate) dialect: Box<dyn Dialect>,
    pub(crate) outgoing: Vec<u8>,
    pub(crate) incoming: Vec<u8>,
    pub(crate) shard: u16,
    pub(crate) client: Option<String>,
    pub(crate) request_next: u32,
    pub(crate) pending: BTreeMap<u32, Pending>,
    pub(crate) rooms: BTreeMap<Room, ViewId>,
    pub(crate) stalled_until: Duration,
    /// The server may find that it reads too slowly.
    pub(crate) is_slow: bool,
    /// The server has put it into a room.
    pub(crate) is_put: bool,
    pub(crate) has_left: bool,
    pub(crate) disconnected: Option<u16>,
    pub(crate) pings: u32,
    /// Nothing was left to read when it last looked.
    pub(crate) has_read_all: bool,
    /// Messages outside rooms, in order.
    pub(crate) messages: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("client", &self.client)
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

/// A request that has not been answered.
#[derive(Debug, Clone)]
pub(crate) enum Pending {
    Subscribe { room: Room, since: Option<Position> },
    Unsubscribe { room: Room },
    Publish { id: PayloadId },
    Question,
}

impl Client {
    pub(crate) fn new(user: String, habits: Habits, rng: Rng) -> Self {
        Self {
            user,
            habits,
            rng,
            connection: None,
            memory: BTreeMap::new(),
            answered: 0,
        }
    }

    /// One thing after another: send, read, and then perhaps do something new.
    pub(crate) fn step(&mut self, scene: &mut Scene<'_>) -> Result<(), Violation> {
        if self.connection.is_none() {
            if !scene.is_winding_down && self.rng.u32(0..4) == 0 {
                self.connect(scene);
            }
            return Ok(());
        }
        self.send();
        self.read(scene)?;
        if !scene.is_winding_down && self.is_open() && self.rng.u32(0..3) == 0 {
            self.act(scene);
            self.send();
        }
        Ok(())
    }

    /// Welcomed, and not told to go.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            connection.client.is_some() && !connection.has_left && connection.disconnected.is_none()
        })
    }

    /// The number of its connection among all of the run.
    pub(crate) fn socket(&self) -> Option<u32> {
        self.connection
            .as_ref()
            .map(|connection| connection.end.socket())
    }

    /// Reads from now on.
    pub(crate) fn stop_stalling(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.stalled_until = Duration::ZERO;
        }
    }

    /// Requests that were sent and not answered, on a connection that still stands.
    pub(crate) fn unanswered(&self) -> Vec<String> {
        let connection = self
            .connection
            .as_ref()
            .filter(|connection| !connection.has_left);
        connection
            .iter()
            .flat_map(|connection| &connection.pending)
            .map(|pending| format!("{pending:?}"))
            .collect()
    }

    /// Everything was sent, and everything read that came. Who was never welcomed is not waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| {
            connection.client.is_none()
                || (connection.outgoing.is_empty() && connection.has_read_all)
        })
    }

    /// The name of its connection, if it is a member of the room.
    pub(crate) fn member_name(&self, room: &Room) -> Option<&str> {
        let connection = self
            .connection
            .as_ref()
            .filter(|connection| connection.rooms.contains_key(room))?;
        connection.client.as_deref()
    }

    /// The shard at whose door it stands.
    pub(crate) fn waits_at(&self) -> Option<u16> {
        let connection = self.connection.as_ref()?;
        connection.client.is_none().then_some(connection.shard)
    }

    pub(crate) fn hang_up(&mut self, ledger: &mut Ledger) {
        if let Some(connection) = &mut self.connection {
            connection.end.close();
        }
        self.gone(ledger);
    }

    fn connect(&mut self, scene: &Scene<'_>) {
        let shard = self.rng.u16(0..scene.shards);
        let Ok(end) = scene.net.connect(shard, 0) else {
            return;
        };
        let seed = self.rng.u64(..);
        let mut dialect: Box<dyn Dialect> = match self.habits.speech {
            Speech::Native => Box::new(Native::over_tcp()),
            Speech::NativeWebSocket => Box::new(Native::over_websocket(seed)),
            Speech::Centrifuge => Box::new(Centrifuge::new(seed)),
        };
        let is_slow = end.window() < SMALL_WINDOW_BYTES;
        let mut outgoing = Vec::new();
        dialect.open(&mut outgoing);
        // Without waiting for the answer to the handshake, which the server must bear.
        dialect.write(&mut outgoing, &Command::Connect { token: &self.user });
        scene.net.note(|| {
            format!(
                "{} connects to shard {shard} as socket {}",
                self.user,
                end.socket()
            )
        });
        self.connection = Some(Connection {
            end,
            dialect,
            outgoing,
            incoming: Vec::new(),
            shard,
            client: None,
            request_next: FIRST_REQUEST,
            pending: BTreeMap::new(),
            rooms: BTreeMap::new(),
            stalled_until: Duration::ZERO,
            is_slow,
            is_put: false,
            has_left: false,
            disconnected: None,
            pings: 0,
            has_read_all: false,
            messages: Vec::new(),
        });
    }

    fn send(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if connection.outgoing.is_empty() || connection.has_left {
            return;
        }
        // Sometimes a piece that ends anywhere.
        let at_most = if self.rng.bool() {
            usize::MAX
        } else {
            self.rng.usize(1..200)
        };
        let offered = connection.outgoing.len().min(at_most);
        match connection.end.send(&connection.outgoing[..offered]) {
            Ok(taken) => drop(connection.outgoing.drain(..taken)),
            // What came before the reset is still to be read; reading will meet its end.
            Err(_) => connection.outgoing.clear(),
        }
    }

    fn read(&mut self, scene: &mut Scene<'_>) -> Result<(), Violation> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        if scene.net.now() < connection.stalled_until {
            return Ok(());
        }
        let bytes_max = match self.rng.u32(0..4) {
            0 => self.rng.usize(1..64),
            1 => self.rng.usize(64..2_000),
            _ => 65_536,
        };
        match connection.end.receive(bytes_max) {
            Received::Nothing => {
                connection.has_read_all = true;
                Ok(())
            }
            Received::Data(bytes) => {
                connection.has_read_all = false;
                connection.incoming.extend(bytes);
                let mut events = Vec::new();
                let read = connection
                    .dialect
                    .read(&mut connection.incoming, &mut events);
                for event in events {
                    self.hear(event, scene)?;
                }
                read.map_err(|error| format!("{} was told nonsense: {error}", self.user))
            }
            Received::End => self.ended(false, scene),
            Received::Reset => self.ended(true, scene),
        }
    }

    fn ended(&mut self, by_reset: bool, scene: &mut Scene<'_>) -> Result<(), Violation> {
        use fanfare_engine::ring::sim::Fault;
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        let was_broken =
            scene.net.fault_count(Fault::SendError) + scene.net.fault_count(Fault::AcceptError) > 0;
        let is_excused = connection.disconnected.is_some()
            || connection.has_left
            || connection.is_slow
            || connection.client.is_none()
            || scene.is_draining
            || (by_reset && was_broken);
        if !is_excused {
            let how = if by_reset {
                "a reset"
            } else {
                "the end of the stream"
            };
            return Err(format!("{} got {how} without a word", self.user));
        }
        self.gone(scene.ledger);
        Ok(())
    }

    fn gone(&mut self, ledger: &mut Ledger) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        for (room, view) in connection.rooms {
            remember(&mut self.memory, ledger, &room, view);
        }
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        let room = scene.rooms[self.rng.usize(0..scene.rooms.len())].clone();
        match self.rng.u32(0..100) {
            0..25 => self.subscribe(room),
            25..33 => self.unsubscribe(&room),
            33..80 => self.publish(&room, scene),
            80..86 => self.ask(&room),
            86..92 if self.habits.stalls => self.stall(scene),
            92..94 if self.habits.leaves => self.leave(scene.ledger),
            94 => self.subscribe("nowhere:at-all".into()),
            _ => {}
        }
    }

    fn request(&mut self, pending: Pending) -> Option<(u32, &mut Connection)> {
        let connection = self.connection.as_mut()?;
        let request = connection.request_next;
        connection.request_next += 1;
        connection.pending.insert(request, pending);
        Some((request, connection))
    }

    fn is_waiting_for(&self, room: &Room) -> bool {
        let names = |pending: &Pending| match pending {
            Pending::Subscribe { room: of, .. } | Pending::Unsubscribe { room: of } => of == room,
            Pending::Publish { .. } | Pending::Question => false,
        };
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.pending.values().any(names))
    }

    fn subscribe(&mut self, room: Room) {
        if self.is_waiting_for(&room) {
            return;
        }
        let is_repeat = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.rooms.contains_key(&room));
        if is_repeat && self.rng.u32(0..10) > 0 {
            return;
        }
        let since = self
            .memory
            .get(&room)
            .copied()
            .filter(|_| self.rng.u32(0..4) > 0);
        let pending = Pending::Subscribe {
            room: room.clone(),
            since,
        };
        if let Some((request, connection)) = self.request(pending) {
            let command = Command::Subscribe {
                request,
                room: &room,
                recover: since,
            };
            connection.dialect.write(&mut connection.outgoing, &command);
        }
    }

    fn unsubscribe(&mut self, room: &Room) {
        let is_member = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.rooms.contains_key(room));
        let may = if self.habits.is_hasty {
            self.rng.bool() || is_member
        } else {
            is_member && !self.is_waiting_for(room)
        };
        if may
            && let Some((request, connection)) =
                self.request(Pending::Unsubscribe { room: room.clone() })
        {
            connection.dialect.write(
                &mut connection.outgoing,
                &Command::Unsubscribe { request, room },
            );
        }
    }

    fn publish(&mut self, room: &Room, scene: &mut Scene<'_>) {
        let padding = match self.rng.u32(0..10) {
            0 => self.rng.usize(0..scene.padding_max),
            _ => self.rng.usize(0..40),
        };
        for _ in 0..if self.rng.u32(0..4) == 0 {
            self.rng.u32(2..20)
        } else {
            1
        } {
            let (id, data) = scene.ledger.payload(room, padding);
            if self.habits.speech != Speech::Centrifuge && self.rng.u32(0..4) == 0 {
                if let Some(connection) = &mut self.connection {
                    let command = Command::Publish {
                        request: 0,
                        room,
                        data: &data,
                    };
                    connection.dialect.write(&mut connection.outgoing, &command);
                }
            } else if let Some((request, connection)) = self.request(Pending::Publish { id }) {
                let command = Command::Publish {
                    request,
                    room,
                    data: &data,
                };
                connection.dialect.write(&mut connection.outgoing, &command);
            }
        }
    }

    fn ask(&mut self, room: &Room) {
        let is_presence = self.rng.bool();
        if self.habits.speech != Speech::Centrifuge {
            if let Some(connection) = &mut self.connection {
                connection.pings += 1;
                connection
                    .dialect
                    .write(&mut connection.outgoing, &Command::Ping);
            }
            return;
        }
        if let Some((request, connection)) = self.request(Pending::Question) {
            let command = if is_presence {
                Command::Presence { request, room }
            } else {
                Command::History { request, room }
            };
            connection.dialect.write(&mut connection.outgoing, &command);
        }
    }

    fn stall(&mut self, scene: &Scene<'_>) {
        let stall = Duration::from_millis(self.rng.u64(1..400));
        if let Some(connection) = &mut self.connection {
            connection.stalled_until = scene.net.now() + stall;
            connection.is_slow = true;
        }
    }

    fn leave(&mut self, ledger: &mut Ledger) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        match self.rng.u32(0..3) {
            // What the server still sends is read until its end.
            0 => {
                connection.end.shutdown();
                connection.has_left = true;
                return;
            }
            1 => connection.end.close(),
            _ => connection.end.reset(),
        }
        self.gone(ledger);
    }
}
