//! The engine of Fanfare: holds connections and fans publications out to them.
//!
//! **A room is a log, a member is a cursor.** On each shard a room has one [lane](crate#lanes) per encoding in use: a
//! log of encoded frames and the members that read it. Publishing appends a frame once; a sweep gives each member one
//! send of everything between its cursor and the head. Idle, every message leaves at once and alone; loaded, each send
//! carries more. A slow member costs a cursor, not a queue.
//!
//! # Shards
//! A [`Shard`] is a thread with one io_uring that owns its connections; nothing in it is shared or locked. Each room
//! and each user has a home shard, picked by hash, which alone orders the room's publications and knows its members.
//! Shards talk through bounded inboxes.
//!
//! # Lanes
//! | file | what it owns |
//! |---|---|
//! | `ring/` | the kernel, and all `unsafe` of the engine |
//! | `shard.rs` | one turn of the loop: the state machine on a ring |
//! | `core.rs`, `deadlines.rs` | the state machine: connections from accept to close; pings, deadlines, the end |
//! | `output.rs`, `sweep.rs`, `held.rs` | what leaves: direct output and stalls, sweeps over lanes, output that waits for a request |
//! | `lane.rs` | one room, one encoding: the log and the cursors |
//! | `membership.rs`, `rights.rs`, `slow.rs`, `operations.rs`, `room.rs` | joining and leaving; who may; slow members; what goim's clients watch; rooms as members see them |
//! | `requests.rs`, `broadcast.rs`, `home.rs`, `homes.rs`, `history.rs`, `idempotency.rs`, `users.rs` | rooms and users at their homes |
//! | `deliveries.rs`, `message.rs`, `mesh.rs` | what shards say to each other |
//! | `session/` | the dialects |
//! | `engine.rs`, `handle.rs` | threads, and the way in for services |
//! | `authority.rs`, `backend.rs` | what is asked of whoever embeds the engine |
//!
//! This crate knows no HTTP API, no configuration files and no tokens: `fanfare-control` brings them, through
//! [`Handle`], [`EngineConfig`] and [`Authority`].

pub mod api;
mod authority;
pub mod backend;
#[cfg(feature = "bench")]
pub mod bench;
mod broadcast;
mod config;
mod conn;
mod core;
mod counters;
pub mod counting;
mod deadlines;
mod deliveries;
mod encoding;
mod engine;
mod gather;
mod handle;
#[cfg(feature = "sim")]
pub mod harness;
mod held;
mod history;
mod home;
mod homes;
mod hooks;
mod idempotency;
mod ids;
mod lane;
mod membership;
mod mesh;
mod message;
mod operations;
mod output;
mod requests;
mod rights;
pub mod ring;
mod room;
mod sabotage;
mod session;
mod shard;
mod shared;
mod slab;
mod slow;
mod sweep;
mod users;
mod wheel;

pub use authority::{Authority, Capability, Denied, Grant, Rights, SubscriptionGrant};
pub use config::{
    Access, BackendRights, EngineConfig, Goim, KeyPolicy, Limits, Namespaces, RecoveryMode,
    RoomOptions, SlowPolicy,
};
pub use counters::ShardSnapshot;
pub use counting::MetricKind;
pub use deadlines::EXPIRY_GRACE_S;
pub use engine::{Engine, StartError};
pub use handle::Handle;
pub use ids::{ConnRef, NotAClientId, ShardId};
pub use shard::Shard;
