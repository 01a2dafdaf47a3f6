//! A blocking WebSocket client, and the Centrifuge protocol on it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fanfare_wire::native;
use fanfare_wire::ws::{self, Opcode};
use serde_json::{Value, json};

use super::native::{Frame, own};

/// What a browser would send, without its last empty line, so that lines can be added.
pub fn upgrade_request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: fanfare.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
}

/// What comes from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A close frame, with its code if it has one.
    Close(Option<u16>),
    /// The end of the stream.
    End,
}

/// A WebSocket over a blocking socket, with a deadline on every read. Answers nothing by itself.
#[derive(Debug)]
pub struct WebSocket {
    pub stream: TcpStream,
    /// The server has agreed to compress messages.
    pub is_compressed: bool,
    decoder: ws::Decoder,
    inflater: ws::Inflater,
    buffer: Vec<u8>,
}

impl WebSocket {
    pub fn open(addr: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(addr).expect("the engine listens");
        Self::upgrade(stream, path)
    }

    pub fn upgrade(mut stream: TcpStream, path: &str) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let request = upgrade_request(path) + "\r\n";
        stream
            .write_all(request.as_bytes())
            .expect("the server reads");
        Self::accepted(stream)
    }

    /// Reads the answer to an upgrade request that has been sent.
    pub fn accepted(mut stream: TcpStream) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if let Err(error) = stream.read_exact(&mut byte) {
                panic!("{error} after {}", String::from_utf8_lossy(&head));
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("a head is text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        let is_compressed = head.contains("permessage-deflate");
        Self {
            stream,
            is_compressed,
            decoder: if is_compressed {
                ws::Decoder::with_deflate(ws::Role::Client)
            } else {
                ws::Decoder::new(ws::Role::Client)
            },
            inflater: ws::Inflater::new(),
            buffer: Vec::new(),
        }
    }

    pub fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut out = Vec::new();
        ws::write_masked_frame(&mut out, opcode, payload, [1, 2, 3, 4]);
        self.send_bytes(&out);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    pub fn next(&mut self) -> Event {
        let limits = ws::Limits {
            message_bytes_max: 1 << 24,
            fragments_max: 2,
        };
        loop {
            let (consumed, event) = self
                .decoder
                .next_inflating(&mut self.buffer, &limits, &mut self.inflater)
                .expect("the server speaks WebSocket");
            let event = event.map(|event| match event {
                ws::Event::Text(text) => Event::Text(text.to_owned()),
                ws::Event::Binary(bytes) => Event::Binary(bytes.to_vec()),
                ws::Event::Ping(bytes) => Event::Ping(bytes.to_vec()),
                ws::Event::Pong(bytes) => Event::Pong(bytes.to_vec()),
                ws::Event::Close(close) => Event::Close(close.map(|close| close.code)),
            });
            self.buffer.drain(..consumed);
            if let Some(event) = event {
                return event;
            }
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Event::End,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                // Its ring's probe leaves the thread that started the engine something to finish.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Event::End,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// The code of the close frame that has to come next, and then the end.
    pub fn closed_with(&mut self) -> Option<u16> {
        let Event::Close(code) = self.next() else {
            panic!("the server closes the connection")
        };
        assert_eq!(self.next(), Event::End);
        code
    }
}

/// Native frames in binary messages.
#[derive(Debug)]
pub struct Frames(pub WebSocket, VecDeque<Frame>);

impl Frames {
    pub fn connect(addr: SocketAddr, token: &str) -> Self {
        let mut client = Self(WebSocket::open(addr, "/connection/native"), VecDeque::new());
        client.send(|out| {
            let hello = native::Hello {
                token,
                client_name: "test",
            };
            native::write_hello(out, &hello);
        });
        assert!(matches!(client.next(), Frame::Welcome { .. }));
        client
    }

    pub fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.0.send(Opcode::Binary, &out);
    }

    pub fn next(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.1.pop_front() {
                return frame;
            }
            match self.0.next() {
                Event::Binary(message) => {
                    let mut rest = &message[..];
                    while !rest.is_empty() {
                        let (frame, consumed) = native::decode_server(rest, 1 << 24)
                            .expect("the server speaks the protocol")
                            .expect("frames are whole in their message");
                        self.1.push_back(own(frame));
                        rest = &rest[consumed..];
                    }
                }
                Event::End | Event::Close(_) => return Frame::Closed,
                other => panic!("not a native frame: {other:?}"),
            }
        }
    }
}

