//! A blocking HTTP client that believes nothing: heads, bodies, chunks and events are read as their standards have them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A request with a body of a known length, if it has one. `lines` are more header lines, each with its line break.
pub fn request(method: &str, target: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: fanfare.test\r\n{lines}{length}\r\n");
    [head.as_bytes(), body].concat()
}

/// A value for a query string.
pub fn escaped(value: &str) -> String {
    value.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// An answer, or the head of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of the only line of this name, if there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes twice");
        value
    }

    /// The connection goes on after it.
    pub fn keeps_alive(&self) -> bool {
        match self.header("Connection") {
            Some("keep-alive") => true,
            Some("close") => false,
            other => panic!("Connection: {other:?}"),
        }
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("a text")
    }
}

/// A connection, with a deadline on every read.
#[derive(Debug)]
pub struct Http {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// A piece of a body that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    Data(Vec<u8>),
    /// The end of the body, as it should be.
    Last,
    /// The connection has ended, and the body has not.
    Cut,
}

impl Http {
    pub fn open(addr: SocketAddr) -> Self {
        Self::on(TcpStream::connect(addr).expect("the engine listens"))
    }

    pub fn on(stream: TcpStream) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Says no more, and goes on reading.
    pub fn say_no_more(&self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("still connected");
    }

    /// Asks, and reads the whole answer.
    pub fn ask(&mut self, request: &[u8]) -> Answer {
        self.send(request);
        self.answer()
    }

    /// The next whole answer.
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let length = answer.header("Content-Length").map(str::parse);
        match (answer.status, length) {
            (100..200 | 204, None) => {}
            (200.., Some(Ok(length))) => answer.body = self.take(length),
            _ => panic!("no telling where it ends: {answer:?}"),
        }
        answer
    }

    /// The head of the next answer.
    pub fn head(&mut self) -> Answer {
        let end = loop {
            let found = self.buffer.windows(4).position(|it| it == b"\r\n\r\n");
            if let Some(at) = found {
                break at + 4;
            }
            let seen = String::from_utf8_lossy(&self.buffer).into_owned();
            assert!(self.fill(), "closed before an answer, after {seen:?}");
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|line| line.get(..3))
            .unwrap_or_else(|| panic!("no status: {head:?}"));
        let headers = lines.map(|line| {
            let is_plain = |c: char| !c.is_control() || c == '\t';
            assert!(line.chars().all(is_plain), "control characters: {line:?}");
            let (name, value) = line.split_once(": ").expect("a name and a value");
            (name.to_owned(), value.to_owned())
        });
        Answer {
            status: status.parse().expect("a number"),
            headers: headers.collect(),
            body: Vec::new(),
        }
    }

    /// The next piece of a body in chunks (RFC 9112 section 7.1).
    pub fn chunk(&mut self) -> Chunk {
        let line_end = loop {
            let found = self.buffer.windows(2).position(|it| it == b"\r\n");
            if let Some(at) = found {
                break at;
            }
            if !self.fill() {
                return Chunk::Cut;
            }
        };
        let line: Vec<u8> = self.buffer.drain(..line_end + 2).collect();
        let size = str::from_utf8(&line[..line_end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a hexadecimal size");
        while self.buffer.len() < size + 2 {
            if !self.fill() {
                return Chunk::Cut;
            }
        }
        let data: Vec<u8> = self.buffer.drain(..size).collect();
        let end: Vec<u8> = self.buffer.drain(..2).collect();
        assert_eq!(end, b"\r\n", "after {size} bytes");
        if size == 0 {
            return Chunk::Last;
        }
        Chunk::Data(data)
    }

    /// All that comes up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the server has sent nothing more, and closes.
    pub fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }

    /// Nothing has been sent that has not been read.
    pub fn has_nothing_to_read(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let mut byte = [0];
        let is_quiet = matches!(self.stream.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).expect("a socket");
        is_quiet && self.buffer.is_empty()
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill(), "closed within a body");
        }
        self.buffer.drain(..length).collect()
    }

    /// Whether there was more.
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 65_536];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(n) => {
                    self.buffer.extend_from_slice(&chunk[..n]);
                    return true;
                }
                // Its ring's probe leaves the thread that started the engine something to finish.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }
}

/// Reads `text/event-stream` as browsers do (HTML standard, section 9.2.6): a line ends with CR, LF or both.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    data: Vec<String>,
    follows_cr: bool,
}

impl Events {
    /// The data of the events that these bytes complete.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for &byte in bytes {
            let is_second = std::mem::take(&mut self.follows_cr) && byte == b'\n';
            if is_second {
                continue;
            }
            if byte != b'\r' && byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            self.follows_cr = byte == b'\r';
            let line = String::from_utf8(std::mem::take(&mut self.line)).expect("UTF-8");
            if line.is_empty() {
                if !self.data.is_empty() {
                    events.push(std::mem::take(&mut self.data).join("\n"));
                }
            } else {
                let data = line.strip_prefix("data:");
                let data = data.unwrap_or_else(|| panic!("not understood by browsers: {line:?}"));
                self.data
                    .push(data.strip_prefix(' ').unwrap_or(data).into());
            }
        }
        events
    }

    /// Nothing has begun that is not complete.
    pub fn is_idle(&self) -> bool {
        self.line.is_empty() && self.data.is_empty()
    }
}
