//! Clients that compress (RFC 7692), with a compressor, an inflater and a reader of frames that the server knows nothing of.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output, create_comp_flags_from_zip_params,
};
use miniz_oxide::inflate::decompress_to_vec;
use serde_json::{Value, json};

use super::protobuf;
use super::websocket::upgrade_request;

/// What browsers offer.
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// First byte of a text frame that is a whole message.
pub const TEXT: u8 = 0x81;
/// The same of a binary one.
pub const BINARY: u8 = 0x82;
/// Marks a frame as the first of a compressed message.
pub const COMPRESSED: u8 = 0x40;
/// Marks a frame as the last of its message.
pub const LAST: u8 = 0x80;

/// As a flush leaves it, its last four bytes included, so that more may follow.
pub fn flushed(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let flags = create_comp_flags_from_zip_params(6, 0, 0);
    let mut compressor = CompressorOxide::new(flags);
    let (status, read) = compress_to_output(&mut compressor, plain, TDEFLFlush::Sync, |bytes| {
        out.extend_from_slice(bytes);
        true
    });
    assert_eq!((status, read), (TDEFLStatus::Okay, plain.len()));
    out
}

/// The payload of a compressed message (section 7.2.1).
pub fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut out = flushed(plain);
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

/// What the payload of a compressed message inflates to, by itself (section 7.2.2).
pub fn inflated(payload: &[u8]) -> Vec<u8> {
    // The end of the flush, and an empty block marked as the last.
    let stream = [payload, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    decompress_to_vec(&stream).unwrap_or_else(|error| panic!("{error} in {payload:02x?}"))
}

/// The payload of a compressed message of so many zeros, a whole number of MiB: a thousandth of their size.
pub fn bomb(mebibytes: usize) -> Vec<u8> {
    let mut out = flushed(&vec![0; 1 << 20]).repeat(mebibytes);
    out.truncate(out.len() - 4);
    out
}

/// A frame of a client, masked.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![first];
    match payload.len() {
        short @ ..126 => out.push(0x80 | u8::try_from(short).expect("short")),
        medium @ ..65_536 => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(medium).expect("medium").to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    out.extend(masked.map(|(byte, key)| byte ^ key));
    out
}

/// A payload in frames of so many bytes, the first one with these bits.
pub fn fragments(first: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(size);
    let frames = payload.chunks(size).enumerate().map(|(at, part)| {
        let begins = if at == 0 { first & !LAST } else { 0 };
        let ends = if at + 1 == count { LAST } else { 0 };
        client_frame(begins | ends, part)
    });
    frames.collect()
}

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFrame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl ServerFrame {
    pub const fn is_compressed(&self) -> bool {
        self.first & COMPRESSED != 0
    }

    /// What it says, if it is a message.
    pub fn plain(&self) -> Vec<u8> {
        assert!(
            matches!(self.first & !COMPRESSED, TEXT | BINARY),
            "{self:?}"
        );
        if self.is_compressed() {
            inflated(&self.payload)
        } else {
            self.payload.clone()
        }
    }
}

/// A Centrifuge client that sees each frame as it comes.
#[derive(Debug)]
pub struct Deflating {
    pub stream: TcpStream,
    /// The server's answer to the offer.
    pub agreed: Option<String>,
    is_protobuf: bool,
    buffer: Vec<u8>,
}

impl Deflating {
    /// An upgrade that offers this, or nothing.
    pub fn open(addr: SocketAddr, path: &str, offer: Option<&str>) -> Self {
        let line = offer.map(|it| format!("Sec-WebSocket-Extensions: {it}\r\n"));
        let request = upgrade_request(path) + &line.unwrap_or_default() + "\r\n";
        let mut stream = TcpStream::connect(addr).expect("the engine listens");
        let timeout = Some(Duration::from_secs(20));
        stream.set_read_timeout(timeout).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        stream.write_all(request.as_bytes()).expect("is read");
        let mut client = Self {
            stream,
            agreed: None,
            is_protobuf: path.contains("protobuf"),
            buffer: Vec::new(),
        };
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut answers = head
            .lines()
            .filter_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        client.agreed = answers.next().map(str::to_owned);
        assert_eq!(answers.next(), None, "answered twice");
        client
    }

    /// A connection that has been welcomed, and compresses if it offered to.
    pub fn connect(addr: SocketAddr, path: &str, offer: Option<&str>) -> Self {
        let mut client = Self::open(addr, path, offer);
        assert_eq!(client.agreed.is_some(), offer.is_some());
        client.greet();
        client
    }

    pub fn greet(&mut self) {
        let welcome = self.ask(&json!({ "id": 1, "connect": {} }));
        assert!(welcome["connect"]["client"].is_string(), "{welcome}");
    }

    /// And that is a member of a room.
    pub fn member(addr: SocketAddr, path: &str, offer: Option<&str>, room: &str) -> Self {
        let mut client = Self::connect(addr, path, offer);
        client.join(room);
        client
    }

    pub fn join(&mut self, room: &str) {
        let reply = self.ask(&json!({ "id": 2, "subscribe": { "channel": room } }));
        assert!(reply["subscribe"].is_object(), "{reply}");
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// A command as the connection's protocol has it, and the first byte of a frame with it.
    pub fn message(&self, command: &Value) -> (u8, Vec<u8>) {
        if self.is_protobuf {
            (BINARY, protobuf::command(command))
        } else {
            (TEXT, command.to_string().into_bytes())
        }
    }

    /// Sends a command, compressed where that was agreed, and reads its reply.
    pub fn ask(&mut self, command: &Value) -> Value {
        let (first, message) = self.message(command);
        let frame = if self.agreed.is_some() {
            client_frame(first | COMPRESSED, &deflated(&message))
        } else {
            client_frame(first, &message)
        };
        self.send(&frame);
        self.reply()
    }

    /// The next message, which holds one reply or push.
    pub fn reply(&mut self) -> Value {
        let frame = self.frame().expect("connected");
        self.read(&frame)
    }

    pub fn read(&self, frame: &ServerFrame) -> Value {
        let plain = frame.plain();
        if self.is_protobuf {
            let (reply, read) = protobuf::reply(&plain).expect("a whole reply");
            assert_eq!(read, plain.len());
            return reply;
        }
        serde_json::from_slice(&plain).expect("each message is JSON")
    }

    /// The next frame; `None` at the end. Pings of Centrifuge are answered.
    pub fn frame(&mut self) -> Option<ServerFrame> {
        loop {
            let frame = self.any_frame()?;
            let is_ping = matches!(&frame.payload[..], b"{}" | b"\0") && frame.first & 0x0f < 8;
            if !is_ping {
                return Some(frame);
            }
            // Whoever is told to go meanwhile reads the reason, and need not be heard.
            let _ = self
                .stream
                .write_all(&client_frame(frame.first, &frame.payload));
        }
    }

    /// The code of the close frame that has to come next, and then the end.
    pub fn closed_with(&mut self) -> u16 {
        let frame = self.frame().expect("a close frame");
        assert_eq!(frame.first, 0x88, "{frame:?}");
        assert_eq!(self.frame(), None);
        u16::from_be_bytes([frame.payload[0], frame.payload[1]])
    }

    fn any_frame(&mut self) -> Option<ServerFrame> {
        self.fill(2)?;
        let first = self.buffer[0];
        let (header, length) = match self.buffer[1] {
            short @ 0..126 => (2, usize::from(short)),
            126 => {
                self.fill(4)?;
                (4, number(&self.buffer[2..4]))
            }
            127 => {
                self.fill(10)?;
                (10, number(&self.buffer[2..10]))
            }
            masked => panic!("a server does not mask: {masked:#x}"),
        };
        self.fill(header + length)?;
        let payload = self.buffer[header..header + length].to_vec();
        self.buffer.drain(..header + length);
        Some(ServerFrame { first, payload })
    }

    fn head(&mut self) -> String {
        let mut wanted = 4;
        loop {
            self.fill(wanted).expect("an answer");
            let end = self.buffer.windows(4).position(|it| it == b"\r\n\r\n");
            if let Some(at) = end {
                let head = self.buffer.drain(..at + 4).collect();
                return String::from_utf8(head).expect("a head is text");
            }
            wanted = self.buffer.len() + 1;
        }
    }

    /// Reads until so many bytes are there; `None` if they do not come.
    fn fill(&mut self, bytes: usize) -> Option<()> {
        let mut chunk = [0; 65_536];
        while self.buffer.len() < bytes {
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                // Its ring's probe leaves the thread that started the engine something to finish.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
        Some(())
    }
}

fn number(big_endian: &[u8]) -> usize {
    big_endian
        .iter()
        .fold(0, |number, &byte| number << 8 | usize::from(byte))
}
