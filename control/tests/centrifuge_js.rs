//! The published npm package `centrifuge`, from Node, over every transport it has. The scenarios are in `peers/js`;
//! they make the assertions, and these tests run the server under them.
#![allow(missing_docs)]

mod support;

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::lines::Lines;
use support::peers::{self, Peer};
use support::sdk;
use support::server::{Server, wait};

/// Longest that `fanfare tail` may take to join, and to print what it heard.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// What the server does not do yet: (transport, topic), with `*` for every topic of a transport.
const NOT_YET: &[(&str, &str)] = &[];

sdk::tests! { crate::support::peers::Peer::Centrifuge, NOT_YET:
    ws_json = "ws-json",
    ws_protobuf = "ws-protobuf",
    sse = "sse",
    http_stream_json = "http-stream-json",
    http_stream_protobuf = "http-stream-protobuf",
}

#[test]
fn the_javascript_client_and_tail_hear_the_same_in_the_same_order() {
    if !peers::require(Peer::Centrifuge) {
        return;
    }
    let backend_port = sdk::free_port();
    let server = Server::start(&sdk::config("order", backend_port));
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

    let setup = sdk::setup(&server, backend_port);
    let by_client = thread::scope(|scope| {
        let server = &server;
        peers::play(Peer::Centrifuge, "ws-json", "order", &setup, |_| {
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
