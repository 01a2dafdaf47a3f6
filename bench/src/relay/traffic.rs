//! Packets through a relay: sent in a window or at a rate, and looked at one by one when they arrive.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use fanfare_engine::ring::{
    Datagram, KernelRing, Received, Ring, RingConfig, Slot, TRAIN_BYTES_MAX, Token,
};
use fanfare_turn::framing::channel_header;
use hdrhistogram::Histogram;

use super::client::RelayError;

/// Flow, number, and time of sending.
pub const PAYLOAD_BYTES_MIN: usize = 4 + 8 + 8;

/// How long after the last packet another one is waited for before it counts as lost.
const SILENCE_MAX: Duration = Duration::from_millis(300);

/// Longest latency that is told from longer ones.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Sends in one submission.
const SENDS_MAX: usize = 128;

/// From where to where packets go.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// The socket that sends, by its index.
    pub sender: usize,
    /// Where it sends to.
    pub to: SocketAddr,
    /// The channel that it sends on, if that is to a relay.
    pub channel: Option<u16>,
}

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// For how long.
    pub how_long: Duration,
    /// Packets that may be under way, all flows together.
    pub window: u64,
    /// Packets a second at most, all flows together; `None`: as many as the window allows.
    pub rate: Option<u64>,
    /// Packets that are handed to the kernel as one.
    pub train: usize,
}

/// What has become of them.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Sent.
    pub sent: u64,
    /// Arrived.
    pub received: u64,
    /// Arrived after one that was sent later, or again.
    pub disordered: u64,
    /// Arrived with other bytes than were sent.
    pub corrupted: u64,
    /// Time from the first to the last.
    pub elapsed: Duration,
    /// From sending to arrival, in nanoseconds.
    pub latency: Histogram<u64>,
}

/// Sockets of clients and of peers, and what goes from one to the other.
#[derive(Debug)]
pub struct Traffic {
    ring: KernelRing,
    slots: Vec<Slot>,
    silent: Vec<u32>,
    flows: Vec<Flow>,
    payload_bytes: usize,
    /// Number of the next packet, and the number after the last that arrived.
    numbers: Vec<(u64, u64)>,
    began: Instant,
    next_flow: usize,
}

impl Traffic {
    /// Packets with so many bytes of payload along these flows, between these sockets.
    ///
    /// # Errors
    /// There is no ring.
    pub fn new(
        sockets: &[UdpSocket],
        flows: Vec<Flow>,
        payload_bytes: usize,
    ) -> Result<Self, RelayError> {
        let config = RingConfig {
            slots: u32::try_from(sockets.len() + 16).unwrap_or(u32::MAX),
            submission_entries: 512,
            completion_entries: 8_192,
            buffers: 256,
            buffer_bytes: (1 << 16) + 1_088,
        };
        let other = |error: fanfare_engine::ring::RingSetupError| {
            RelayError::Io(std::io::Error::other(error.to_string()))
        };
        let mut ring = KernelRing::new(config, Vec::new()).map_err(other)?;
        let mut slots = Vec::new();
        for socket in sockets {
            slots.push(ring.install(socket.try_clone()?.into())?);
        }
        Ok(Self {
            silent: (0..u32::try_from(slots.len()).unwrap_or(u32::MAX)).collect(),
            ring,
            slots,
            numbers: vec![(0, 0); flows.len()],
            flows,
            payload_bytes: payload_bytes.max(PAYLOAD_BYTES_MIN),
            began: Instant::now(),
            next_flow: 0,
        })
    }

    /// Sends and receives.
    ///
    /// # Errors
    /// The ring has become unusable.
    pub fn run(&mut self, load: &Load) -> Result<Carried, RelayError> {
        let mut carried = Carried {
            sent: 0,
            received: 0,
            disordered: 0,
            corrupted: 0,
            elapsed: Duration::ZERO,
            latency: Histogram::new_with_max(LATENCY_NS_MAX, 3).map_err(std::io::Error::other)?,
        };
        let began = Instant::now();
        let mut heard = began;
        loop {
            let is_over = began.elapsed() >= load.how_long;
            let under_way = carried.sent - carried.received;
            if is_over && under_way == 0 {
                break;
            }
            if heard.elapsed() > SILENCE_MAX {
                // What has not come by now never will. In the middle of a run the window would stay closed otherwise.
                break;
            }
            let due = load.rate.map_or(u64::MAX, |rate| {
                let due = began.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000;
                u64::try_from(due)
                    .unwrap_or(u64::MAX)
                    .saturating_sub(carried.sent)
            });
            let room = load.window.saturating_sub(under_way).min(due);
            let is_sending = !is_over && room >= load.train as u64;
            if is_sending {
                carried.sent += self.send(room, load.train);
            }
            let wait = if is_sending {
                Duration::ZERO
            } else {
                Duration::from_micros(200)
            };
            let before = carried.received;
            self.receive(wait, &mut carried)?;
            // A rate may leave long pauses, which are nobody's fault.
            if carried.received > before || carried.sent == carried.received {
                heard = Instant::now();
            }
        }
        carried.elapsed = began.elapsed();
        Ok(carried)
    }

