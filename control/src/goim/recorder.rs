//! An engine for tests of the handlers: it writes down what it is asked, and answers as it was told.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use fanfare_engine::ShardSnapshot;
use fanfare_engine::api::{ApiError, Message, Payload, Publish, Published, Reply, RoomInfo};

use super::http::Goim;
use super::nodes::Nodes;
use super::pushes::Pushes;
use crate::api_keys::ApiKeys;
use crate::config::{Secret, Settings};

/// The API key of tests.
pub(super) const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What the engine was asked, a line each.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, line: String) {
        self.0.lock().expect("no test panics with it").push(line);
    }

    /// What was asked since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no test panics with it"))
    }
}

/// How it answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder {
    pub(super) log: Log,
    pub(super) error: Option<ApiError>,
    pub(super) is_silent: bool,
    /// Rooms and their members.
    pub(super) rooms: Vec<(&'static str, u32)>,
    pub(super) connections: Vec<u64>,
}

impl Recorder {
    /// goim's API in front of it.
    pub(super) fn goim(&self, configure: impl FnOnce(&mut Settings)) -> Goim {
        let mut settings = Settings::default();
        configure(&mut settings);
        let keys = ApiKeys::new(vec![Secret::new(KEY)]);
        let nodes = Nodes::new(&settings.goim, "push-1", 8_000);
        Goim::new(Box::new(self.clone()), keys, &settings, nodes)
    }

    fn answer<T>(&self, reply: Reply<T>, answer: T) {
        if !self.is_silent {
            reply(self.error.map_or(Ok(answer), Err));
        }
    }
}

impl Pushes for Recorder {
    fn push_users(&self, users: Vec<Box<str>>, message: Message, reply: Reply<u32>) {
        self.log
            .note(format!("users {users:?} {}", shown(&message)));
        self.answer(reply, 1);
    }

    fn push_keys(&self, keys: Vec<Box<str>>, message: Message, reply: Reply<u32>) {
        self.log.note(format!("keys {keys:?} {}", shown(&message)));
        self.answer(reply, 0);
    }

    fn push_all(&self, message: Message, reply: Reply<u32>) {
        self.log.note(format!("all {}", shown(&message)));
        self.answer(reply, 3);
    }

    fn publish(&self, publish: Publish, reply: Reply<Published>) {
        assert!(!publish.skip_history && publish.idempotency_key.is_none());
        self.log.note(format!(
            "room {:?} {:?} {}",
            publish.room,
            publish.tags,
            bytes(&publish.payload)
        ));
        let published = Published {
            position: Default::default(),
            reached: Default::default(),
            is_duplicate: false,
        };
        self.answer(reply, published);
    }

    fn room_members(&self, rooms: Vec<Box<str>>, reply: Reply<Vec<u32>>) {
        self.log.note(format!("members {rooms:?}"));
        let members = |room: &str| {
            let known = self.rooms.iter().find(|(name, _)| *name == room);
            known.map_or(0, |(_, members)| *members)
        };
        self.answer(reply, rooms.iter().map(|room| members(room)).collect());
    }

    fn rooms(&self, pattern: Option<&str>, reply: Reply<Vec<RoomInfo>>) {
        self.log.note(format!("rooms {pattern:?}"));
        let info = |(name, members): &(&str, u32)| RoomInfo {
            name: (*name).into(),
            members: *members,
        };
        self.answer(reply, self.rooms.iter().map(info).collect());
    }

    fn counters(&self) -> Vec<ShardSnapshot> {
        let shard = |connections: &u64| ShardSnapshot {
            connections: *connections,
            ..ShardSnapshot::default()
        };
        self.connections.iter().map(shard).collect()
    }
}

fn shown(message: &Message) -> String {
    let operation = message
        .operation
        .map_or("-".to_owned(), |op| op.to_string());
    let payload = &message.payload;
    format!("op {operation} \"{}\"", payload.bytes.escape_ascii())
}

fn bytes(payload: &Payload) -> String {
    assert!(!payload.is_json, "nobody has looked whether it is JSON");
    format!("\"{}\"", payload.bytes.escape_ascii())
}

/// Sends a request, `POST /path?query`, with the key and a body. The status, the type and the body of the reply.
pub(super) fn ask(goim: &Goim, line: &str, body: impl Into<Bytes>) -> (u16, String, String) {
    send(goim, line, &[("X-API-Key", KEY)], body)
}

/// The same with other headers.
pub(super) fn send(
    goim: &Goim,
    line: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> (u16, String, String) {
    let (method, uri) = line.split_once(' ').expect("a method and a path");
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.into())).expect("a request");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(async {
        let response = goim.answer(request).await.1.into_response();
        let status = response.status().as_u16();
        let content_type = response.headers()["content-type"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        let body = to_bytes(response.into_body(), usize::MAX)
            .await
            .expect("a body");
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        (status, content_type, body)
    })
}
