//! Backends that are away, slow, or say what makes no sense: the client gets an answer, soon, and nothing else changes.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use fanfare_engine::backend::{Backend, ConnectAsk, Question, Refused, RpcAsk};

use super::support::{FakeBackend, Shard, answerer, caller, closed_port, drip, json, raw_backend};
use crate::backend::client::Fault;
use crate::backend::complaints::Complaints;
use crate::backend::{Event, Outcome};

/// What becomes of a call to this URL.
fn call(url: &str, more: &str) -> (Result<(), Refused>, Outcome) {
    let shard = Shard::new(url, more);
    let answer = shard.rpc(b"1").map(drop);
    let mut outcomes = Outcome::ALL
        .into_iter()
        .filter(|outcome| shard.ended(Event::Rpc, *outcome) == 1);
    let outcome = outcomes.next().expect("it ended");
    assert_eq!(outcomes.next(), None, "it ended once");
    (answer, outcome)
}

const UNREACHABLE: (Result<(), Refused>, Outcome) =
    (Err(Refused::Unreachable), Outcome::Unreachable);

const TIMED_OUT: (Result<(), Refused>, Outcome) = (Err(Refused::Unreachable), Outcome::Timeout);

#[test]
fn a_closed_port_is_unreachable() {
    assert_eq!(call(&closed_port(), ""), UNREACHABLE);
}

#[test]
fn a_name_that_nobody_has_is_unreachable() {
    // RFC 6761 section 6.4 keeps it free.
    let (answer, outcome) = call("http://backend.invalid/", "");
    assert_eq!(answer, Err(Refused::Unreachable));
    assert_eq!(outcome, Outcome::Unreachable);
}

#[test]
fn a_backend_that_does_not_answer_times_out() {
    let backend = FakeBackend::start(|_| Box::pin(std::future::pending()));
    assert_eq!(call(&backend.url(), "rpc_timeout = '50ms'\n"), TIMED_OUT);
}

#[test]
fn a_server_that_never_speaks_times_out() {
    let url = raw_backend(|stream| {
        std::thread::sleep(Duration::from_secs(5));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    });
    assert_eq!(call(&url, "rpc_timeout = '50ms'\n"), TIMED_OUT);
}

#[test]
fn a_head_that_drips_times_out() {
    let url = raw_backend(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        drip(stream, b"x: y\r\n")
    });
    assert_eq!(call(&url, "rpc_timeout = '200ms'\n"), TIMED_OUT);
}

#[test]
fn a_body_that_drips_times_out() {
    let url = raw_backend(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n")?;
        drip(stream, b" ")
    });
    assert_eq!(call(&url, "rpc_timeout = '200ms'\n"), TIMED_OUT);
}

#[test]
fn timeouts_are_by_event() {
    let backend = FakeBackend::start(|_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "{}".into_response()
        })
    });
    let shard = Shard::new(&backend.url(), "rpc_timeout = '50ms'\n");
    assert_eq!(shard.rpc(b"1"), Err(Refused::Unreachable));
    shard.connect(ConnectAsk::default()).expect("it had time");
    assert_eq!(shard.ended(Event::Rpc, Outcome::Timeout), 1);
    assert_eq!(shard.ended(Event::Connect, Outcome::Answered), 1);
}

#[test]
fn asking_takes_no_time_from_the_shard() {
    let backend = FakeBackend::start(|_| Box::pin(std::future::pending()));
    let shard = Shard::new(&backend.url(), "rpc_timeout = '20s'\n");
    let started = Instant::now();
    let (answerer, _answers) = answerer();
    let ask = RpcAsk::default();
    shard.webhooks.ask(Question::Rpc(caller(), ask, answerer));
    // Far below the timeout, far above what a busy machine adds.
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn answers_that_are_not_json_of_the_format_are_unreachable() {
    for body in [
        "",
        "OK",
        "null x",
        "[]",
        "7",
        "\"result\"",
        "{\"result\":",
        "{\"result\":[]}",
        "{\"result\":7}",
        "{\"result\":{\"data\":}}",
        "{\"result\":{\"data\":1,\"data\":2}}",
        "{\"result\":{\"b64data\":7}}",
        "{\"result\":{}}{\"error\":{\"code\":400}}",
        "{\"error\":\"no\"}",
        "{\"disconnect\":[4000]}",
        "<html>\r\n502 Bad Gateway</html>",
    ] {
        let backend = FakeBackend::saying(200, body);
        assert_eq!(call(&backend.url(), ""), UNREACHABLE, "{body}");
    }
    let backend = FakeBackend::saying(200, b"{\"result\":{\"data\":\"\xff\xfe\"}}".as_slice());
    assert_eq!(call(&backend.url(), ""), UNREACHABLE, "not UTF-8");
    let ladder = format!(
        "{{\"result\":{{\"data\":{}{}}}}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let backend = FakeBackend::saying(200, ladder);
    assert_eq!(call(&backend.url(), ""), UNREACHABLE, "a ladder");
}

#[test]
fn what_is_not_http_is_unreachable() {
    for bytes in [
        b"SSH-2.0-OpenSSH_9.2\r\n".as_slice(),
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n{}  ",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"",
    ] {
        let url = raw_backend(move |stream| stream.write_all(bytes));
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(call(&url, ""), UNREACHABLE, "{text:?}");
    }
}

#[test]
fn a_head_without_end_is_unreachable() {
    let url = raw_backend(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
        loop {
            stream.write_all(&[b'y'; 4_096])?;
        }
    });
    assert_eq!(call(&url, ""), UNREACHABLE);
    let url = raw_backend(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        for n in 0..1_000 {
            stream.write_all(format!("x-{n}: y\r\n").as_bytes())?;
        }
        stream.write_all(b"content-length: 2\r\n\r\n{}")
    });
    assert_eq!(call(&url, ""), UNREACHABLE);
}

