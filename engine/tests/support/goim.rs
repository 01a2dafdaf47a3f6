//! A blocking client of goim, written from the bytes that goim's documents give and from nothing else: it shares no code
//! with the server. Over TCP and WebSocket in version 2, and in version 1 over TCP and as JSON over WebSocket.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::missing_const_for_fn,
    reason = "each test uses a part"
)]

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::value::RawValue;

/// Longest for anything that has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The mask of the client's WebSocket frames, as in goim's documented example.
const MASK: [u8; 4] = [1, 2, 3, 4];

/// Bytes from hexadecimal digits; what else stands between them is for people.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|it| it.to_digit(16)).collect();
    assert!(digits.len().is_multiple_of(2), "whole bytes: {text}");
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits");
    digits.chunks(2).map(byte).collect()
}

/// A connection that knows no frames: bytes go and come.
#[derive(Debug)]
pub struct Wire(pub TcpStream);

impl Wire {
    pub fn tcp(addr: SocketAddr) -> Self {
        Self::on(TcpStream::connect(addr).expect("the server listens"))
    }

    pub fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self(stream)
    }

    /// A WebSocket that has been opened, and over which nothing has been said.
    pub fn websocket(addr: SocketAddr) -> Self {
        let mut wire = Self::tcp(addr);
        let request = format!(
            "GET /sub HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        wire.send_bytes(request.as_bytes());
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(wire.take(1));
        }
        let head = String::from_utf8(head).expect("a head is text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        wire
    }

    pub fn send(&mut self, bytes: &str) {
        self.send_bytes(&hex(bytes));
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the server reads");
    }

    /// Exactly these bytes come next.
    pub fn expect(&mut self, bytes: &str) {
        let expected = hex(bytes);
        let came = self.take(expected.len());
        assert!(
            came == expected,
            "expected {bytes}\n    came {}",
            spelled(&came)
        );
    }

    pub fn expect_bytes(&mut self, expected: &[u8]) {
        let came = self.take(expected.len());
        assert_eq!(
            String::from_utf8_lossy(&came),
            String::from_utf8_lossy(expected)
        );
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        if let Err(error) = self.0.read_exact(&mut bytes) {
            panic!("{count} bytes did not come: {error}");
        }
        bytes
    }

    /// All that still comes, until the server ends the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut chunk = [0; 65_536];
        loop {
            match read(&mut self.0, &mut chunk) {
                0 => return all,
                count => all.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

/// A frame of 16 bytes and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoimFrame {
    pub version: i16,
    pub operation: i32,
    pub seq: i32,
    pub body: Vec<u8>,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Frames one behind the other. Version 1 has the same.
    Tcp,
    /// A frame is a binary message.
    WebSocket,
    /// A frame is a JSON object in a text message: version 1.
    Json,
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Frame(GoimFrame),
    /// The connection has ended, over WebSocket maybe with a code.
    Closed(Option<u16>),
}

/// A client that understands frames.
#[derive(Debug)]
pub struct Goim {
    pub wire: Wire,
    form: Form,
    buffer: Vec<u8>,
    /// Frames that have come and nobody has asked for: pushes before an answer.
    waiting: VecDeque<GoimFrame>,
    /// How many frames were in each batch that came.
    pub batches: Vec<usize>,
    seq: i32,
}

impl Goim {
    pub fn open(addr: SocketAddr, form: Form) -> Self {
        let wire = match form {
            Form::Tcp => Wire::tcp(addr),
            Form::WebSocket | Form::Json => Wire::websocket(addr),
        };
        Self::on(wire, form)
    }

    pub fn on(wire: Wire, form: Form) -> Self {
        Self {
            wire,
            form,
            buffer: Vec::new(),
            waiting: VecDeque::new(),
            batches: Vec::new(),
            seq: 0,
        }
    }

    /// A connection that has been answered.
    pub fn connect(addr: SocketAddr, form: Form, auth: &str) -> Self {
        let mut client = Self::open(addr, form);
        client.auth(auth);
        client
    }

    pub fn tcp(addr: SocketAddr, auth: &str) -> Self {
        Self::connect(addr, Form::Tcp, auth)
    }

    pub fn websocket(addr: SocketAddr, auth: &str) -> Self {
        Self::connect(addr, Form::WebSocket, auth)
    }

    pub fn auth(&mut self, body: &str) {
        let told = self.try_auth(body);
        let Told::Frame(frame) = told else {
            panic!("not let in: {told:?}")
        };
        assert_eq!(frame.operation, 8, "the answer comes before all else");
        assert_eq!(frame.seq, self.seq);
        let empty: &[u8] = if self.form == Form::Json { b"{}" } else { b"" };
        assert_eq!(frame.body, empty);
    }

    /// Says who it is; what comes upon it.
    pub fn try_auth(&mut self, body: &str) -> Told {
        self.request(7, body.as_bytes());
        self.next()
    }

    /// Sends a frame with the next sequence, and returns that.
    pub fn request(&mut self, operation: i32, body: &[u8]) -> i32 {
        self.seq += 1;
        let frame = GoimFrame {
            version: 1,
            operation,
            seq: self.seq,
            body: body.to_vec(),
        };
        self.send(&frame);
        self.seq
    }

    pub fn send(&mut self, frame: &GoimFrame) {
        let bytes = self.written(frame);
        self.wire.send_bytes(&bytes);
    }

    /// The frame as it goes over the wire.
    pub fn written(&self, frame: &GoimFrame) -> Vec<u8> {
        match self.form {
            Form::Tcp => bytes_of(frame),
            Form::WebSocket => masked(0x82, &bytes_of(frame)),
            Form::Json => {
                let body = std::str::from_utf8(&frame.body).expect("JSON is text");
                let body = if body.is_empty() { "{}" } else { body };
                let text = format!(
                    r#"{{"ver":{},"op":{},"seq":{},"body":{body}}}"#,
                    frame.version, frame.operation, frame.seq
                );
                masked(0x81, text.as_bytes())
            }
        }
    }

    /// Asks, and returns the body of the answer; pushes that come before it are kept.
    pub fn ask(&mut self, operation: i32, body: &[u8], answer: i32) -> Vec<u8> {
        let seq = self.request(operation, body);
        self.answer(answer, seq).body
    }

    /// The answer with this sequence; pushes that come before it are kept.
    pub fn answer(&mut self, operation: i32, seq: i32) -> GoimFrame {
        loop {
            let told = self.receive();
            let Told::Frame(frame) = told else {
                panic!("no answer {operation} to {seq}: {told:?}")
            };
            if (frame.operation, frame.seq) == (operation, seq) {
                return frame;
            }
            assert_eq!(
                frame.seq, 0,
                "expected {operation} to {seq}, or a push: {frame:?}"
            );
            self.waiting.push_back(frame);
        }
    }

    /// Beats; how many are in its room.
    pub fn heartbeat(&mut self) -> i32 {
        let body = self.ask(2, b"", 3);
        i32::from_be_bytes(body.try_into().expect("four bytes"))
    }

    pub fn change_room(&mut self, room: &str) {
        assert_eq!(self.ask(12, room.as_bytes(), 13), room.as_bytes());
    }

    pub fn sub(&mut self, operations: &str) {
        assert_eq!(
            self.ask(14, operations.as_bytes(), 15),
            operations.as_bytes()
        );
    }

    pub fn unsub(&mut self, operations: &str) {
        assert_eq!(
            self.ask(16, operations.as_bytes(), 17),
            operations.as_bytes()
        );
    }

    /// The push that has to come next: its operation and its body.
    pub fn push(&mut self) -> (i32, String) {
        let told = self.next();
        let Told::Frame(frame) = told else {
            panic!("expected a push: {told:?}")
        };
        assert_eq!(frame.seq, 0, "expected a push: {frame:?}");
        let body = String::from_utf8(frame.body).expect("the tests push text");
        (frame.operation, body)
    }

    /// Whether no push has come up to now: the answer to a heartbeat comes after it if one did. Not with a room, whose
    /// home is asked first.
    pub fn has_no_push(&mut self) -> bool {
        self.ask(2, b"", 3);
        self.waiting.is_empty()
    }

    /// Whether all that has come was asked for.
    pub fn waiting_is_empty(&self) -> bool {
        self.waiting.is_empty() && self.buffer.is_empty()
    }

    /// The next frame, or the end.
    pub fn next(&mut self) -> Told {
        match self.waiting.pop_front() {
            Some(frame) => Told::Frame(frame),
            None => self.receive(),
        }
    }

    /// Nothing more comes, but the end: the code of the close frame, if there is one.
    pub fn closed(&mut self) -> Option<u16> {
        match self.next() {
            Told::Closed(code) => code,
            Told::Frame(frame) => panic!("expected the end: {frame:?}"),
        }
    }

    /// Pushes up to the end.
    pub fn rest(&mut self) -> Vec<(i32, String)> {
        let mut pushes = Vec::new();
        while let Told::Frame(frame) = self.next() {
            pushes.push((
                frame.operation,
                String::from_utf8_lossy(&frame.body).into_owned(),
            ));
        }
        pushes
    }

    /// Says no more, and goes on reading.
    pub fn say_no_more(&self) {
        self.wire.0.shutdown(Shutdown::Write).expect("connected");
    }

    fn receive(&mut self) -> Told {
        loop {
            if let Some(told) = self.parse() {
                return told;
            }
            let mut chunk = [0; 65_536];
            match read(&mut self.wire.0, &mut chunk) {
                0 => {
                    assert!(self.buffer.is_empty(), "the end is inside of a frame");
                    return Told::Closed(None);
                }
                count => self.buffer.extend_from_slice(&chunk[..count]),
            }
        }
    }

    fn parse(&mut self) -> Option<Told> {
        if self.form == Form::Tcp {
            let (frame, used) = frame_of(&self.buffer)?;
            self.buffer.drain(..used);
            assert_ne!(frame.operation, 9, "batches are not seen over TCP");
            return Some(Told::Frame(frame));
        }
        let (opcode, payload) = message(&mut self.buffer)?;
        match (opcode, self.form) {
            (8, _) => {
                let code = payload.first_chunk().copied().map(u16::from_be_bytes);
                assert_eq!(self.wire.rest(), b"", "nothing follows the close frame");
                Some(Told::Closed(code))
            }
            (2, Form::WebSocket) => {
                let mut frames = message_frames(&payload);
                if let [frame] = &frames[..]
                    && frame.operation == 9
                {
                    frames = batch_frames(&frame.body);
                    self.batches.push(frames.len());
                }
                self.delivered(frames)
            }
            (1, Form::Json) => self.delivered(json_frames(&payload)),
            other => panic!("a message of another kind: {other:?}"),
        }
    }

    /// The first; the others wait.
    fn delivered(&mut self, frames: Vec<GoimFrame>) -> Option<Told> {
        let mut frames = frames.into_iter();
        let first = frames.next().expect("a message has a frame");
        self.waiting.extend(frames);
        Some(Told::Frame(first))
    }
}

/// The bytes of a frame: all numbers big endian.
pub fn bytes_of(frame: &GoimFrame) -> Vec<u8> {
    let package = i32::try_from(16 + frame.body.len()).expect("the tests send little");
    let mut bytes = package.to_be_bytes().to_vec();
    bytes.extend(16_i16.to_be_bytes());
    bytes.extend(frame.version.to_be_bytes());
    bytes.extend(frame.operation.to_be_bytes());
    bytes.extend(frame.seq.to_be_bytes());
    bytes.extend(&frame.body);
    bytes
}

/// A frame of version 1 of the protocol's header.
pub fn frame(operation: i32, seq: i32, body: &[u8]) -> GoimFrame {
    GoimFrame {
        version: 1,
        operation,
        seq,
        body: body.to_vec(),
    }
}

/// A client's WebSocket frame.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => bytes.push(0x80 | length),
        (_, Ok(length)) => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

/// The first frame, and how long it is, once it is there.
fn frame_of(bytes: &[u8]) -> Option<(GoimFrame, usize)> {
    let head = bytes.get(..16)?;
    let short = |at: usize| i16::from_be_bytes([head[at], head[at + 1]]);
    let long = |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let package = usize::try_from(long(0)).expect("a length is not negative");
    assert_eq!(short(4), 16, "all headers are as long");
    let frame = GoimFrame {
        version: short(6),
        operation: long(8),
        seq: long(12),
        body: bytes.get(16..package)?.to_vec(),
    };
    Some((frame, package))
}

/// A WebSocket message holds exactly one frame.
fn message_frames(payload: &[u8]) -> Vec<GoimFrame> {
    let (frame, used) = frame_of(payload).expect("a message holds a whole frame");
    assert_eq!(used, payload.len(), "and nothing else");
    vec![frame]
}

/// Frames one behind the other, until there is no more.
fn batch_frames(mut body: &[u8]) -> Vec<GoimFrame> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let (frame, used) = frame_of(body).expect("the frames of a batch are whole");
        frames.push(frame);
        body = &body[used..];
    }
    frames
}

