//! `fanfare tail`: a client of the native protocol over TCP, which prints what a room receives.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_engine::api::Position;
use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode};
use fanfare_wire::native::{self, Hello, ServerFrame, Subscribe, Subscribed};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::{Common, TailArgs, reachable};
use crate::config;
use crate::exit::{Failure, say};
use crate::tokens::{Minted, mint};

/// For connecting, and until the server says how often it pings.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest archive accepted from the server; above the largest payload that can be configured.
const ARCHIVE_BYTES_MAX: u32 = 32 << 20;

const READ_BYTES: usize = 65_536;

/// The number of the one request made here.
const SUBSCRIBE: u32 = 1;

/// The user and the lifetime of the token that is made when none is given.
const USER: &str = "fanfare-tail";
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3_600);

/// Joins the room and prints until the count is reached or the server ends it.
pub(crate) fn run(common: &Common, args: &TailArgs) -> Result<(), Failure> {
    let (server, token) = target(common, args)?;
    let stream = connect(&server)?;
    let mut tail = Tail {
        stream,
        server,
        args,
        room: None,
        epoch: 0,
        left: args.count,
    };
    tail.send(|out| {
        let client_name = concat!("fanfare-tail/", env!("CARGO_PKG_VERSION"));
        native::write_hello(
            out,
            &Hello {
                token: &token,
                client_name,
            },
        );
    })?;
    tail.follow()
}

/// `epoch:offset`, as `fanfare tail` prints it when it joins.
pub(crate) fn parse_position(text: &str) -> Result<Position, String> {
    let position = text.split_once(':').and_then(|(epoch, offset)| {
        let (epoch, offset) = (epoch.parse().ok()?, offset.parse().ok()?);
        Some(Position { epoch, offset })
    });
    position.ok_or_else(|| "expected two numbers, such as 1094861636:41".to_owned())
}

/// Where to connect and as whom; the configuration is read only for what the command line leaves open.
fn target(common: &Common, args: &TailArgs) -> Result<(String, String), Failure> {
    if let (Some(server), Some(token)) = (&args.server, &args.token) {
        return Ok((server.clone(), token.clone()));
    }
    let settings = config::from_command_line(common)?.settings;
    let configured = || {
        settings
            .client
            .addresses
            .first()
            .map(|address| reachable(*address).to_string())
    };
    let server = args.server.clone().or_else(configured);
    let server = server
        .ok_or_else(|| Failure::config("client.addresses is empty: name one with --server"))?;
    let token = match &args.token {
        Some(token) => token.clone(),
        None => mint(
            &settings,
            &Minted {
                user: USER,
                ttl: TOKEN_TTL,
                rooms: std::slice::from_ref(&args.room),
                may_publish: false,
            },
        )?,
    };
    Ok((server, token))
}

fn connect(server: &str) -> Result<TcpStream, Failure> {
    let refuse = |error: io::Error| {
        Failure::runtime(format!(
            "cannot reach clients' port at {server}: {error}. Is the server running?"
        ))
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs().map_err(refuse)? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT)).map_err(refuse)?;
                stream.set_write_timeout(Some(TIMEOUT)).map_err(refuse)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(refuse(last))
}

/// The connection, and what is left to do with it.
#[derive(Debug)]
struct Tail<'a> {
    stream: TcpStream,
    server: String,
    args: &'a TailArgs,
    /// The room's number on this connection, once it is joined.
    room: Option<u32>,
    /// Names the numbering of the room's messages.
    epoch: u64,
    /// Messages to go, if they are counted.
    left: Option<u64>,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Read,
    Stop,
}

