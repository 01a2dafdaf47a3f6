//! A Centrifuge client over any of the transports that SDKs use.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fanfare_wire::ws::Opcode;
use serde_json::{Value, json};

use super::http::{Answer, Chunk, Events, Http, escaped, request};
use super::protobuf;
use super::websocket::{Event, WebSocket, upgrade_request};

/// How a client connects, and what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    WebSocketProtobuf,
    Sse,
    HttpStream,
    HttpStreamProtobuf,
    UniWebSocket,
    UniSse,
    UniHttpStream,
}
use Transport::{
    HttpStream, HttpStreamProtobuf, Sse, UniHttpStream, UniSse, UniWebSocket, WebSocketProtobuf,
};

impl Transport {
    /// Those on which a client also speaks.
    pub const BOTH_WAYS: [Self; 5] = [
        Self::WebSocket,
        WebSocketProtobuf,
        Sse,
        HttpStream,
        HttpStreamProtobuf,
    ];
    /// Those of clients that only listen.
    pub const UNI: [Self; 3] = [UniWebSocket, UniSse, UniHttpStream];
    /// Those that are answers to requests and carry commands in requests of their own.
    pub const EMULATED: [Self; 3] = [Sse, HttpStream, HttpStreamProtobuf];
    /// Those that are answers to requests.
    pub const STREAMS: [Self; 5] = [Sse, HttpStream, HttpStreamProtobuf, UniSse, UniHttpStream];

    pub const fn is_protobuf(self) -> bool {
        matches!(self, WebSocketProtobuf | HttpStreamProtobuf)
    }

    pub const fn is_stream(self) -> bool {
        matches!(
            self,
            Sse | HttpStream | HttpStreamProtobuf | UniSse | UniHttpStream
        )
    }

    pub const fn is_uni(self) -> bool {
        matches!(self, UniWebSocket | UniSse | UniHttpStream)
    }

    const fn is_sse(self) -> bool {
        matches!(self, Sse | UniSse)
    }

    pub const fn path(self) -> &'static str {
        match self {
            Self::WebSocket | WebSocketProtobuf => "/connection/websocket",
            Sse => "/connection/sse",
            HttpStream | HttpStreamProtobuf => "/connection/http_stream",
            UniWebSocket => "/connection/uni_websocket",
            UniSse => "/connection/uni_sse",
            UniHttpStream => "/connection/uni_http_stream",
        }
    }

    /// Commands, as one message.
    pub fn message(self, commands: &[Value]) -> Vec<u8> {
        if self.is_protobuf() {
            return commands.iter().flat_map(protobuf::command).collect();
        }
        let lines: Vec<String> = commands.iter().map(Value::to_string).collect();
        lines.join("\n").into_bytes()
    }

    /// The first that a client says.
    fn hello(self, connect: &Value) -> Vec<u8> {
        if self.is_uni() {
            return connect.to_string().into_bytes();
        }
        self.message(&[json!({ "id": 1, "connect": connect })])
    }

    /// The request that opens a stream with these commands.
    pub fn opening(self, message: &[u8]) -> Vec<u8> {
        if self.is_sse() {
            let text = str::from_utf8(message).expect("JSON");
            let target = format!("{}?cf_connect={}", self.path(), escaped(text));
            return request("GET", &target, "Accept: text/event-stream\r\n", b"");
        }
        let media_type = if self.is_protobuf() {
            "application/octet-stream"
        } else {
            "application/json"
        };
        let lines = format!("Accept: {media_type}\r\nContent-Type: {media_type}\r\n");
        request("POST", self.path(), &lines, message)
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a close frame of WebSocket.
    Code(Option<u16>),
    /// The answer is complete.
    Complete,
    /// In the middle of something.
    Cut,
    /// It does not: as many pings have come as were waited for.
    Asked,
}

#[derive(Debug)]
enum Down {
    WebSocket(WebSocket),
    Stream(Http),
}