#[test]
fn an_answer_is_read_up_to_its_limit() {
    let more = "answer_bytes_max = 4096\n";
    let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    let backend = FakeBackend::saying(200, padded(4_096));
    assert_eq!(call(&backend.url(), more), (Ok(()), Outcome::Answered));
    let backend = FakeBackend::saying(200, padded(4_097));
    assert_eq!(call(&backend.url(), more), UNREACHABLE);
}

#[test]
fn an_answer_without_end_is_unreachable_and_not_read() {
    let written = Arc::new(Mutex::new(0_usize));
    let count = Arc::clone(&written);
    let url = raw_backend(move |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        loop {
            stream.write_all(b"1000\r\n")?;
            stream.write_all(&[b' '; 4_096])?;
            stream.write_all(b"\r\n")?;
            *count.lock().expect("no panic") += 4_096;
        }
    });
    assert_eq!(call(&url, "answer_bytes_max = 65536\n"), UNREACHABLE);
    // What the kernel's buffers on both sides took is more than was read.
    let written = *written.lock().expect("no panic");
    assert!(written < 64 << 20, "{written} bytes were taken");
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = FakeBackend::saying(200, r#"{"result":{"data":1}}"#);
    let target = elsewhere.url();
    for status in [301_u16, 302, 303, 307, 308] {
        let location = target.clone();
        let backend = FakeBackend::start(move |_| {
            let status = axum::http::StatusCode::from_u16(status).expect("a status");
            let response = (status, [("location", location.clone())]).into_response();
            Box::pin(async move { response })
        });
        assert_eq!(call(&backend.url(), ""), UNREACHABLE, "{status}");
        assert_eq!(backend.seen().len(), 1, "asked once");
    }
    assert!(elsewhere.seen().is_empty(), "nobody was sent there");
}

#[test]
fn a_backend_that_comes_back_is_asked_again() {
    let url = closed_port();
    let shard = Shard::new(&url, "");
    assert_eq!(shard.rpc(b"1"), Err(Refused::Unreachable));
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let listener = std::net::TcpListener::bind(address).expect("it was free a moment ago");
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = std::io::Read::read(&mut stream, &mut [0; 4_096]);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"result\":{\"data\":7}}";
        stream.write_all(answer).expect("it listens");
    });
    assert_eq!(shard.rpc(b"1"), Ok(json("7")));
    answering.join().expect("no panic");
}

#[test]
fn questions_under_way_are_answered_at_the_end() {
    let backend = FakeBackend::start(|_| Box::pin(std::future::pending()));
    let shard = Shard::new(&backend.url(), "");
    let (answerer, answers) = answerer();
    shard
        .webhooks
        .ask(Question::Rpc(caller(), RpcAsk::default(), answerer));
    drop(shard);
    let answer = answers
        .recv_timeout(Duration::from_secs(20))
        .expect("an answer");
    assert_eq!(answer, Err(Refused::Unreachable));
}

/// What a log writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(faults: impl FnOnce(&Complaints)) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || faults(&Complaints::new()));
    let bytes = log.0.lock().expect("no panic").clone();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn what_a_stranger_wrote_cannot_make_a_line_in_the_log() {
    let text = logged(|complaints| {
        let evil = "bad\n2026-01-01T00:00:00Z  INFO all is well\r\x1b[2J\u{2028}";
        complaints.log(Event::Connect, &Fault::Exchange(evil.to_owned()));
    });
    assert_eq!(text.matches('\n').count(), 1, "{text:?}");
    assert!(!text.contains(['\r', '\x1b', '\u{2028}']), "{text:?}");
    assert!(text.contains(r"bad\n2026"), "{text:?}");
}

#[test]
fn a_backend_that_is_down_does_not_fill_the_log() {
    let text = logged(|complaints| {
        for _ in 0..10_000 {
            complaints.log(Event::Connect, &Fault::NoEndpoint);
        }
        complaints.log(Event::Rpc, &Fault::NoEndpoint);
    });
    let lines = text.matches('\n').count();
    // One a second and event.
    assert!((2..=12).contains(&lines), "{lines} lines");
}
