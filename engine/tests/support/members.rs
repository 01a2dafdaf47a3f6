//! A member of a room in every dialect that there is. A further dialect is one more entry in [`DIALECTS`].

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use fanfare_engine::api::Reached;
use fanfare_wire::fossil::apply_delta;
use fanfare_wire::native::{Subscribe, write_client_pong, write_subscribe};
use serde_json::json;
use serde_json::value::RawValue;

use super::goim::{Form, Goim, Told};
use super::native::{Client, Frame};
use super::poll::Poller;
use super::protobuf;
use super::sdk::{Sdk, Transport};
use super::view::View;
use super::websocket::Frames;

/// Someone in a room.
pub trait Member: Send {
    /// The payload of the next publication, as the dialect has it. Nothing else may come.
    fn hear(&mut self) -> Vec<u8>;

    /// Is no member any more.
    fn leave(self: Box<Self>) {}
}

/// A way to be a member.
#[derive(Debug)]
pub struct Dialect {
    pub name: &'static str,
    /// What it makes of payloads.
    pub view: View,
    /// Where it is counted.
    pub count: fn(&mut Reached) -> &mut u32,
    /// Becomes a member of a room. The engine may come to count it a moment later.
    pub join: fn(SocketAddr, &str) -> Box<dyn Member>,
}

const fn dialect(
    name: &'static str,
    view: View,
    count: fn(&mut Reached) -> &mut u32,
    join: fn(SocketAddr, &str) -> Box<dyn Member>,
) -> Dialect {
    Dialect {
        name,
        view,
        count,
        join,
    }
}

