//! The native dialect: rkyv frames over TCP, or inside WebSocket binary messages.

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode};
use fanfare_wire::native::{self, ClientFrame};
use fanfare_wire::ws;

use super::{Ending, Incoming, error_code, error_reply, questions, reply_to};
use crate::api::{Payload, Position};
use crate::authority::Grant;
use crate::backend::{ConnectAsk, Subscribed};
use crate::conn::{Conn, Phase};
use crate::core::{Core, millis};
use crate::encoding::Encoding;
use crate::hooks::Refusal;
use crate::membership::Subscribe;
use crate::message::{Answer, Joined, Post};
use crate::rights::Right;
use crate::room::Room;
use crate::slab::Key;

/// What carries the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Tcp,
    WebSocket,
}

impl Carrier {
    const fn encoding(self) -> Encoding {
        match self {
            Self::Tcp => Encoding::NATIVE,
            Self::WebSocket => Encoding::NATIVE_WEBSOCKET,
        }
    }
}

/// Where frames begin and end.
#[derive(Debug)]
pub(crate) enum Framing {
    /// On a stream: the beginning of a frame, while there is only that.
    Tcp { partial: Option<Box<Vec<u8>>> },
    /// A message holds whole frames.
    WebSocket(ws::Decoder),
}

impl Framing {
    pub(super) const fn tcp() -> Self {
        Self::Tcp { partial: None }
    }

    pub(super) fn is_partial(&self) -> bool {
        match self {
            Self::Tcp { partial } => partial.is_some(),
            Self::WebSocket(decoder) => !decoder.is_idle(),
        }
    }

    pub(super) const fn websocket() -> Self {
        Self::WebSocket(ws::Decoder::new(ws::Role::Server))
    }
}

pub(super) fn receive(
    core: &mut Core,
    slot: u32,
    framing: &mut Framing,
    input: &mut [u8],
) -> Result<(), Ending> {
    match framing {
        Framing::Tcp { partial } => {
            super::stream(core, slot, partial, input, |core, slot, input| {
                frames(core, slot, Carrier::Tcp, input)
            })
        }
        Framing::WebSocket(decoder) => super::messages(core, slot, decoder, input, message),
    }
}

fn message(core: &mut Core, slot: u32, message: Incoming<'_>) -> Result<(), Ending> {
    let Incoming::Binary(message) = message else {
        return Err(DisconnectCode::INAPPROPRIATE_PROTOCOL.into());
    };
    let consumed = frames(core, slot, Carrier::WebSocket, message)?;
    if consumed < message.len() {
        return Err(DisconnectCode::BAD_REQUEST.into());
    }
    Ok(())
}

/// Handles the whole frames at the start of `input`; returns how many bytes they took.
fn frames(core: &mut Core, slot: u32, carrier: Carrier, input: &[u8]) -> Result<usize, Ending> {
    let mut at = 0;
    loop {
        let archive_bytes_max = super::message_bytes_max(core, slot);
        match native::decode_client(&input[at..], archive_bytes_max) {
            Ok(Some((frame, consumed))) => {
                core.gauges.counters.messages_received.inc();
                handle(core, slot, carrier, frame)?;
                at += consumed;
                if questions::is_asking(core, slot) {
                    wait(core, slot, carrier, &input[at..])?;
                    return Ok(input.len());
                }
            }
            Ok(None) => return Ok(at),
            Err(error) => return Err(error.code().into()),
        }
    }
}

/// Keeps frames until the backend knows the client, as the bytes that they would have come as.
fn wait(core: &mut Core, slot: u32, carrier: Carrier, frames: &[u8]) -> Result<(), Ending> {
    let mut message = Vec::new();
    let input = match carrier {
        Carrier::WebSocket if !frames.is_empty() => {
            ws::write_masked_frame(&mut message, ws::Opcode::Binary, frames, [0; 4]);
            &message[..]
        }
        _ => frames,
    };
    questions::queue(core, slot, input, 0).map(|_| ())
}

