//! Instruments that measure Fanfare, and that tests of the server use as its crowd of clients.
//!
//! | part | what it is |
//! |---|---|
//! | [`swarm`] | tens of thousands of clients per process on io_uring, each of which checks what it hears |
//! | [`stamp`] | payloads with a number in them, so that a client can tell which publication it holds |
//! | [`ingest`] | services that publish as fast as the server takes it, and check every answer |
//! | [`relay`] | clients and peers of TURN relays, which check every packet |
//! | [`servers`] | what is measured: Fanfare, the baselines, other servers, each a process of its own |
//! | [`observe`] | CPU time and memory, of processes, of the kernel, of the machine |
//! | [`report`], [`progress`] | results as JSON, Markdown and SVG; how a long run goes |
//! | `src/main.rs` | `fanfare-bench`: the cases |
//! | `src/baseline/` | `fanfare-baseline`: the same server on tokio, tokio-uring and glommio |
//! | `benches/` | criterion: codecs, archives, lanes, homes, rooms, inboxes, without a kernel |
//!
//! Nothing here is part of the server. The load generator uses no code of the server above [`fanfare_wire`],
//! [`fanfare_engine::ring`] and [`fanfare_turn::stun`]: what is measured does not measure itself. (Criterion's benches do look inside, through the
//! engine's feature `bench`.)

#![forbid(unsafe_code)]

mod http;
pub mod ingest;
pub mod observe;
pub mod progress;
pub mod relay;
pub mod report;
pub mod servers;
pub mod stamp;
pub mod swarm;
