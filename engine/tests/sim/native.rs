//! Native clients, over TCP and over WebSocket.

use std::collections::BTreeMap;

use fanfare_wire::native::{self, Hello, Publish, ServerFrame, Subscribe, Unsubscribe};
use fanfare_wire::ws;

use super::dialect::{Command, Dialect, Event, Position, Publication, Subscribed};
use super::ledger::Room;
use super::socket::WebSocket;

const ARCHIVE_BYTES_MAX: u32 = 1 << 24;

/// Native frames on a bare stream or in WebSocket messages.
#[derive(Debug)]
pub(crate) struct Native {
    socket: Option<WebSocket>,
    /// Names of the rooms by their numbers.
    rooms: BTreeMap<u32, Room>,
    asked: BTreeMap<u32, Room>,
}

impl Native {
    pub(crate) fn over_tcp() -> Self {
        Self {
            socket: None,
            rooms: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    pub(crate) fn over_websocket(seed: u64) -> Self {
        Self {
            socket: Some(WebSocket::new("/connection/native", seed)),
            ..Self::over_tcp()
        }
    }

    fn read_frames(&mut self, input: &[u8], events: &mut Vec<Event>) -> Result<usize, String> {
        let mut taken = 0;
        while let Some((frame, bytes)) = native::decode_server(&input[taken..], ARCHIVE_BYTES_MAX)
            .map_err(|error| error.to_string())?
        {
            events.push(self.event(frame)?);
            taken += bytes;
        }
        Ok(taken)
    }

    fn event(&mut self, frame: ServerFrame<'_>) -> Result<Event, String> {
        Ok(match frame {
            ServerFrame::Welcome(welcome) => Event::Connected {
                client: welcome.client.to_owned(),
            },
            ServerFrame::Subscribed(subscribed) => self.subscribed(&subscribed)?,
            ServerFrame::Unsubscribed(message) => {
                // A join that the client gave up has no number yet.
                let asked = self.asked.remove(&message.request);
                let named = self.rooms.get(&message.room).cloned();
                let room = asked
                    .or(named)
                    .ok_or("unsubscribed from a room that was never named")?;
                self.rooms.retain(|_, name| *name != room);
                Event::Unsubscribed {
                    request: message.request,
                    room,
                }
            }
            ServerFrame::Publication(message) => Event::Publication {
                room: self.room(message.room)?,
                publication: Publication {
                    offset: Some(message.offset).filter(|&offset| offset > 0),
                    data: message.data.to_vec(),
                },
            },
            ServerFrame::Ack(ack) => Event::Published {
                request: ack.request,
                position: Some(Position {
                    epoch: ack.epoch,
                    offset: ack.offset,
                }),
            },
            ServerFrame::Error(error) => Event::Failed {
                request: error.request,
                code: error.code,
            },
            ServerFrame::Gap(gap) => Event::Gap {
                room: self.room(gap.room)?,
                from: gap.from,
                to: gap.to,
            },
            ServerFrame::Message(message) => Event::Message {
                data: message.data.to_vec(),
            },
            ServerFrame::Disconnect(disconnect) => Event::Disconnected {
                code: disconnect.code,
            },
            ServerFrame::Ping => Event::Ping,
            ServerFrame::Pong => Event::Pong,
        })
    }

    fn subscribed(&mut self, message: &native::Subscribed<'_>) -> Result<Event, String> {
        let room: Room = match message.request {
            0 => message.name.into(),
            request => self
                .asked
                .remove(&request)
                .ok_or("subscribed to a room that was not asked for")?,
        };
        if let Some(other) = self.rooms.insert(message.room, room.clone()) {
            return Err(format!("room {room} has the number of {other}"));
        }
        Ok(Event::Subscribed(Subscribed {
            request: message.request,
            room,
            position: Some(Position {
                epoch: message.epoch,
                offset: message.offset,
            }),
            is_recoverable: message.recoverable,
            was_recovering: message.was_recovering,
            has_recovered: message.recovered,
            publications: Vec::new(),
        }))
    }

    fn room(&self, number: u32) -> Result<Room, String> {
        self.rooms
            .get(&number)
            .cloned()
            .ok_or_else(|| format!("something for room {number}, of which it is no member"))
    }
}

impl Dialect for Native {
    fn open(&mut self, out: &mut Vec<u8>) {
        if let Some(socket) = &mut self.socket {
            socket.open(out);
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, command: &Command<'_>) {
        let mut frame = Vec::new();
        match *command {
            Command::Connect { token } => native::write_hello(
                &mut frame,
                &Hello {
                    token,
                    client_name: "sim",
                },
            ),
            Command::Subscribe {
                request,
                room,
                recover,
            } => {
                self.asked.insert(request, room.into());
                let Position { epoch, offset } = recover.unwrap_or(Position {
                    epoch: 0,
                    offset: 0,
                });
                let subscribe = Subscribe {
                    request,
                    room,
                    token: "",
                    recover: recover.is_some(),
                    epoch,
                    offset,
                };
                native::write_subscribe(&mut frame, &subscribe);
            }
            Command::Unsubscribe { request, room } => {
                self.asked.insert(request, room.into());
                native::write_unsubscribe(&mut frame, &Unsubscribe { request, room });
            }
            Command::Publish {
                request,
                room,
                data,
            } => {
                native::write_publish(
                    &mut frame,
                    &Publish {
                        request,
                        room,
                        data,
                    },
                );
            }
            Command::Ping => native::write_client_ping(&mut frame),
            Command::Pong => native::write_client_pong(&mut frame),
            Command::Presence { .. } | Command::History { .. } => {
                unreachable!("the native protocol has no such request")
            }
        }
        match &mut self.socket {
            Some(socket) => socket.write(out, ws::Opcode::Binary, &frame),
            None => out.extend(frame),
        }
    }

    fn read(&mut self, input: &mut Vec<u8>, events: &mut Vec<Event>) -> Result<(), String> {
        let Some(mut socket) = self.socket.take() else {
            let taken = self.read_frames(input, events)?;
            input.drain(..taken);
            return Ok(());
        };
        let result = socket.read(input, events, |message, events| {
            let taken = self.read_frames(message, events)?;
            if taken == message.len() {
                Ok(())
            } else {
                Err("a message that ends inside a frame".into())
            }
        });
        self.socket = Some(socket);
        result
    }
}
