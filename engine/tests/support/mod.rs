//! Engines to test, what to ask of them, and blocking clients.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(unused_imports, reason = "each test uses a part")]

mod authority;
mod bystander;
mod contents;
mod deflate;
mod desk;
mod goim;
mod goim_service;
mod http;
mod members;
mod memory;
mod native;
mod poll;
mod protobuf;
mod sdk;
mod view;
mod websocket;

pub use authority::{Scripted, Trusting};
pub use bystander::Bystander;
pub use contents::{Kind, content, service_content};
pub use deflate::{
    BINARY, COMPRESSED, Deflating, LAST, OFFER, ServerFrame, TEXT, bomb, client_frame, deflated,
    flushed, fragments, inflated,
};
pub use desk::{Desk, known_as, refused, say, start_with_desk};
pub use goim::{Form, Goim, GoimFrame, Told, Wire, bytes_of, frame, hex, masked};
pub use goim_service::{
    goim_config, members, message, push_all, push_keys, push_room, push_users, put_into,
    trusting_config,
};
pub use http::{Answer, Chunk, Http, escaped, request};
pub use members::{DIALECTS, Dialect, Member};
pub use memory::{Peak, flood};
pub use native::{Client, Frame, Recover};
pub use poll::{Poller, answer_of, ask_alone, send_alone};
pub use protobuf::publish as protobuf_publish;
pub use sdk::{End, Sdk, Transport, emulation, post};
pub use view::View;
pub use websocket::{Centrifuge, Event, Frames, WebSocket, upgrade_request};

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_engine::api::{ApiError, Payload, Publish, Published, Reply};
use fanfare_engine::{
    Access, Engine, EngineConfig, Limits, Namespaces, RoomOptions, ShardSnapshot,
};

/// Rooms in which everyone may do everything.
pub fn open_rooms() -> RoomOptions {
    RoomOptions {
        subscribe: Access::Everyone,
        publish: Access::Everyone,
        presence_access: Access::Everyone,
        history_access: Access::Everyone,
        ..RoomOptions::default()
    }
}

/// A configuration on a free loopback port, in which everyone may do everything.
pub fn open_config(shards: u16) -> EngineConfig {
    EngineConfig {
        client_addrs: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        shards,
        namespaces: Namespaces {
            default: open_rooms(),
            named: Vec::new(),
        },
        allow_anonymous: true,
        limits: brisk(),
        ..EngineConfig::default()
    }
}

/// Limits as they are by default, but nobody waits long for clients that are told to go and stay.
pub fn brisk() -> Limits {
    Limits {
        close_timeout: Duration::from_millis(200),
        ..Limits::default()
    }
}

pub fn start(config: EngineConfig) -> Engine {
    Engine::start(config, Arc::new(Trusting)).expect("the engine starts")
}

/// An engine whose tokens say what they grant.
pub fn start_scripted(config: EngineConfig) -> Engine {
    Engine::start(config, Arc::new(Scripted)).expect("the engine starts")
}

/// Everyone goes, and every shard stops.
pub fn stop(engine: Engine) {
    engine.handle().begin_drain(Duration::ZERO);
    assert_eq!(engine.wait(Duration::from_secs(20)), Ok(()));
}

/// Asks the engine something and waits for the answer.
pub fn ask<T: Send + 'static>(ask: impl FnOnce(Reply<T>)) -> Result<T, ApiError> {
    let (sender, receiver) = channel();
    ask(Box::new(move |answer| {
        sender.send(answer).expect("the test waits")
    }));
    receiver
        .recv_timeout(Duration::from_secs(20))
        .expect("every request is answered")
}

pub fn publish(room: &str, data: &str) -> Publish {
    Publish {
        room: room.into(),
        payload: Payload {
            bytes: Bytes::copy_from_slice(data.as_bytes()),
            is_json: false,
        },
        tags: Vec::new(),
        skip_history: false,
        idempotency_key: None,
    }
}

/// Publishes as a service does, and waits for the position.
pub fn push(engine: &Engine, room: &str, data: &str) -> Published {
    ask(|reply| engine.handle().publish(publish(room, data), reply)).expect("published")
}

/// A number of the engine, over all shards.
pub fn total(engine: &Engine, number: impl Fn(&ShardSnapshot) -> u64) -> u64 {
    engine.handle().counters().iter().map(number).sum()
}

/// Waits for something that comes about by itself.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
