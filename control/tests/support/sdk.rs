//! The published SDKs, tried topic by topic over every transport they have: the server under them, and the topics.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::announce;
use super::peers::{self, Peer};
use super::server::{Server, Stop};

/// What the scenarios sign their tokens with, as a user's backend would.
const TOKEN_SECRET: &str = "a secret that only these tests know, and nobody else";

/// Rooms as the scenarios expect them, and pings fast enough to see some.
const CONFIG: &str = r#"
[limits]
ping_interval = "2s"
pong_timeout = "1s"

[shutdown]
drain_window = "500ms"

[namespaces.talk]
history_size = 1000
history_ttl = "1h"
presence = true
join_leave = true
subscribe = "users"
publish = "members"
presence_access = "members"
history_access = "members"

[namespaces.kept]
history_size = 100000
history_ttl = "1h"
history_bytes_max = 16777216
subscribe = "users"
history_access = "members"
presence_access = "members"

[namespaces.short]
history_size = 5
history_ttl = "1h"
subscribe = "users"
history_access = "members"

[namespaces.plain]
presence = true
subscribe = "users"
presence_access = "members"
history_access = "members"

[namespaces.closed]

[namespaces.mine]
history_size = 10
history_ttl = "1h"
"#;

/// What single topics need besides, where `{backend}` is the URL of the scenario's own HTTP server.
const MORE_CONFIG: &[(&str, &str)] = &[
    (
        "delta",
        r#"
[namespaces.delta]
history_size = 100
history_ttl = "1h"
history_bytes_max = 16777216
subscribe = "users"
delta = true
"#,
    ),
    (
        "tags",
        r#"
[namespaces.tags]
history_size = 100
history_ttl = "1h"
subscribe = "users"
tags_filter = true
"#,
    ),
    (
        "cache",
        r#"
[namespaces.cache]
history_size = 10
history_ttl = "1h"
subscribe = "users"
recovery_mode = "cache"
"#,
    ),
    (
        "rpc",
        r#"
[backend]
rpc_endpoint = "{backend}/rpc"
send_endpoint = "{backend}/send"
"#,
    ),
    (
        "backend",
        r#"
[backend]
connect_endpoint = "{backend}/connect"
refresh_endpoint = "{backend}/refresh"
subscribe_endpoint = "{backend}/subscribe"
publish_endpoint = "{backend}/publish"

[namespaces.asked]
history_size = 100
history_ttl = "1h"
backend_subscribe = true
backend_publish = true
"#,
    ),
];

/// The tests of an SDK: one for every topic over every transport.
macro_rules! tests {
    ($client:expr, $not_yet:ident: $($module:ident = $transport:literal),+ $(,)?) => {
        $(mod $module {
            $crate::support::sdk::topics! { $client, $transport, super::$not_yet:
                connect, connection_token, subscription_token, publish, presence, history, recovery, restart,
                delta, rpc, backend, channels, server_subs, codes, cache, state, tags,
            }
        })+
    };
}

macro_rules! topics {
    ($client:expr, $transport:literal, $not_yet:path: $($topic:ident),+ $(,)?) => {
        $(#[test]
        fn $topic() {
            $crate::support::sdk::play($client, $transport, stringify!($topic), $not_yet);
        })+
    };
}

pub(crate) use {tests, topics};

/// Plays the topic on a server of its own, unless it is among those that are not yet to be tried: (transport,
/// topic), with the topic `*` for all of a transport.
pub(crate) fn play(client: Peer, transport: &str, topic: &str, not_yet: &[(&str, &str)]) {
    if not_yet.contains(&(transport, topic)) || not_yet.contains(&(transport, "*")) {
        announce(&format!("not yet: {topic} over {transport}"));
        return;
    }
    if !peers::require(client) {
        return;
    }
    let backend_port = free_port();
    let mut server = Server::start(&config(topic, backend_port));
    let setup = setup(&server, backend_port);
    peers::play(client, transport, topic, &setup, |what| match what {
        "terminate" => server.stop(Stop::Terminate),
        "kill" => server.stop(Stop::Kill),
        "start" => server.start_again(),
        other => panic!("{topic} asks for {other:?}"),
    });
}

/// The configuration that a topic needs.
pub(crate) fn config(topic: &str, backend_port: u16) -> String {
    let more = MORE_CONFIG
        .iter()
        .find(|(name, _)| *name == topic)
        .map_or("", |(_, more)| more);
    let backend = format!("http://127.0.0.1:{backend_port}");
    let token = format!("[token]\nhmac_secret = {TOKEN_SECRET:?}\nleeway = \"1s\"\n");
    token + CONFIG + &more.replace("{backend}", &backend)
}

/// What a scenario is told.
pub(crate) fn setup(server: &Server, backend_port: u16) -> Value {
    json!({
        "http": format!("http://{}", server.clients()),
        "api": format!("http://{}", server.control()),
        "api_key": server.api_key(),
        "token_secret": TOKEN_SECRET,
        "backend_port": backend_port,
    })
}

/// A port for the scenario's own server. Somebody else may take it before the scenario does, which has not been seen.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