impl Tail<'_> {
    fn follow(&mut self) -> Result<(), Failure> {
        let mut received = Vec::new();
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let mut done = 0;
            while let Some((frame, used)) =
                native::decode_server(&received[done..], ARCHIVE_BYTES_MAX).map_err(|error| {
                    Failure::runtime(format!(
                        "{} does not speak as expected: {error}",
                        self.server
                    ))
                })?
            {
                if self.handle(&frame)? == Next::Stop {
                    return Ok(());
                }
                done += used;
            }
            received.drain(..done);
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    return Err(Failure::runtime(format!(
                        "{} closed the connection",
                        self.server
                    )));
                }
                Ok(count) => received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Err(Failure::runtime(format!("{} has gone silent", self.server)));
                }
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    fn handle(&mut self, frame: &ServerFrame<'_>) -> Result<Next, Failure> {
        match frame {
            ServerFrame::Welcome(welcome) => {
                let ping_interval = Duration::from_millis(u64::from(welcome.ping_interval_ms));
                let silence = (!ping_interval.is_zero()).then_some(ping_interval + TIMEOUT);
                self.stream
                    .set_read_timeout(silence)
                    .map_err(|error| self.lost(&error))?;
                self.subscribe()?;
            }
            ServerFrame::Subscribed(subscribed) if subscribed.request == SUBSCRIBE => {
                self.joined(subscribed)
            }
            ServerFrame::Publication(publication) if self.room == Some(publication.room) => {
                return self.print(Some(publication.offset), publication.data);
            }
            ServerFrame::Message(message) => return self.print(None, message.data),
            ServerFrame::Gap(gap) if self.room == Some(gap.room) => {
                say(format_args!(
                    "missed {} to {}: this reader was too slow",
                    gap.from, gap.to
                ));
            }
            ServerFrame::Unsubscribed(left) if self.room == Some(left.room) => {
                return Err(Failure::runtime(format!(
                    "removed from the room: {} ({})",
                    left.reason, left.code
                )));
            }
            ServerFrame::Error(error) => return Err(refused(error.code, error.message)),
            ServerFrame::Disconnect(ended) => return Err(disconnected(ended.code, ended.reason)),
            ServerFrame::Ping => self.send(native::write_client_pong)?,
            // Rooms that the token subscribes to, and answers to what is not asked here.
            ServerFrame::Subscribed(_)
            | ServerFrame::Publication(_)
            | ServerFrame::Gap(_)
            | ServerFrame::Unsubscribed(_)
            | ServerFrame::Ack(_)
            | ServerFrame::Pong => {}
        }
        Ok(Next::Read)
    }

    fn subscribe(&mut self) -> Result<(), Failure> {
        let since = self.args.recover;
        let position = since.unwrap_or_default();
        let room = &self.args.room;
        self.send(|out| {
            let request = Subscribe {
                request: SUBSCRIBE,
                room,
                token: "",
                recover: since.is_some(),
                epoch: position.epoch,
                offset: position.offset,
            };
            native::write_subscribe(out, &request);
        })
    }

    /// Tells where the room is in a form that `--recover` takes.
    fn joined(&mut self, subscribed: &Subscribed<'_>) {
        self.room = Some(subscribed.room);
        self.epoch = subscribed.epoch;
        let position = format!("{}:{}", subscribed.epoch, subscribed.offset);
        say(format_args!("joined {} at {position}", self.args.room));
        if subscribed.was_recovering && !subscribed.recovered {
            say(format_args!(
                "what was missed could not be recovered; continuing from {position}"
            ));
        }
    }

    fn print(&mut self, offset: Option<u64>, data: &[u8]) -> Result<Next, Failure> {
        let place = offset.map(|offset| Place {
            room: &self.args.room,
            epoch: self.epoch.to_string(),
            offset,
        });
        let line = match self.args.json {
            true => json_line(place, data)?,
            false => text_line(data),
        };
        let mut out = io::stdout().lock();
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            Failure::of_output(&error)?;
            return Ok(Next::Stop);
        }
        let Some(left) = &mut self.left else {
            return Ok(Next::Read);
        };
        *left -= 1;
        Ok(if *left == 0 { Next::Stop } else { Next::Read })
    }

    fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Failure> {
        let mut out = Vec::new();
        write(&mut out);
        self.stream
            .write_all(&out)
            .map_err(|error| self.lost(&error))
    }

    fn lost(&self, error: &io::Error) -> Failure {
        Failure::runtime(format!("the connection to {} failed: {error}", self.server))
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    place: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b64data: Option<String>,
}

/// Where a message stands: with epoch and offset, `--recover` goes on after it.
#[derive(Serialize)]
struct Place<'a> {
    room: &'a str,
    /// A string, for numbers of JSON end at 2^53.
    epoch: String,
    offset: u64,
}

/// The data as it is, if it is one line of text.
fn text_line(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => STANDARD.encode(data),
    }
}

fn json_line(place: Option<Place<'_>>, data: &[u8]) -> Result<String, Failure> {
    let json: Option<&RawValue> = serde_json::from_slice(data).ok();
    let json = json.filter(|json| !json.get().contains(['\n', '\r']));
    let line = Line {
        place,
        data: json,
        b64data: json.is_none().then(|| STANDARD.encode(data)),
    };
    serde_json::to_string(&line).map_err(Failure::internal)
}

fn refused(code: u16, message: &str) -> Failure {
    let text = format!("the server refused: {message} ({code})");
    let permissions = [
        ErrorCode::UNAUTHORIZED,
        ErrorCode::PERMISSION_DENIED,
        ErrorCode::TOKEN_EXPIRED,
        ErrorCode::EXPIRED,
    ];
    match permissions.iter().any(|known| known.number() == code) {
        true => Failure::permission(text),
        false => Failure::runtime(text),
    }
}

fn disconnected(code: u16, reason: &str) -> Failure {
    let text = format!("disconnected: {reason} ({code})");
    let permissions = [
        DisconnectCode::INVALID_TOKEN,
        DisconnectCode::PERMISSION_DENIED,
    ];
    match permissions.iter().any(|known| known.number() == code) {
        true => Failure::permission(text),
        false => Failure::runtime(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_two_numbers() {
        assert_eq!(
            parse_position("18446744073709551615:41"),
            Ok(Position {
                epoch: u64::MAX,
                offset: 41
            })
        );
        for wrong in ["", "1", "1:", ":1", "a:1", "1:-1", "1:2:3"] {
            assert!(parse_position(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(text_line(br#"{"text":"hi"}"#), r#"{"text":"hi"}"#);
        assert_eq!(text_line("grüße".as_bytes()), "grüße");
        assert_eq!(text_line(b"a\nb\x1b[2J"), "a\\nb\\u{1b}[2J");
        assert_eq!(text_line(b"\xff\0"), "/wA=");
    }

    #[test]
    fn json_lines_carry_room_and_offset() {
        let line = |data: &[u8]| {
            let place = Place {
                room: "demo",
                epoch: "5".to_owned(),
                offset: 7,
            };
            json_line(Some(place), data).expect("a line")
        };
        assert_eq!(
            line(b"{\"a\":1.0}"),
            r#"{"room":"demo","epoch":"5","offset":7,"data":{"a":1.0}}"#
        );
        assert_eq!(
            line(b"not json"),
            r#"{"room":"demo","epoch":"5","offset":7,"b64data":"bm90IGpzb24="}"#
        );
        assert_eq!(json_line(None, b"1").expect("a line"), r#"{"data":1}"#);
    }
}