/// A client. Answers pings, unless it is told not to.
#[derive(Debug)]
pub struct Sdk {
    pub transport: Transport,
    pub addr: SocketAddr,
    down: Down,
    /// What its commands go out on, if not on the connection itself.
    up: Option<Http>,
    /// The answer to connect.
    pub welcome: Value,
    pub answers_pings: bool,
    pub pings: u32,
    /// Stops reading after as many pings in all.
    pub stop_after_pings: Option<u32>,
    events: Events,
    partial: Vec<u8>,
    /// Replies and pushes as they came: lines, or messages of protobuf with their lengths before them.
    messages: VecDeque<Vec<u8>>,
    pushes: VecDeque<Value>,
    last_id: u64,
}

impl Sdk {
    /// A connection over which this has been said first.
    pub fn open(addr: SocketAddr, transport: Transport, message: &[u8]) -> Self {
        let stream = TcpStream::connect(addr).expect("the engine listens");
        Self::on(stream, transport, message)
    }

    pub fn on(stream: TcpStream, transport: Transport, message: &[u8]) -> Self {
        let addr = stream.peer_addr().expect("connected");
        let down = if transport.is_stream() {
            let mut http = Http::on(stream);
            http.send(&transport.opening(message));
            let head = http.head();
            assert_eq!(head.status, 200, "{head:?}");
            assert_eq!(head.header("Transfer-Encoding"), Some("chunked"));
            assert_eq!(head.header("X-Accel-Buffering"), Some("no"));
            assert!(
                head.header("Cache-Control")
                    .expect("is told")
                    .contains("no-store")
            );
            let content_type = head.header("Content-Type").expect("is told");
            assert_eq!(
                transport.is_sse(),
                content_type == "text/event-stream; charset=utf-8"
            );
            assert_eq!(
                transport.is_protobuf(),
                content_type == "application/octet-stream"
            );
            Down::Stream(http)
        } else {
            Down::WebSocket(websocket(stream, transport, "", message))
        };
        Self::over(transport, addr, down)
    }

    fn over(transport: Transport, addr: SocketAddr, down: Down) -> Self {
        Self {
            transport,
            addr,
            down,
            up: None,
            welcome: Value::Null,
            answers_pings: true,
            pings: 0,
            stop_after_pings: None,
            events: Events::default(),
            partial: Vec::new(),
            messages: VecDeque::new(),
            pushes: VecDeque::new(),
            last_id: 1,
        }
    }

    /// A connection that has been welcomed.
    pub fn connect(addr: SocketAddr, transport: Transport, token: &str) -> Self {
        Self::connect_with(addr, transport, &json!({ "token": token }))
    }

    pub fn connect_with(addr: SocketAddr, transport: Transport, connect: &Value) -> Self {
        Self::open(addr, transport, &transport.hello(connect)).greeted()
    }

    /// A connection that has been welcomed, over a WebSocket on which messages are compressed.
    pub fn connect_compressed(addr: SocketAddr, transport: Transport, token: &str) -> Self {
        let stream = TcpStream::connect(addr).expect("the engine listens");
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let hello = transport.hello(&json!({ "token": token }));
        let ws = websocket(stream, transport, offer, &hello);
        assert!(ws.is_compressed, "the server agrees");
        Self::over(transport, addr, Down::WebSocket(ws)).greeted()
    }

    /// The first that comes is the welcome.
    pub fn greeted(mut self) -> Self {
        let mut line = self.line().expect("connected");
        assert!(line["connect"]["client"].is_string(), "no welcome: {line}");
        self.welcome = line["connect"].take();
        self
    }

    pub fn client(&self) -> &str {
        self.welcome["client"].as_str().expect("a name")
    }

    pub fn session(&self) -> &str {
        self.welcome["session"].as_str().expect("a session")
    }

    pub fn node(&self) -> &str {
        self.welcome["node"].as_str().expect("a node")
    }