fn json_frames(payload: &[u8]) -> Vec<GoimFrame> {
    type Object<'a> = BTreeMap<&'a str, &'a RawValue>;
    let objects: Vec<Object<'_>> = serde_json::from_slice(payload).expect("an array");
    let frame = |object: Object<'_>| {
        let number = |name: &str| object[name].get().parse::<i64>().expect("a number");
        GoimFrame {
            version: i16::try_from(number("ver")).expect("a small one"),
            operation: i32::try_from(number("op")).expect("32 bits"),
            seq: i32::try_from(number("seq")).expect("32 bits"),
            body: object["body"].get().into(),
        }
    };
    objects.into_iter().map(frame).collect()
}

/// Takes a server's WebSocket message from the start of the buffer: its opcode and payload.
fn message(buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&first, &second) = (buffer.first()?, buffer.get(1)?);
    assert_eq!(first & 0xf0, 0x80, "the server sends whole messages");
    assert_eq!(second & 0x80, 0, "the server does not mask");
    let (start, length) = match second {
        126 => (
            4,
            usize::from(u16::from_be_bytes(*buffer.get(2..)?.first_chunk()?)),
        ),
        127 => {
            let length = u64::from_be_bytes(*buffer.get(2..)?.first_chunk()?);
            (10, usize::try_from(length).expect("64 bits"))
        }
        short => (2, usize::from(short)),
    };
    let payload = buffer.get(start..start + length)?.to_vec();
    buffer.drain(..start + length);
    Some((first & 0x0f, payload))
}

/// Bytes that have come; 0 at the end, which a reset is, too.
fn read(stream: &mut TcpStream, chunk: &mut [u8]) -> usize {
    loop {
        match stream.read(chunk) {
            Ok(count) => return count,
            // Its ring's probe leaves the thread that started an engine something to finish.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return 0,
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}

fn spelled(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
