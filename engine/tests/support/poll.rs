//! A client that polls: each request on a connection of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// A request on a connection of its own: its status and its body.
pub fn ask_alone(addr: SocketAddr, line: &str, body: &str) -> (u16, String) {
    answer_of(&mut send_alone(addr, line, body))
}

pub fn send_alone(addr: SocketAddr, line: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("the engine listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    stream
}

pub fn answer_of(stream: &mut TcpStream) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// A client that polls.
#[derive(Debug)]
pub struct Poller {
    addr: SocketAddr,
    pub session: String,
    node: String,
    last_id: u32,
}

impl Poller {
    pub fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, "").1
    }

    /// Opens a session with a token. Returns the reply too.
    pub fn connect_with(addr: SocketAddr, token: &str) -> (Value, Self) {
        let command = json!({ "id": 1, "connect": { "token": token } }).to_string();
        let (status, body) = ask_alone(addr, "POST /poll/connect", &command);
        assert_eq!(status, 200, "{body}");
        let reply: Value = serde_json::from_str(&body).expect("a reply");
        let text = |name: &str| reply["connect"][name].as_str().expect("is told").to_owned();
        assert_eq!(
            reply["connect"].get("pong"),
            None,
            "nothing has to be answered"
        );
        let poller = Self {
            addr,
            session: text("session"),
            node: text("node"),
            last_id: 1,
        };
        (reply, poller)
    }

    pub fn command(&mut self, method: &str, body: &Value) {
        self.last_id += 1;
        self.send(&json!({ "id": self.last_id, method: body }).to_string());
    }

    /// Sends commands, a line each.
    pub fn send(&self, commands: &str) {
        let upstream = json!({ "session": self.session, "node": self.node, "data": commands });
        let (status, _) = ask_alone(self.addr, "POST /poll/send", &upstream.to_string());
        assert_eq!(status, 204);
    }

    pub fn receive_line(&self, timeout_s: u32) -> String {
        format!(
            "GET /poll/receive?session={}&timeout={timeout_s}",
            self.session
        )
    }

    /// What there is to hear, as soon as there is something.
    pub fn receive(&self) -> Vec<Value> {
        let body = self.receive_text();
        body.lines()
            .map(|line| serde_json::from_str(line).expect("a line is a reply"))
            .collect()
    }

    /// The same as it came: a line each.
    pub fn receive_text(&self) -> String {
        let (status, body) = ask_alone(self.addr, &self.receive_line(60), "");
        assert_eq!(status, 200, "{body}");
        body
    }

    pub fn join(&mut self, room: &str) {
        self.command("subscribe", &json!({ "channel": room }));
        let replies = self.receive();
        assert_eq!(replies.len(), 1, "{replies:?}");
        assert!(replies[0].get("subscribe").is_some(), "{replies:?}");
    }
}