    /// The socket that answers come on.
    pub fn stream(&self) -> &TcpStream {
        match &self.down {
            Down::WebSocket(ws) => &ws.stream,
            Down::Stream(http) => &http.stream,
        }
    }

    /// The request that brings commands for this session.
    pub fn emulation(&self, message: &[u8]) -> Vec<u8> {
        emulation(self.transport, self.node(), self.session(), message)
    }

    pub fn send(&mut self, commands: &[Value]) {
        let message = self.transport.message(commands);
        self.send_message(&message);
    }

    pub fn send_message(&mut self, message: &[u8]) {
        if let Down::WebSocket(ws) = &mut self.down {
            return ws.send(opcode(self.transport), message);
        }
        let request = self.emulation(message);
        let addr = self.addr;
        let up = self.up.get_or_insert_with(|| Http::open(addr));
        let answer = up.ask(&request);
        assert_eq!(
            (answer.status, answer.keeps_alive()),
            (204, true),
            "{answer:?}"
        );
    }

    /// Sends a command without waiting for its reply; returns its id.
    pub fn command(&mut self, method: &str, body: &Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&[json!({ "id": id, method: body })]);
        id
    }

    /// Asks and waits for the reply: its result, or the whole of it if it is an error.
    pub fn ask(&mut self, method: &str, body: &Value) -> Value {
        let id = self.command(method, body);
        let mut reply = self.reply(id);
        if reply["error"].is_null() {
            assert!(
                reply[method].is_object(),
                "not an answer to {method}: {reply}"
            );
            return reply[method].take();
        }
        reply
    }

    /// The reply with this id; pushes that come before it are kept.
    pub fn reply(&mut self, id: u64) -> Value {
        loop {
            let line = self.line().expect("connected until the reply");
            if line["id"] == id {
                return line;
            }
            assert!(line["push"].is_object(), "expected reply {id}: {line}");
            self.pushes.push_back(line);
        }
    }

    /// The next push, without its envelope.
    pub fn push(&mut self) -> Value {
        let line = self.pushes.pop_front();
        let mut line = line.unwrap_or_else(|| self.line().expect("connected until the push"));
        if self.transport.is_uni() {
            return line;
        }
        assert!(line["push"].is_object(), "expected a push: {line}");
        line["push"].take()
    }

    /// Whether no push has come up to now: an answer comes after it if one did.
    pub fn has_no_push(&mut self) -> bool {
        self.ask("ping", &json!({}));
        self.pushes.is_empty()
    }

    /// The next reply or push.
    pub fn line(&mut self) -> Result<Value, End> {
        let message = self.message()?;
        if self.transport.is_protobuf() {
            let reply = protobuf::reply(&message).expect("it is complete");
            return Ok(reply.0);
        }
        Ok(serde_json::from_slice(&message).expect("JSON"))
    }

    /// The same as it came: a line, or a message of protobuf with its length before it.
    pub fn message(&mut self) -> Result<Vec<u8>, End> {
        loop {
            let Some(message) = self.messages.pop_front() else {
                self.read()?;
                continue;
            };
            if message != b"{}" && message != [0] {
                return Ok(message);
            }
            self.pings += 1;
            if self.answers_pings && !self.transport.is_uni() {
                self.send(&[json!({})]);
            }
            if self.stop_after_pings == Some(self.pings) {
                return Err(End::Asked);
            }
        }
    }

    /// Everything up to the end, and the code that it ends with: a close frame's, or that of a push which is the last thing
    /// in a body that is complete.
    pub fn closed_with(&mut self) -> (Vec<Value>, u64) {
        let mut lines = Vec::new();
        let end = loop {
            match self.line() {
                Ok(line) => lines.push(line),
                Err(end) => break end,
            }
        };
        match (&mut self.down, end) {
            (Down::WebSocket(_), End::Code(Some(code))) => (lines, code.into()),
            (Down::Stream(http), End::Complete) => {
                assert!(http.is_closed(), "nothing follows the end");
                let last = lines.pop().expect("it is told why");
                let disconnect = if self.transport.is_uni() {
                    &last["disconnect"]
                } else {
                    &last["push"]["disconnect"]
                };
                let code = disconnect["code"].as_u64();
                let reason = disconnect["reason"].as_str().unwrap_or_default();
                assert!(!reason.is_empty(), "SDKs need a reason: {last}");
                (lines, code.unwrap_or_else(|| panic!("no code: {last}")))
            }
            other => panic!("ended with {other:?} after {lines:?}"),
        }
    }

    fn read(&mut self) -> Result<(), End> {
        match &mut self.down {
            Down::WebSocket(ws) => match ws.next() {
                Event::Text(text) => {
                    assert!(!self.transport.is_protobuf(), "text: {text}");
                    self.messages.extend(text.split('\n').map(Into::into));
                }
                Event::Binary(message) => {
                    assert!(self.transport.is_protobuf(), "binary: {message:?}");
                    self.partial = message;
                    self.replies();
                    assert!(
                        self.partial.is_empty(),
                        "replies are whole in their message"
                    );
                }
                Event::Close(code) => return Err(End::Code(code)),
                Event::End => return Err(End::Cut),
                other => panic!("not a Centrifuge message: {other:?}"),
            },
            Down::Stream(http) => match http.chunk() {
                Chunk::Data(data) => self.take(&data),
                Chunk::Cut => return Err(End::Cut),
                Chunk::Last => {
                    assert!(self.partial.is_empty() && self.events.is_idle());
                    return Err(End::Complete);
                }
            },
        }
        Ok(())
    }

    /// Takes a piece of the body.
    fn take(&mut self, data: &[u8]) {
        if self.transport.is_sse() {
            for event in self.events.read(data) {
                self.messages.extend(event.split('\n').map(Into::into));
            }
            return;
        }
        self.partial.extend_from_slice(data);
        if self.transport.is_protobuf() {
            return self.replies();
        }
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let rest = self.partial.split_off(end + 1);
            let mut line = std::mem::replace(&mut self.partial, rest);
            line.pop();
            self.messages.push_back(line);
        }
    }

    fn replies(&mut self) {
        while let Some(length) = protobuf::length(&self.partial) {
            self.messages
                .push_back(self.partial.drain(..length).collect());
        }
    }
}

