//! The baseline servers do what they are compared for: every member hears its room, all of it, in order, whatever
//! others do. Counts decide, never time.
#![cfg(feature = "baselines")]
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tungstenite::{Message, WebSocket};

type Client = WebSocket<TcpStream>;

/// Longest wait for anything, so that a fault ends the test instead of holding it.
const PATIENCE: Duration = Duration::from_secs(60);

const CLIENTS_PER_ROOM: usize = 25;
const MESSAGES_PER_ROOM: u32 = 100;

macro_rules! on_every_runtime {
    ($($behaviour:ident)*) => {
        mod tokio { $(#[test] fn $behaviour() { super::$behaviour("tokio"); })* }
        mod tokio_uring { $(#[test] fn $behaviour() { super::$behaviour("tokio-uring"); })* }
        mod glommio { $(#[test] fn $behaviour() { super::$behaviour("glommio"); })* }
    };
}

on_every_runtime! {
    every_member_hears_its_room_in_order
    who_leaves_does_not_stop_the_others
    a_slow_member_holds_the_publisher_up_and_loses_nothing
    requests_that_are_no_websocket_and_frames_that_break_the_rules_are_refused
    it_ends_with_its_input
}

fn every_member_hears_its_room_in_order(runtime: &str) {
    let server = Server::start(runtime, &[]);
    let rooms = ["red", "blue"];
    let mut clients = rooms.map(|room| server.clients(room, CLIENTS_PER_ROOM));
    let mut publisher = server.publisher();
    for number in 0..MESSAGES_PER_ROOM {
        for room in rooms {
            publisher.publish(room, &payload(room, number, 20));
        }
    }
    // Nobody is there to hear it, which is no reason not to acknowledge it.
    publisher.publish("empty", b"x");
    publisher.wait_for(2 * u64::from(MESSAGES_PER_ROOM) + 1);
    for (room, clients) in rooms.iter().zip(&mut clients) {
        for client in clients {
            assert_hears(client, room, 0..MESSAGES_PER_ROOM, 20);
            assert_hears_no_more(client);
        }
    }
}

fn who_leaves_does_not_stop_the_others(runtime: &str) {
    let server = Server::start(runtime, &[]);
    let mut clients = server.clients("red", CLIENTS_PER_ROOM);
    let mut publisher = server.publisher();
    publisher.publish("red", &payload("red", 0, 20));
    publisher.wait_for(1);
    for client in &mut clients {
        assert_hears(client, "red", 0..1, 20);
    }
    // The last member takes the place of the one that leaves, a new one the last place: whose place is it then?
    let (last, other) = (clients.remove(CLIENTS_PER_ROOM - 1), clients.remove(10));
    leave(other);
    let newcomer = server.client("red");
    leave(last);
    // This one says nothing.
    drop(clients.remove(5));
    for number in 1..MESSAGES_PER_ROOM {
        publisher.publish("red", &payload("red", number, 20));
    }
    publisher.wait_for(u64::from(MESSAGES_PER_ROOM));
    clients.push(newcomer);
    for client in &mut clients {
        assert_hears(client, "red", 1..MESSAGES_PER_ROOM, 20);
        assert_hears_no_more(client);
    }
    // The room is left by all, and found again.
    clients.clear();
    let mut late = server.clients("red", 2);
    publisher.publish("red", &payload("red", 7, 20));
    for client in &mut late {
        assert_hears(client, "red", 7..8, 20);
    }
}

fn a_slow_member_holds_the_publisher_up_and_loses_nothing(runtime: &str) {
    /// More than the queue, a batch and the socket's buffers hold, by far: Linux lets the two grow to 4 and 6 MiB.
    const MESSAGES: u32 = 800;
    const BYTES: usize = 64 * 1024;
    let server = Server::start(runtime, &["--queue", "4"]);
    let mut slow = server.client("red");
    let mut fast = server.client("red");
    let publisher = server.publisher();
    let mut acknowledgements = publisher
        .stream
        .try_clone()
        .expect("a second handle on the socket");
    let acknowledged = AtomicU64::new(0);
    let (sender, fast_has_begun) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = publisher;
            for number in 0..MESSAGES {
                publisher.publish("red", &payload("red", number, BYTES));
            }
        });
        scope.spawn(|| {
            while acknowledged.load(Ordering::Acquire) < u64::from(MESSAGES) {
                let mut count = [0; 8];
                acknowledgements
                    .read_exact(&mut count)
                    .expect("an acknowledgement");
                acknowledged.store(u64::from_le_bytes(count), Ordering::Release);
            }
        });
        scope.spawn(move || {
            assert_hears(&mut fast, "red", 0..10, BYTES);
            sender.send(()).expect("the test waits");
            assert_hears(&mut fast, "red", 10..MESSAGES, BYTES);
            assert_hears_no_more(&mut fast);
        });
        fast_has_begun.recv().expect("the other member hears");
        // Gives a server that does not hold the publisher up the time to show it; one that does needs none.
        thread::sleep(Duration::from_millis(200));
        // What is acknowledged and not yet read has to lie somewhere, and there is a bound on that at any time.
        let mut heard = 0;
        while heard < MESSAGES {
            let waiting = acknowledged
                .load(Ordering::Acquire)
                .saturating_sub(heard.into());
            assert!(waiting < 400, "{waiting} messages wait for a slow member");
            assert_hears(&mut slow, "red", heard..heard + 1, BYTES);
            heard += 1;
        }
    });
    assert_eq!(acknowledged.load(Ordering::Acquire), u64::from(MESSAGES));
    assert_hears_no_more(&mut slow);
}

fn requests_that_are_no_websocket_and_frames_that_break_the_rules_are_refused(runtime: &str) {
    let server = Server::start(runtime, &[]);
    let mut plain = server.connect(server.clients);
    // In two pieces, of which neither is a request.
    for piece in ["GET /red HTTP/1.1\r\nHo", "st: x\r\n\r\n"] {
        plain.write_all(piece.as_bytes()).expect("sent");
    }
    let mut response = String::new();
    plain.read_to_string(&mut response).expect("a response");
    assert!(response.starts_with("HTTP/1.1 426 "), "{response}");

    let mut unmasked = server.client("red");
    unmasked.get_mut().write_all(b"\x81\x01x").expect("sent");
    match unmasked.read().expect("a frame") {
        Message::Close(Some(close)) => assert_eq!(u16::from(close.code), 1002),
        other => panic!("{other}"),
    }
}

fn it_ends_with_its_input(runtime: &str) {
    let mut server = Server::start(runtime, &[]);
    let mut client = server.client("red");
    drop(server.process.stdin.take());
    assert!(server.process.wait().expect("it ends").success());
    assert!(client.read().is_err());
}

struct Server {
    process: Child,
    clients: SocketAddr,
    ingest: SocketAddr,
}

impl Server {
    fn start(runtime: &str, more: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_fanfare-baseline"))
            .arg(runtime)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        let addr = |prefix| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(prefix)?.parse().ok())
                .unwrap_or_else(|| panic!("no {prefix} in {line:?}"))
        };
        Self {
            clients: addr("clients="),
            ingest: addr("ingest="),
            process,
        }
    }

    fn clients(&self, room: &str, count: usize) -> Vec<Client> {
        (0..count).map(|_| self.client(room)).collect()
    }

    /// A member: the server joins the room before it answers the handshake.
    fn client(&self, room: &str) -> Client {
        let url = format!("ws://{}/any/path/{room}", self.clients);
        tungstenite::client(url, self.connect(self.clients))
            .expect("a handshake")
            .0
    }

    fn publisher(&self) -> Publisher {
        Publisher {
            stream: self.connect(self.ingest),
        }
    }

    fn connect(&self, addr: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Publisher {
    stream: TcpStream,
}

impl Publisher {
    fn publish(&mut self, room: &str, payload: &[u8]) {
        let mut message = Vec::new();
        for field in [room.as_bytes(), payload] {
            let bytes = u32::try_from(field.len()).expect("short");
            message.extend_from_slice(&bytes.to_le_bytes());
            message.extend_from_slice(field);
        }
        self.stream.write_all(&message).expect("sent");
    }

    /// Reads acknowledgements, which only grow, until one says `count`.
    fn wait_for(&mut self, count: u64) {
        let mut last = 0;
        while last < count {
            let mut bytes = [0; 8];
            self.stream
                .read_exact(&mut bytes)
                .expect("an acknowledgement");
            let acknowledged = u64::from_le_bytes(bytes);
            assert!(last < acknowledged && acknowledged <= count);
            last = acknowledged;
        }
    }
}

/// The room and the number, then as many bytes as are missing.
fn payload(room: &str, number: u32, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{room} {number} ").into_bytes();
    payload.resize(bytes, b'.');
    payload
}

#[track_caller]
fn assert_hears(client: &mut Client, room: &str, numbers: std::ops::Range<u32>, bytes: usize) {
    for number in numbers {
        match client.read().expect("a message") {
            Message::Binary(heard) => assert!(
                heard == payload(room, number, bytes),
                "{room} {number} expected, not {:?}",
                String::from_utf8_lossy(&heard[..20])
            ),
            other => panic!("{other:?}"),
        }
    }
}

/// Ends when the server has taken the member out of its room.
#[track_caller]
fn leave(mut client: Client) {
    client.close(None).expect("the close is sent");
    let answer = client.read().expect("an answer to the close");
    assert!(answer.is_close(), "{answer}");
}

/// A pong overtakes nothing: what comes before it is all there was.
#[track_caller]
fn assert_hears_no_more(client: &mut Client) {
    client
        .send(Message::Ping("still there?".into()))
        .expect("sent");
    match client.read().expect("an answer") {
        Message::Pong(payload) => assert_eq!(payload, "still there?"),
        other => panic!("{other:?}"),
    }
}
