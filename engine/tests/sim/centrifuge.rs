//! Centrifuge clients: JSON over WebSocket. Replies are read with a general JSON parser, not with code of the engine.

use std::collections::BTreeMap;

use fanfare_wire::ws;
use serde_json::{Value, json};

use super::dialect::{Command, Dialect, Event, Position, Publication, Subscribed};
use super::ledger::Room;
use super::socket::WebSocket;

/// A Centrifuge client.
#[derive(Debug)]
pub(crate) struct Centrifuge {
    socket: WebSocket,
    asked: BTreeMap<u32, Room>,
}

/// The request that introduces the client; others are numbered from [`FIRST_REQUEST`](super::client::FIRST_REQUEST).
const CONNECT: u32 = 1;

impl Centrifuge {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            socket: WebSocket::new("/connection/websocket", seed),
            asked: BTreeMap::new(),
        }
    }
}

impl Dialect for Centrifuge {
    fn open(&mut self, out: &mut Vec<u8>) {
        self.socket.open(out);
    }

    fn write(&mut self, out: &mut Vec<u8>, command: &Command<'_>) {
        if let Command::Subscribe { request, room, .. } | Command::Unsubscribe { request, room } =
            *command
        {
            self.asked.insert(request, room.into());
        }
        let text = match *command {
            Command::Connect { token } => {
                json!({"id": CONNECT, "connect": {"token": token, "name": "sim"}}).to_string()
            }
            Command::Subscribe {
                request,
                room,
                recover: None,
            } => json!({"id": request, "subscribe": {"channel": room}}).to_string(),
            Command::Subscribe {
                request,
                room,
                recover: Some(Position { epoch, offset }),
            } => {
                let recover = json!({"channel": room, "recover": true, "epoch": epoch.to_string(), "offset": offset});
                json!({"id": request, "subscribe": recover}).to_string()
            }
            Command::Unsubscribe { request, room } => {
                json!({"id": request, "unsubscribe": {"channel": room}}).to_string()
            }
            Command::Publish {
                request,
                room,
                data,
            } => {
                // As it is, so that its bytes can be compared.
                let data = std::str::from_utf8(data).expect("payloads of the simulation are JSON");
                format!(
                    r#"{{"id":{request},"publish":{{"channel":{},"data":{data}}}}}"#,
                    json!(room)
                )
            }
            Command::Presence { request, room } => {
                json!({"id": request, "presence": {"channel": room}}).to_string()
            }
            Command::History { request, room } => {
                json!({"id": request, "history": {"channel": room, "limit": 10}}).to_string()
            }
            Command::Ping => unreachable!("only the server pings"),
            Command::Pong => "{}".to_owned(),
        };
        self.socket.write(out, ws::Opcode::Text, text.as_bytes());
    }

    fn read(&mut self, input: &mut Vec<u8>, events: &mut Vec<Event>) -> Result<(), String> {
        let Self { socket, asked } = self;
        socket.read(input, events, |message, events| {
            for line in message
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                let reply: Value =
                    serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
                events.extend(event(&reply, asked).ok_or_else(|| format!("not a reply: {reply}"))?);
            }
            Ok(())
        })
    }
}

/// `None`: nothing a server may say. An empty list: nothing of interest.
fn event(reply: &Value, asked: &mut BTreeMap<u32, Room>) -> Option<Vec<Event>> {
    let fields = reply.as_object()?;
    if fields.is_empty() {
        return Some(vec![Event::Ping]);
    }
    if let Some(push) = reply.get("push") {
        return pushed(push);
    }
    let request = u32::try_from(reply.get("id")?.as_u64()?).ok()?;
    let asked = asked.remove(&request);
    if let Some(error) = reply.get("error") {
        let code = u16::try_from(error.get("code")?.as_u64()?).ok()?;
        return Some(vec![Event::Failed { request, code }]);
    }
    Some(vec![if let Some(connect) = reply.get("connect") {
        Event::Connected {
            client: connect.get("client")?.as_str()?.to_owned(),
        }
    } else if let Some(subscribe) = reply.get("subscribe") {
        Event::Subscribed(subscribed(request, asked?, subscribe)?)
    } else if reply.get("unsubscribe").is_some() {
        Event::Unsubscribed {
            request,
            room: asked?,
        }
    } else if reply.get("publish").is_some() {
        Event::Published {
            request,
            position: None,
        }
    } else if reply.get("presence").is_some() || reply.get("history").is_some() {
        Event::Answered { request }
    } else {
        return None;
    }])
}

fn pushed(push: &Value) -> Option<Vec<Event>> {
    let room = || push.get("channel").and_then(Value::as_str).map(Room::from);
    Some(vec![if let Some(publication) = push.get("pub") {
        Event::Publication {
            room: room()?,
            publication: read_publication(publication)?,
        }
    } else if push.get("join").is_some() || push.get("leave").is_some() {
        return Some(Vec::new());
    } else if push.get("unsubscribe").is_some() {
        Event::Unsubscribed {
            request: 0,
            room: room()?,
        }
    } else if let Some(subscribe) = push.get("subscribe") {
        Event::Subscribed(subscribed(0, room()?, subscribe)?)
    } else if let Some(message) = push.get("message") {
        Event::Message {
            data: message.get("data")?.to_string().into_bytes(),
        }
    } else if let Some(disconnect) = push.get("disconnect") {
        Event::Disconnected {
            code: u16::try_from(disconnect.get("code")?.as_u64()?).ok()?,
        }
    } else {
        return None;
    }])
}

fn subscribed(request: u32, room: Room, fields: &Value) -> Option<Subscribed> {
    let flag = |name: &str| fields.get(name).is_some_and(|value| value == true);
    let offset = fields.get("offset").map_or(Some(0), Value::as_u64)?;
    let position = match fields.get("epoch") {
        Some(epoch) => Some(Position {
            epoch: epoch.as_str()?.parse().ok()?,
            offset,
        }),
        None => None,
    };
    let publications = match fields.get("publications") {
        Some(publications) => publications
            .as_array()?
            .iter()
            .map(read_publication)
            .collect::<Option<_>>()?,
        None => Vec::new(),
    };
    Some(Subscribed {
        request,
        room,
        position,
        is_recoverable: flag("recoverable"),
        was_recovering: flag("was_recovering"),
        has_recovered: flag("recovered"),
        publications,
    })
}

fn read_publication(publication: &Value) -> Option<Publication> {
    let offset = match publication.get("offset") {
        Some(offset) => Some(offset.as_u64()?),
        None => None,
    };
    Some(Publication {
        offset,
        data: publication.get("data")?.to_string().into_bytes(),
    })
}
