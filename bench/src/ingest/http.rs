//! An HTTP/1.1 connection to the control API, kept alive.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;

use super::account::Ledger;
use super::connection::Connection;
use super::script::{Line, Script, payload};
use super::{IngestError, Link, Part, Plan};
use crate::http;

#[derive(Debug)]
pub(super) struct HttpLink {
    connection: Connection,
    ledger: Ledger,
    rooms: Vec<(usize, Arc<str>)>,
    /// Requests one after the other.
    script: Script,
    /// Where each request ends, and how many lines there are up to it.
    requests: Vec<(usize, usize)>,
    /// The request that is sent next.
    request: usize,
    is_batch: bool,
    members_reached: u64,
}

#[derive(Deserialize)]
struct Published {
    offset: u64,
    members: Members,
}

#[derive(Deserialize)]
struct Members {
    total: u32,
}

#[derive(Deserialize)]
struct Single {
    result: Published,
}

#[derive(Deserialize)]
struct Batch {
    result: Replies,
}

#[derive(Deserialize)]
struct Replies {
    replies: Vec<Reply>,
}

#[derive(Deserialize)]
struct Reply {
    publish: Published,
}

impl HttpLink {
    /// With so many publications in a request, or one and no batch.
    pub(super) fn open(
        plan: &Plan,
        rooms: Vec<(usize, Arc<str>)>,
        batch: Option<u32>,
    ) -> Result<Self, IngestError> {
        let per_request = usize::try_from(batch.unwrap_or(1).max(1)).unwrap_or(usize::MAX);
        let mut script = Script::default();
        let mut requests = Vec::new();
        // Whole rounds of the rooms in whole requests, so that each line belongs to one of the rooms for good.
        let mut names = rooms.iter().map(|(_, room)| &**room).cycle();
        for _ in 0..rooms.len() / gcd(rooms.len(), per_request) {
            let names = names.by_ref().take(per_request);
            write_request(&mut script, plan, names, batch.is_some());
            requests.push((script.bytes.len(), script.lines.len()));
        }
        Ok(Self {
            connection: Connection::open(plan.target)?,
            ledger: Ledger::new(rooms.len(), per_request),
            rooms,
            script,
            requests,
            request: 0,
            is_batch: batch.is_some(),
            members_reached: 0,
        })
    }

    fn answered(&mut self, number: u64, published: &Published) -> Result<(), IngestError> {
        self.members_reached += u64::from(published.members.total);
        Ok(self.ledger.acknowledge(number, published.offset)?)
    }
}

impl Link for HttpLink {
    fn fill(&mut self) -> Result<u64, IngestError> {
        if self.ledger.unanswered() > 0 {
            return Ok(0);
        }
        let (start, first_line) = match self.request {
            0 => (0, 0),
            request => self.requests[request - 1],
        };
        let (end, end_line) = self.requests[self.request];
        let rooms = self.rooms.len() as u64;
        let first = self.ledger.next();
        for (number, line) in (first..).zip(&self.script.lines[first_line..end_line]) {
            line.stamp(&mut self.script.bytes, number / rooms + 1);
        }
        self.connection.send(&self.script.bytes[start..end])?;
        self.ledger.sent(end_line - first_line);
        self.request = (self.request + 1) % self.requests.len();
        Ok((end_line - first_line) as u64)
    }