fn handle(
    core: &mut Core,
    slot: u32,
    carrier: Carrier,
    frame: ClientFrame<'_>,
) -> Result<(), Ending> {
    let is_open = core
        .conns
        .get(slot)
        .is_some_and(|conn| conn.phase == Phase::Open);
    match frame {
        ClientFrame::Hello(hello) if !is_open => greet(core, slot, carrier, &hello),
        // Nothing before Hello, and Hello only once.
        _ if !is_open => Err(DisconnectCode::BAD_REQUEST.into()),
        ClientFrame::Hello(_) => Err(DisconnectCode::BAD_REQUEST.into()),
        ClientFrame::Publish(message) => {
            if let Err(code) = publish(core, slot, message) {
                error_reply(core, slot, message.request, code);
            }
            Ok(())
        }
        ClientFrame::Subscribe(message) => {
            if message.request == 0 {
                return Err(DisconnectCode::BAD_REQUEST.into());
            }
            let position = Position {
                epoch: message.epoch,
                offset: message.offset,
            };
            let recover = message.recover.then_some(position);
            let wish = Subscribe {
                request: message.request,
                token: message.token,
                recover,
                ..Subscribe::by_client(message.room)
            };
            if let Err(code) = join(core, slot, &wish) {
                error_reply(core, slot, message.request, code);
            }
            Ok(())
        }
        ClientFrame::Unsubscribe(message) => {
            let number = core
                .rooms
                .find(message.room)
                .and_then(|key| core.rooms.slab.get(key))
                .map_or(0, |room| room.number);
            if core.unsubscribe(slot, message.room) {
                let code = UnsubscribeCode::CLIENT;
                let reply = native::Unsubscribed {
                    request: message.request,
                    room: number,
                    code: code.number(),
                    reason: code.reason(),
                };
                write(core, slot, carrier, |out| {
                    native::write_unsubscribed(out, &reply)
                });
            } else {
                error_reply(core, slot, message.request, ErrorCode::BAD_REQUEST);
            }
            Ok(())
        }
        ClientFrame::Ping => {
            write(core, slot, carrier, native::write_server_pong);
            Ok(())
        }
        ClientFrame::Pong => {
            core.pong(slot);
            Ok(())
        }
    }
}

fn greet(
    core: &mut Core,
    slot: u32,
    carrier: Carrier,
    hello: &native::Hello<'_>,
) -> Result<(), Ending> {
    if hello.token.is_empty() && core.asked().connect {
        let ask = ConnectAsk {
            name: hello.client_name.into(),
            ..ConnectAsk::default()
        };
        let asked = questions::who(core, slot, ask, move |core, slot, known| {
            match known {
                Ok((grant, connected)) => {
                    welcome(core, slot, carrier, grant, &connected.subscriptions);
                }
                Err(refused) => core.end_refused(slot, refused, DisconnectCode::SERVER_ERROR),
            }
            Ok(())
        });
        return asked.map_err(|_| DisconnectCode::SERVER_ERROR.into());
    }
    let grant = super::grant(core, hello.token).map_err(super::denied)?;
    welcome(core, slot, carrier, grant, &[]);
    Ok(())
}

fn welcome(
    core: &mut Core,
    slot: u32,
    carrier: Carrier,
    grant: Grant,
    by_backend: &[(Box<str>, Subscribed)],
) {
    let rooms = grant.rooms.clone();
    let Some(client) = core.authenticated(slot, grant, carrier.encoding()) else {
        return;
    };
    let limits = &core.shared.config.limits;
    let (ping, pong, bytes_max) = (
        limits.ping_interval,
        limits.pong_timeout,
        limits.message_bytes_max,
    );
    let client = client.to_string();
    let ms = |duration| u32::try_from(millis(duration)).unwrap_or(u32::MAX);
    let welcome = native::Welcome {
        client: &client,
        ping_interval_ms: ms(ping),
        pong_timeout_ms: ms(pong),
        archive_bytes_max: bytes_max,
    };
    write(core, slot, carrier, |out| {
        native::write_welcome(out, &welcome)
    });
    super::subscribe_by_server(core, slot, &rooms, by_backend);
}

fn join(core: &mut Core, slot: u32, wish: &Subscribe<'_>) -> Result<(), ErrorCode> {
    let (_, options) = core.check_room(wish.room)?;
    if wish.token.is_empty() && options.backend.subscribe {
        return questions::join(core, slot, wish, b"");
    }
    core.subscribe(slot, *wish)
}

