//! What signals do.

mod server;

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::Duration;

use server::{Server, eventually};

const QUICK: &str = "[shutdown]\ndrain_window = '0s'\n";
const SLOW: &str = "[shutdown]\ndrain_window = '1m'\n";

#[test]
fn a_server_that_is_asked_to_stop_ends_well() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(QUICK);
        let mut tail = server.tail(&["demo"]);
        server.signal(signal);
        assert_eq!(tail.said(), "fanfare: disconnected: shutdown (3001)");
        assert_eq!(server.wait().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_draining_server_is_not_ready_and_still_serves() {
    let server = Server::start(SLOW);
    let _tail = server.tail(&["demo"]);
    assert_eq!(server.http("GET", "/ready", &[], "").status, 200);
    server.signal("TERM");
    eventually("the drain", || {
        server.http("GET", "/ready", &[], "").status == 503
    });
    assert_eq!(
        server.http("GET", "/ready", &[], "").body,
        r#"{"ready":false,"reason":"draining"}"#
    );
    assert_eq!(server.http("GET", "/live", &[], "").status, 200);
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut server = Server::start(SLOW);
        let _tail = server.tail(&["demo"]);
        server.signal("TERM");
        eventually("the drain", || {
            server.http("GET", "/ready", &[], "").status == 503
        });
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(code), "{signal}");
    }
}

#[test]
fn a_hang_up_does_not_end_the_server() {
    let mut server = Server::start(QUICK);
    server.signal("HUP");
    assert_eq!(server.call("info", "").status, 200);
    assert!(server.is_running());
}

#[test]
fn a_request_under_way_is_answered_at_the_end() {
    let mut server = Server::start(QUICK);
    let mut stream = server.connect();
    let head = format!(
        "POST /api/info HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Length: 2\r\n\r\n{{",
        server.key
    );
    stream
        .write_all(head.as_bytes())
        .expect("most of a request");
    eventually("the request", || server.call("info", "").status == 200);
    server.signal("TERM");
    // The engine has nothing to drain; what is left is this request, for which a second is kept.
    thread::sleep(Duration::from_millis(300));
    stream.write_all(b"}").expect("the rest of it");
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .expect("an answer, and the end");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(server.wait().code(), Some(0));
}