    fn take(&mut self) -> Result<u64, IngestError> {
        let answer = loop {
            if let Some(answer) = http::answer(self.connection.received())? {
                break answer;
            }
            self.connection.receive()?;
        };
        let text = &self.connection.received()[answer.body.clone()];
        let first = self.ledger.next() - self.ledger.unanswered();
        let refused = || IngestError::Refused(String::from_utf8_lossy(text).into_owned());
        // Other successes promise less than that it is done.
        if answer.status != 200 {
            return Err(refused());
        }
        let answers = if self.is_batch {
            let batch: Batch = serde_json::from_slice(text).map_err(|_| refused())?;
            let replies = batch.result.replies.into_iter();
            replies.map(|reply| reply.publish).collect()
        } else {
            let single: Single = serde_json::from_slice(text).map_err(|_| refused())?;
            vec![single.result]
        };
        if answers.len() as u64 != self.ledger.unanswered() {
            return Err(IngestError::Protocol(format!(
                "{} replies to {} publications",
                answers.len(),
                self.ledger.unanswered()
            )));
        }
        self.connection.used(answer.body.end);
        for (number, published) in (first..).zip(&answers) {
            self.answered(number, published)?;
        }
        Ok(answers.len() as u64)
    }

    fn unanswered(&self) -> u64 {
        self.ledger.unanswered()
    }

    fn finish(self) -> Part {
        Part::of(&self.rooms, &self.ledger, self.members_reached)
    }
}

/// Appends a request that publishes once to each of these rooms. They need no escaping: see [`Plan::rooms`].
fn write_request<'r>(
    script: &mut Script,
    plan: &Plan,
    rooms: impl Iterator<Item = &'r str>,
    is_batch: bool,
) {
    let data = payload(1, plan.payload_bytes);
    let json = String::from_utf8_lossy(&data);
    let mut body = String::new();
    // Where the payloads begin, in the body.
    let mut payloads = Vec::new();
    if is_batch {
        body.push_str(r#"{"parallel":true,"commands":["#);
    }
    for (index, room) in rooms.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // A String does not fail to be written to.
        let _ = match is_batch {
            true => write!(body, r#"{comma}{{"publish":{{"channel":"{room}","data":"#),
            false => write!(body, r#"{{"channel":"{room}","data":"#),
        };
        payloads.push(body.len());
        body.push_str(&json);
        body.push_str(if is_batch { "}}" } else { "}" });
    }
    if is_batch {
        body.push_str("]}");
    }
    let method = if is_batch { "batch" } else { "publish" };
    let headers = format!(
        "X-API-Key: {}\r\nContent-Type: application/json\r\n",
        plan.key
    );
    let start = script.bytes.len();
    let path = format!("/api/{method}");
    http::write_post(&mut script.bytes, &path, &headers, body.as_bytes());
    let end = script.bytes.len();
    let body_at = end - body.len();
    script.lines.extend(payloads.into_iter().map(|at| Line {
        start,
        end,
        payload_at: body_at + at,
        payload_bytes: data.len(),
    }));
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::Way;
    use super::*;

    fn plan() -> Plan {
        Plan {
            way: Way::Http,
            target: ([127, 0, 0, 1], 8001).into(),
            key: "key".to_owned(),
            rooms: Vec::new(),
            payload_bytes: 10,
            links: 1,
            threads: 1,
        }
    }

    fn text(script: &Script) -> &str {
        std::str::from_utf8(&script.bytes).expect("text")
    }

    #[test]
    fn requests_are_whole_and_their_payloads_can_be_numbered() {
        let mut single = Script::default();
        write_request(&mut single, &plan(), ["a"].into_iter(), false);
        single.lines[0].stamp(&mut single.bytes, 42);
        assert!(
            text(&single)
                .ends_with("Content-Length: 33\r\n\r\n{\"channel\":\"a\",\"data\":{\"t\":1042}}")
        );
        let mut batch = Script::default();
        write_request(&mut batch, &plan(), ["a", "b"].into_iter(), true);
        batch.lines[1].stamp(&mut batch.bytes, 7);
        let (_, body) = text(&batch).split_once("\r\n\r\n").expect("a head");
        let expected = r#"{"parallel":true,"commands":[{"publish":{"channel":"a","data":{"t":1001}}},{"publish":{"channel":"b","data":{"t":1007}}}]}"#;
        assert_eq!(body, expected);
        assert!(text(&batch).contains(&format!("Content-Length: {}\r\n", expected.len())));
    }
}