    /// Sends up to so many packets, in trains of equal length.
    fn send(&mut self, room: u64, train: usize) -> u64 {
        let now_ns = self.now_ns();
        let packet_bytes = self.payload_bytes + 4;
        let train = train.min(TRAIN_BYTES_MAX / packet_bytes);
        let trains = usize::try_from(room)
            .unwrap_or(usize::MAX)
            .min(SENDS_MAX * train)
            / train;
        let mut bytes = Vec::with_capacity(trains * train * packet_bytes);
        let mut sends = Vec::with_capacity(trains);
        for _ in 0..trains {
            let at = self.next_flow;
            self.next_flow = (at + 1) % self.flows.len();
            let flow = self.flows[at];
            let start = bytes.len();
            let mut length = 0;
            for _ in 0..train {
                let from = bytes.len();
                if let Some(header) = flow
                    .channel
                    .and_then(|channel| channel_header(channel, self.payload_bytes))
                {
                    bytes.extend_from_slice(&header);
                }
                let number = &mut self.numbers[at].0;
                bytes.extend_from_slice(&u32::try_from(at).unwrap_or(u32::MAX).to_le_bytes());
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes.extend_from_slice(&now_ns.to_le_bytes());
                let filled = bytes.len() + self.payload_bytes - PAYLOAD_BYTES_MIN;
                bytes.resize(filled, fill(*number));
                *number += 1;
                length = bytes.len() - from;
            }
            sends.push((flow, start..bytes.len(), length));
        }
        let count = sends.len() * train;
        let slots = &self.slots;
        let bytes = &bytes;
        let datagrams = sends.into_iter().map(|(flow, range, length)| Datagram {
            slot: slots[flow.sender],
            to: flow.to,
            pieces: std::iter::once(&bytes[range]),
            car_bytes: (train > 1).then(|| u16::try_from(length).unwrap_or(u16::MAX)),
            is_whole: false,
        });
        let mut failed = Vec::new();
        self.ring.send_datagrams(datagrams, &mut failed);
        // What could not even be sent counts as lost, for it was.
        count as u64
    }

    fn receive(&mut self, wait: Duration, carried: &mut Carried) -> Result<(), RelayError> {
        for index in std::mem::take(&mut self.silent) {
            let slot = self.slots[index as usize];
            self.ring.receive_datagrams(slot, Token::new(1, 0, index));
        }
        let mut completions = Vec::new();
        self.ring.turn(wait, &mut completions)?;
        let now_ns = self.now_ns();
        for completion in completions {
            if !completion.more {
                self.silent.push(completion.token.index());
            }
            let Some(received) = completion.buffer.and_then(Received::read) else {
                continue;
            };
            let cars = received.cars();
            let buffer = received.into_buffer();
            for car in cars {
                self.check(&buffer[car], now_ns, carried);
            }
        }
        Ok(())
    }

    /// Looks at one packet that has arrived, with the header of ChannelData or without.
    fn check(&mut self, packet: &[u8], now_ns: u64, carried: &mut Carried) {
        let header = packet.len().saturating_sub(self.payload_bytes);
        let payload = &packet[header..];
        let word = |at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(
                payload.get(at..at + 8)?.try_into().ok()?,
            ))
        };
        let flow = payload
            .first_chunk()
            .map(|it| u32::from_le_bytes(*it) as usize)
            .filter(|at| *at < self.flows.len());
        let (Some(flow), Some(number), Some(sent_ns)) = (flow, word(4), word(12)) else {
            // Some relays send what is not asked for, such as answers to what was asked before.
            return;
        };
        carried.received += 1;
        let (sent, expected) = &mut self.numbers[flow];
        let is_whole = payload[PAYLOAD_BYTES_MIN..]
            .iter()
            .all(|it| *it == fill(number));
        if number >= *sent || !is_whole || !matches!(header, 0 | 4) {
            carried.corrupted += 1;
            return;
        }
        if number < *expected {
            carried.disordered += 1;
        }
        *expected = (*expected).max(number + 1);
        carried
            .latency
            .saturating_record(now_ns.saturating_sub(sent_ns).max(1));
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Carried {
    /// Packets that were sent and never came.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Packets a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.received as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// What the rest of a packet is filled with.
fn fill(number: u64) -> u8 {
    number.to_le_bytes()[0]
}