/// A Centrifuge client. Answers pings.
#[derive(Debug)]
pub struct Centrifuge {
    pub ws: WebSocket,
    /// The id the server gave it.
    pub client: String,
    /// The rooms that the server put it into, as it was welcomed.
    pub rooms: Value,
    /// What came before the reply that was waited for.
    pushes: VecDeque<Value>,
    lines: VecDeque<Value>,
    last_id: u32,
}

impl Centrifuge {
    /// A WebSocket over which nothing has been said yet.
    pub fn open(addr: SocketAddr) -> Self {
        Self::on(WebSocket::open(addr, "/connection/websocket"))
    }

    pub const fn on(ws: WebSocket) -> Self {
        Self {
            ws,
            client: String::new(),
            rooms: Value::Null,
            pushes: VecDeque::new(),
            lines: VecDeque::new(),
            last_id: 0,
        }
    }

    /// A connection that has been welcomed.
    pub fn connect(addr: SocketAddr, token: &str) -> Self {
        let mut client = Self::open(addr);
        client.greet(token);
        client
    }

    pub fn greet(&mut self, token: &str) {
        let mut reply = self.ask("connect", json!({ "token": token }));
        self.rooms = reply["subs"].take();
        self.client = reply["client"]
            .as_str()
            .expect("a welcome names the client")
            .to_owned();
    }

    pub fn send(&mut self, commands: &str) {
        self.ws.send(Opcode::Text, commands.as_bytes());
    }

    /// Sends a command without waiting for its reply; returns its id.
    pub fn command(&mut self, method: &str, body: &Value) -> u32 {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "id": id, method: body }).to_string());
        id
    }

    /// Asks and waits for the reply: its result, or the error object.
    pub fn ask(&mut self, method: &str, body: Value) -> Value {
        let id = self.command(method, &body);
        let mut reply = self.reply(id);
        match reply.get_mut("error") {
            Some(error) => error.take(),
            None => reply[method].take(),
        }
    }

    /// The code of the error that the request ends in; 0 when it is granted.
    pub fn code_of(&mut self, method: &str, body: Value) -> u64 {
        let answer = self.ask(method, body);
        answer["code"].as_u64().unwrap_or(0)
    }

    pub fn subscribe(&mut self, channel: &str) -> Value {
        self.ask("subscribe", json!({ "channel": channel }))
    }

    /// The reply with this id; pushes that come before it are kept.
    pub fn reply(&mut self, id: u32) -> Value {
        loop {
            let line = self.line().expect("connected until the reply");
            if line["id"] == id {
                return line;
            }
            assert!(line.get("push").is_some(), "expected reply {id}: {line}");
            self.pushes.push_back(line);
        }
    }

    /// The next push, without its envelope.
    pub fn push(&mut self) -> Value {
        let mut line = self
            .pushes
            .pop_front()
            .unwrap_or_else(|| self.line().expect("connected until the push"));
        assert!(line.get("push").is_some(), "expected a push: {line}");
        line["push"].take()
    }

    /// Whether no push has come up to now: an answer comes after it if one did.
    pub fn has_no_push(&mut self) -> bool {
        self.ask("ping", json!({}));
        self.pushes.is_empty()
    }

    /// The next reply or push; the close code when there is none any more.
    pub fn line(&mut self) -> Result<Value, Option<u16>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                if line == json!({}) {
                    self.send("{}");
                    continue;
                }
                return Ok(line);
            }
            match self.ws.next() {
                Event::Text(text) => {
                    let lines = text.lines();
                    self.lines.extend(lines.map(|line| {
                        serde_json::from_str::<Value>(line).expect("each line is JSON")
                    }));
                }
                Event::Close(code) => return Err(code),
                Event::End => return Err(None),
                other => panic!("not a Centrifuge message: {other:?}"),
            }
        }
    }

    /// Reads until the server closes; the code it does so with.
    pub fn closed_with(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.line() {
                return code;
            }
        }
    }
}
