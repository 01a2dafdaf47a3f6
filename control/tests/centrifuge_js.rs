//! The published npm package `centrifuge`, from Node, JSON over WebSocket. The scenarios are in `peers/js`; they
//! make the assertions, and these tests run the server under them.
#![allow(missing_docs)]

mod support;

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::lines::Lines;
use support::peers::{self, Peer};
use support::server::{Server, Stop, wait};

/// Longest that `fanfare tail` may take to join, and to print what it heard.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Rooms as the scenarios expect them, and pings fast enough to see some.
const CONFIG: &str = r#"
[limits]
ping_interval = "2s"
pong_timeout = "1s"

[shutdown]
drain_window = "500ms"

[namespaces.talk]
history_size = 100
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

[namespaces.short]
history_size = 5
history_ttl = "1h"
subscribe = "users"
history_access = "members"

[namespaces.closed]
"#;

#[test]
fn the_javascript_client_converses() {
    play("conversation.mjs");
}

#[test]
fn the_javascript_client_recovers_what_it_missed() {
    play("cut_off.mjs");
}

#[test]
fn the_javascript_client_survives_a_restart() {
    play("restart.mjs");
}

#[test]
fn the_javascript_client_and_tail_hear_the_same_in_the_same_order() {
    if !peers::require(Peer::Centrifuge) {
        return;
    }
    let server = Server::start(CONFIG);
    let mut tail = server
        .command()
        .args(["tail", "talk:order", "--json", "--count", "500"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server was built with this test");
    let heard = Lines::of(tail.stdout.take().expect("stdout is piped"));
    let said = Lines::of(tail.stderr.take().expect("stderr is piped"));
    let joined = said.through(TIME_LIMIT, |line| line.starts_with("joined "));
    assert!(
        joined.iter().any(|line| line.starts_with("joined ")),
        "{joined:?}"
    );

    let by_client = thread::scope(|scope| {
        let server = &server;
        peers::play("order.mjs", &argument(server), |_| {
            for from in 0..4 {
                scope.spawn(move || push_a_hundred(server, from));
            }
        })
    });
    let by_tail: Vec<Value> = heard
        .through(TIME_LIMIT, |_| false)
        .iter()
        .map(|line| serde_json::from_str(line).expect("tail prints JSON"))
        .map(|said: Value| json!({"offset": said["offset"], "data": said["data"]}))
        .collect();
    let status = wait(&mut tail);
    let said = said.through(TIME_LIMIT, |_| false);
    assert_eq!(by_tail.len(), 500, "{status:?}: {said:?}");
    assert_eq!(Value::Array(by_tail), by_client);
}

fn push_a_hundred(server: &Server, from: u32) {
    for n in 0..100 {
        let body = json!({"channel": "talk:order", "data": {"from": from, "n": n}});
        server.api("publish", &body);
    }
}

fn play(script: &str) {
    if !peers::require(Peer::Centrifuge) {
        return;
    }
    let mut server = Server::start(CONFIG);
    let argument = argument(&server);
    peers::play(script, &argument, |what| match what {
        "terminate" => server.stop(Stop::Terminate),
        "kill" => server.stop(Stop::Kill),
        "start" => server.start_again(),
        other => panic!("{script} asks for {other:?}"),
    });
}

fn argument(server: &Server) -> Value {
    json!({
        "ws": format!("ws://{}/connection/websocket", server.clients()),
        "api": format!("http://{}/api", server.control()),
        "api_key": server.api_key(),
        "tokens": {
            "alice": server.token("alice"),
            "bob": server.token("bob"),
            "carol": server.token("carol"),
            "intruder": forged(&server.token("alice")),
        },
    })
}

/// The same token under a signature that nobody made.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("a JWT has three parts");
    let reversed: String = signature.chars().rev().collect();
    format!("{signed}.{reversed}")
}
