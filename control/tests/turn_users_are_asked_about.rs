//! Users of the relay whom only the backend knows, tried with `fanfare turn-check`.

mod support;
mod turn_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use turn_support::credentials::{PASSWORD, USER};
use turn_support::relay::Relay;
use turn_support::road::Road;

/// A backend that knows one user; what it was asked.
fn backend() -> (SocketAddr, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let asked = Arc::<Mutex<Vec<Value>>>::default();
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).expect("a line") > 2 {
                let (name, value) = line.split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().expect("a number");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            let question: Value = serde_json::from_slice(&body).expect("JSON");
            let (status, answer) = match question["user"].as_str() {
                Some("zoe") => (200, json!({"result": {"password": "zoe's own"}})),
                Some("away") => (503, json!({})),
                _ => (200, json!({"result": {}})),
            };
            notes.lock().expect("no panic").push(question);
            let answer = answer.to_string();
            let length = answer.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
            );
            stream
                .get_mut()
                .write_all(head.as_bytes())
                .expect("an answer");
        }
    });
    (address, asked)
}

/// What `turn-check` ends with, and says.
fn check(url: &str, user: &str, password: &str) -> (Option<i32>, String) {
    let dir = TempDir::new().expect("a directory");
    let output = support::server::program()
        .current_dir(dir.path())
        .args(["turn-check", url, "--ports", "2"])
        .args(["--user", user, "--password", password])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), said)
}

#[test]
fn the_backend_knows_who_may_use_the_relay() {
    let (backend, asked) = backend();
    let more = format!("[backend]\nturn_user_endpoint = \"http://{backend}/turn\"");
    let relay = Relay::start_with(1, &more);
    for (road, transport) in [(Road::Udp, "udp"), (Road::Tcp, "tcp")] {
        let url = format!("turn:127.0.0.1:{}?transport={transport}", relay.port(road));
        let (code, said) = check(&url, "zoe", "zoe's own");
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = check(&url, "zoe", "another's");
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("401"), "{said}");
        let (code, said) = check(&url, "eve", "zoe's own");
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("401"), "{said}");
        let (code, said) = check(&url, "away", "zoe's own");
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("500"), "{said}");
    }
    // What it has said once is remembered; what it could not say is not.
    let asked = asked.lock().expect("no panic").clone();
    let of = |user: &str| {
        asked
            .iter()
            .filter(|it| **it == json!({"user": user}))
            .count()
    };
    assert_eq!((of("zoe"), of("away")), (1, 2), "{asked:?}");
    assert!((1..=2).contains(&of("eve")), "{asked:?}");
    relay.await_empty();
}

#[test]
fn the_backend_is_told_of_allocations() {
    let (backend, told) = backend();
    let more = format!("[backend]\nturn_allocation_endpoint = \"http://{backend}/turn\"");
    let relay = Relay::start_with(1, &more);
    let url = format!("turn:127.0.0.1:{}", relay.port(Road::Udp));
    let (code, said) = check(&url, USER, PASSWORD);
    assert_eq!(code, Some(0), "{said}");
    // Two allocations, which were given back.
    let of = |event: &str| {
        let told = told.lock().expect("no panic").clone();
        told.into_iter()
            .filter(|it| it["event"] == event)
            .collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while of("ended").len() < 2 {
        assert!(Instant::now() < deadline, "{told:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (begun, ended) = (of("begun"), of("ended"));
    assert_eq!((begun.len(), ended.len()), (2, 2), "{told:?}");
    for ended in ended {
        assert_eq!(
            (&ended["user"], &ended["transport"]),
            (&json!(USER), &json!("udp"))
        );
        assert_eq!(ended["reason"], "given_back");
        assert_ne!(ended["to_peers"]["packets"], 0);
        assert_ne!(ended["from_peers"]["bytes"], 0);
        let is_it =
            |it: &Value| it["relayed"] == ended["relayed"] && it["client"] == ended["client"];
        assert_eq!(begun.iter().filter(|it| is_it(it)).count(), 1, "{told:?}");
    }
}