pub static DIALECTS: [Dialect; 20] = [
    dialect(
        "native TCP",
        View::Bytes,
        |reached| &mut reached.native,
        |addr, room| {
            let mut client = Client::connect(addr, "");
            client.join(room);
            Box::new(client)
        },
    ),
    dialect(
        "native WebSocket",
        View::Bytes,
        |reached| &mut reached.native_websocket,
        native_websocket,
    ),
    dialect("Centrifuge JSON", View::Json, json, |addr, room| {
        centrifuge(plain(addr, Transport::WebSocket), room, false)
    }),
    dialect("Centrifuge JSON, deltas", View::Json, json, |addr, room| {
        centrifuge(plain(addr, Transport::WebSocket), room, true)
    }),
    dialect(
        "Centrifuge JSON, compressed",
        View::Json,
        json,
        |addr, room| centrifuge(compressed(addr, Transport::WebSocket), room, false),
    ),
    dialect(
        "Centrifuge protobuf",
        View::Bytes,
        protobuf,
        |addr, room| centrifuge(plain(addr, Transport::WebSocketProtobuf), room, false),
    ),
    dialect(
        "Centrifuge protobuf, compressed",
        View::Bytes,
        protobuf,
        |addr, room| {
            let client = compressed(addr, Transport::WebSocketProtobuf);
            centrifuge(client, room, false)
        },
    ),
    dialect(
        "Centrifuge protobuf, deltas",
        View::Bytes,
        protobuf,
        |addr, room| centrifuge(plain(addr, Transport::WebSocketProtobuf), room, true),
    ),
    dialect("SSE", View::Json, json, |addr, room| {
        centrifuge(plain(addr, Transport::Sse), room, false)
    }),
    dialect("HTTP stream, JSON", View::Json, json, |addr, room| {
        centrifuge(plain(addr, Transport::HttpStream), room, false)
    }),
    dialect("HTTP stream, deltas", View::Json, json, |addr, room| {
        centrifuge(plain(addr, Transport::HttpStream), room, true)
    }),
    dialect(
        "HTTP stream, protobuf",
        View::Bytes,
        protobuf,
        |addr, room| centrifuge(plain(addr, Transport::HttpStreamProtobuf), room, false),
    ),
    dialect(
        "unidirectional WebSocket",
        View::Json,
        unidirectional,
        |addr, room| listener(addr, Transport::UniWebSocket, room),
    ),
    dialect(
        "unidirectional SSE",
        View::Json,
        unidirectional,
        |addr, room| listener(addr, Transport::UniSse, room),
    ),
    dialect(
        "unidirectional HTTP stream",
        View::Json,
        unidirectional,
        |addr, room| listener(addr, Transport::UniHttpStream, room),
    ),
    dialect(
        "long-poll",
        View::Json,
        |reached| &mut reached.long_poll,
        |addr, room| {
            let mut poller = Poller::connect(addr);
            poller.join(room);
            let (room, lines) = (room.into(), VecDeque::new());
            Box::new(Polling {
                poller,
                room,
                lines,
            })
        },
    ),
    dialect(
        "goim TCP",
        View::Bytes,
        |reached| &mut reached.goim,
        |addr, room| goim(addr, Form::Tcp, 2, &format!(r#"{{"room_id":"{room}"}}"#)),
    ),
    dialect(
        "goim WebSocket",
        View::Bytes,
        |reached| &mut reached.goim,
        |addr, room| {
            let body = format!(r#"{{"rooms":["{room}"]}}"#);
            goim(addr, Form::WebSocket, 2, &body)
        },
    ),
    dialect(
        "goim v1 TCP",
        View::Bytes,
        |reached| &mut reached.goim_v1,
        |addr, room| goim(addr, Form::Tcp, 1, &token(room)),
    ),
    dialect(
        "goim v1 WebSocket",
        View::GoimJson,
        |reached| &mut reached.goim_v1,
        |addr, room| goim(addr, Form::Json, 1, &format!("\"{}\"", token(room))),
    ),
];

const fn json(reached: &mut Reached) -> &mut u32 {
    &mut reached.centrifuge_json
}

const fn protobuf(reached: &mut Reached) -> &mut u32 {
    &mut reached.centrifuge_protobuf
}

const fn unidirectional(reached: &mut Reached) -> &mut u32 {
    &mut reached.unidirectional
}

/// A token of [`Scripted`](super::Scripted) with which the server makes its user a member of a room.
fn token(room: &str) -> String {
    format!("ann room={room}")
}

// -- native

impl Member for Client {
    fn hear(&mut self) -> Vec<u8> {
        self.publication().1
    }
}

fn native_websocket(addr: SocketAddr, room: &str) -> Box<dyn Member> {
    let mut client = Frames::connect(addr, "");
    let wish = Subscribe {
        request: 1,
        room,
        token: "",
        recover: false,
        epoch: 0,
        offset: 0,
    };
    client.send(|out| write_subscribe(out, &wish));
    assert!(matches!(client.next(), Frame::Subscribed { .. }));
    Box::new(client)
}

impl Member for Frames {
    fn hear(&mut self) -> Vec<u8> {
        loop {
            match self.next() {
                Frame::Publication { data, .. } => return data,
                Frame::Ping => self.send(write_client_pong),
                other => panic!("expected a publication: {other:?}"),
            }
        }
    }
}

// -- Centrifuge

fn plain(addr: SocketAddr, transport: Transport) -> Sdk {
    Sdk::connect(addr, transport, "")
}

fn compressed(addr: SocketAddr, transport: Transport) -> Sdk {
    Sdk::connect_compressed(addr, transport, "")
}

fn centrifuge(mut client: Sdk, room: &str, wants_deltas: bool) -> Box<dyn Member> {
    let mut wish = json!({ "channel": room });
    if wants_deltas {
        wish["delta"] = json!("fossil");
    }
    let answer = client.ask("subscribe", &wish);
    assert_eq!(answer["delta"] == true, wants_deltas, "{answer}");
    Box::new(Centrifuge {
        client,
        before: wants_deltas.then(Vec::new),
    })
}

fn listener(addr: SocketAddr, transport: Transport, room: &str) -> Box<dyn Member> {
    let client = Sdk::connect(addr, transport, &token(room));
    assert!(client.welcome["subs"][room].is_object(), "is a member");
    let before = None;
    Box::new(Centrifuge { client, before })
}

struct Centrifuge {
    client: Sdk,
    /// The whole of the last publication, if differences are taken from it.
    before: Option<Vec<u8>>,
}

impl Member for Centrifuge {
    fn hear(&mut self) -> Vec<u8> {
        let message = self.client.message().expect("connected");
        let is_protobuf = self.client.transport.is_protobuf();
        let publication = if is_protobuf {
            protobuf::publication(&message)
        } else {
            json_publication(&message)
        };
        let Some((data, is_delta)) = publication else {
            panic!("nobody asked for {}", String::from_utf8_lossy(&message))
        };
        let Some(before) = &mut self.before else {
            assert!(!is_delta, "it did not ask for differences");
            return data.to_vec();
        };
        let data = if is_protobuf {
            data.to_vec()
        } else {
            let text: String = serde_json::from_slice(data).expect("with deltas, all are texts");
            text.into_bytes()
        };
        *before = if is_delta {
            apply_delta(before, &data, 1 << 20).expect("a difference")
        } else {
            data
        };
        before.clone()
    }
}

/// The data of a push that is a publication, as it stands there, and whether it is a difference; of a reply, or of a push
/// alone.
fn json_publication(line: &[u8]) -> Option<(&[u8], bool)> {
    let line = fields(line);
    let push = match line.get("push") {
        Some(push) => fields(push),
        None => line,
    };
    let publication = fields(push.get("pub")?);
    let is_delta = publication.get("delta") == Some(&&b"true"[..]);
    Some((publication["data"], is_delta))
}

fn fields(object: &[u8]) -> BTreeMap<&str, &[u8]> {
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(object).expect("an object");
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (name, value.get().as_bytes()))
        .collect()
}

struct Polling {
    poller: Poller,
    room: String,
    lines: VecDeque<String>,
}

impl Member for Polling {
    fn hear(&mut self) -> Vec<u8> {
        loop {
            let Some(line) = self.lines.pop_front() else {
                let text = self.poller.receive_text();
                self.lines.extend(text.lines().map(str::to_owned));
                continue;
            };
            let publication = json_publication(line.as_bytes());
            let publication = publication.unwrap_or_else(|| panic!("nobody asked for {line}"));
            return publication.0.to_vec();
        }
    }

    fn leave(mut self: Box<Self>) {
        let room = json!({ "channel": self.room });
        self.poller.command("unsubscribe", &room);
    }
}

// -- goim

struct GoimMember {
    client: Goim,
    /// The version and the operation of all pushes.
    push: (i16, i32),
}

fn goim(addr: SocketAddr, form: Form, version: u8, auth: &str) -> Box<dyn Member> {
    let client = Goim::connect(addr, form, auth);
    // Of version 2, the configured operation.
    let push = if version == 2 { (1, 1000) } else { (0, 5) };
    Box::new(GoimMember { client, push })
}

impl Member for GoimMember {
    fn hear(&mut self) -> Vec<u8> {
        let told = self.client.next();
        let Told::Frame(frame) = told else {
            panic!("expected a push: {told:?}")
        };
        assert_eq!((frame.version, frame.operation), self.push, "{frame:?}");
        assert_eq!(frame.seq, 0, "nobody asked for {frame:?}");
        frame.body
    }
}