/// A request that brings commands for a session elsewhere.
pub fn emulation(transport: Transport, node: &str, session: &str, message: &[u8]) -> Vec<u8> {
    if transport.is_protobuf() {
        let body = protobuf::emulation(node, session, message);
        let lines = "Content-Type: application/octet-stream\r\n";
        return request("POST", "/emulation", lines, &body);
    }
    let data = str::from_utf8(message).expect("JSON");
    let body = json!({ "session": session, "node": node, "data": data }).to_string();
    let lines = "Content-Type: application/json\r\n";
    request("POST", "/emulation", lines, body.as_bytes())
}

/// Posts something on a connection of its own.
pub fn post(addr: SocketAddr, request: &[u8]) -> Answer {
    Http::open(addr).ask(request)
}

/// A WebSocket with more header lines in its request, over which this has been said.
fn websocket(
    mut stream: TcpStream,
    transport: Transport,
    lines: &str,
    message: &[u8],
) -> WebSocket {
    let timeout = Some(Duration::from_secs(20));
    stream.set_read_timeout(timeout).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    let mut request = upgrade_request(transport.path());
    if transport.is_protobuf() {
        request += "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n";
    }
    request = request + lines + "\r\n";
    stream.write_all(request.as_bytes()).expect("is read");
    let mut ws = WebSocket::accepted(stream);
    ws.send(opcode(transport), message);
    ws
}

const fn opcode(transport: Transport) -> Opcode {
    if transport.is_protobuf() {
        Opcode::Binary
    } else {
        Opcode::Text
    }
}
