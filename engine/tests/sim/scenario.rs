//! What a run is made of, all of it drawn from its seed.

use std::time::Duration;

use fanfare_engine::ring::sim::{Faults, SimRingOptions};
use fanfare_engine::{Access, EngineConfig, Limits, Namespaces, RoomOptions, SlowPolicy};
use fastrand::Rng;

use super::client::{Habits, Speech};
use super::ledger::Room;

/// With no more places than this left, the engine accepts connections one by one.
const CROWD: u32 = 4_096;

/// Bytes of the largest command beside the padding of its payload.
const ENVELOPE_BYTES_MAX: usize = 160;

/// A run.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) faults: Faults,
    pub(crate) config: EngineConfig,
    pub(crate) ring: SimRingOptions,
    pub(crate) batch_sends: usize,
    pub(crate) rooms: Vec<Room>,
    pub(crate) clients: Vec<Habits>,
    /// Connections that speak no protocol, or break off in the middle of one.
    pub(crate) strangers: usize,
    pub(crate) steps: usize,
    pub(crate) padding_max: usize,
    /// At the end everyone is sent away, instead of leaving.
    pub(crate) drains: bool,
}

impl Scenario {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let faults = if rng.u32(0..5) == 0 {
            Faults::none()
        } else {
            Faults::random(rng)
        };
        let clients = (0..rng.usize(2..14)).map(|_| habits(rng)).collect();
        let connections_max = match rng.u32(0..3) {
            0 => rng.u32(8..48),
            1 => CROWD + rng.u32(1..12),
            _ => CROWD + 500,
        };
        let message_bytes_max = 1 << rng.u32(9..13);
        let padding_max = message_bytes_max as usize - ENVELOPE_BYTES_MAX;
        Self {
            faults,
            config: EngineConfig {
                connections_per_shard_max: Some(connections_max),
                ..config(rng, message_bytes_max)
            },
            ring: SimRingOptions {
                slots: connections_max + 128,
                listeners: 1,
                backlog_max: 8,
                buffers: 1 << rng.u32(1..5),
                buffer_bytes: rng.usize(16..1_500),
            },
            batch_sends: if rng.bool() { rng.usize(1..8) } else { 512 },
            rooms: ["plain", "other", "kept:a", "kept:b", "skip:a", "keptskip:a"]
                .map(Room::from)
                .to_vec(),
            clients,
            strangers: rng.usize(0..6),
            steps: rng.usize(200..2_500),
            padding_max,
            drains: rng.bool(),
        }
    }
}

fn habits(rng: &mut Rng) -> Habits {
    Habits {
        speech: [Speech::Native, Speech::NativeWebSocket, Speech::Centrifuge][rng.usize(0..3)],
        stalls: rng.u32(0..3) == 0,
        leaves: rng.u32(0..3) == 0,
        is_hasty: rng.u32(0..4) == 0,
    }
}

fn config(rng: &mut Rng, message_bytes_max: u32) -> EngineConfig {
    let mut room = |history: bool, slow_policy| RoomOptions {
        history_size: if history { rng.u32(1..60) } else { 0 },
        history_bytes_max: rng.u64(2_000..50_000),
        presence: rng.bool(),
        join_leave: rng.bool(),
        subscribe: Access::Everyone,
        publish: Access::Everyone,
        presence_access: Access::Everyone,
        history_access: Access::Everyone,
        slow_policy,
        lane_bytes_max: message_bytes_max << rng.u32(1..6),
        ..RoomOptions::default()
    };
    let default = room(false, SlowPolicy::Disconnect);
    let named = vec![
        ("kept".into(), room(true, SlowPolicy::Disconnect)),
        ("skip".into(), room(false, SlowPolicy::Skip)),
        ("keptskip".into(), room(true, SlowPolicy::Skip)),
    ];
    EngineConfig {
        shards: rng.u16(1..5),
        inbox_entries: 1 << rng.u32(1..10),
        limits: Limits {
            handshake_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_millis(rng.u64(300..3_000)),
            pong_timeout: Duration::from_millis(rng.u64(150..250)),
            close_timeout: Duration::from_millis(rng.u64(300..1_000)),
            message_bytes_max,
            direct_bytes_max: 1 << rng.u32(14..18),
            ..Limits::default()
        },
        namespaces: Namespaces { default, named },
        ..EngineConfig::default()
    }
}