fn publish(core: &mut Core, slot: u32, message: native::Publish<'_>) -> Result<(), ErrorCode> {
    let payload = Payload {
        bytes: Bytes::copy_from_slice(message.data),
        is_json: false,
    };
    // A service may publish everywhere, and whether there can be such a room is for its home to say.
    let is_service = core.conns.get(slot).is_some_and(Conn::is_service);
    let mut publisher = None;
    if !is_service {
        let (room, options) = core.check_room(message.room)?;
        if options.backend.publish {
            return questions::publish(core, slot, message.request, room, payload);
        }
        if !core.may(slot, room, &options, Right::Publish) {
            return Err(ErrorCode::PERMISSION_DENIED);
        }
        publisher = core.publisher(slot, room);
    }
    let post = Post {
        payload,
        publisher,
        extras: None,
    };
    let reply = reply_to(core, slot, message.request);
    core.publish(message.room, post, reply);
    Ok(())
}

// -- what the engine tells the client

/// Answers a request with a refusal.
pub(super) fn refuse(
    core: &mut Core,
    slot: u32,
    carrier: Carrier,
    request: u32,
    refusal: &Refusal,
) {
    let reply = native::ErrorReply {
        request,
        code: refusal.code.number(),
        message: &refusal.message,
    };
    write(core, slot, carrier, |out| native::write_error(out, &reply));
}

pub(super) fn ping(core: &mut Core, slot: u32, carrier: Carrier) {
    write(core, slot, carrier, native::write_server_ping);
}

pub(super) fn disconnect(core: &mut Core, slot: u32, carrier: Carrier, code: u16, reason: &str) {
    write(core, slot, carrier, |out| {
        native::write_disconnect(out, &native::Disconnect { code, reason })
    });
    if carrier == Carrier::WebSocket {
        core.write(slot, |out| ws::write_close(out, code, reason));
    }
}

pub(super) fn gap(
    core: &mut Core,
    slot: u32,
    carrier: Carrier,
    room: Key<Room>,
    from: u64,
    to: u64,
) {
    let number = core.rooms.slab.get(room).map_or(0, |room| room.number);
    write(core, slot, carrier, |out| {
        native::write_gap(
            out,
            &native::Gap {
                room: number,
                from,
                to,
            },
        )
    });
}

pub(super) fn unsubscribed(
    core: &mut Core,
    slot: u32,
    carrier: Carrier,
    room: Key<Room>,
    code: UnsubscribeCode,
) {
    let number = core.rooms.slab.get(room).map_or(0, |room| room.number);
    let push = native::Unsubscribed {
        request: 0,
        room: number,
        code: code.number(),
        reason: code.reason(),
    };
    write(core, slot, carrier, |out| {
        native::write_unsubscribed(out, &push)
    });
}

pub(super) fn joined(core: &mut Core, slot: u32, carrier: Carrier, joined: &Joined) {
    let Some(room) = core.rooms.slab.get(joined.local) else {
        return;
    };
    let name = if joined.request == 0 {
        std::sync::Arc::clone(&room.name)
    } else {
        "".into()
    };
    let subscribed = native::Subscribed {
        request: joined.request,
        room: joined.number,
        name: &name,
        epoch: joined.position.epoch,
        offset: joined.position.offset,
        recoverable: room.options.history_size > 0,
        was_recovering: joined.was_recovering,
        recovered: joined.recovered.is_some(),
    };
    write(core, slot, carrier, |out| {
        native::write_subscribed(out, &subscribed)
    });
    for publication in joined.recovered.iter().flatten() {
        write(core, slot, carrier, |out| {
            native::write_publication(
                out,
                joined.number,
                publication.offset,
                &publication.payload.bytes,
            );
        });
    }
}

pub(super) fn answer(core: &mut Core, slot: u32, carrier: Carrier, request: u32, answer: Answer) {
    match answer {
        Answer::Published(Ok(published)) => {
            let ack = native::Ack {
                request,
                epoch: published.position.epoch,
                offset: published.position.offset,
                members: published.reached.total(),
            };
            write(core, slot, carrier, |out| native::write_ack(out, &ack));
        }
        Answer::Published(Err(failed)) => error_reply(core, slot, request, error_code(failed)),
        // The native protocol has no such requests.
        Answer::Presence(_) | Answer::PresenceStats(_) | Answer::History(_) => {}
    }
}

/// Writes frames, inside a message of their own where there are messages.
fn write(core: &mut Core, slot: u32, carrier: Carrier, write: impl FnOnce(&mut Vec<u8>)) {
    core.write(slot, |out| match carrier {
        Carrier::Tcp => write(out),
        Carrier::WebSocket => ws::write_frame_with(out, ws::Opcode::Binary, write),
    });
}
