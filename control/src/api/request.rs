//! The methods, and what each one takes.
//!
//! A field nobody knows is ignored, so that a newer client can talk to an older server. A field of Centrifugo's
//! that would change what a request means, and that is not supported, is refused: ignoring it would be silent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fanfare_engine::api::{
    ApiError, ClientId, HistoryQuery, Payload, Position, Publish, UserConnections,
};
use fanfare_wire::centrifuge::Epoch;
use fanfare_wire::centrifuge::codes::DisconnectCode;
use serde::Deserialize;

use super::ApiLimits;
use super::body::{
    BatchBody, ChannelsBody, CommandBody, DisconnectBody, DisconnectReason, HistoryBody, InfoBody,
    PublishBody, PushBody, RoomBody, SinceBody, SubscribeBody, TurnCredentialsBody,
    TurnDisconnectBody,
};
use super::errors::Refusal;
use super::method::Method;
use super::payload::payload;

const TAGS_MAX: usize = 32;
const TAG_BYTES_MAX: usize = 256;
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// With the time before it, the longest user name of STUN.
const TURN_USER_BYTES_MAX: usize = fanfare_turn::credentials::USER_BYTES_MAX - 21;

/// What a WebSocket close frame has room for (RFC 6455 section 5.5: 125 bytes with the code).
const REASON_BYTES_MAX: usize = 123;

/// Centrifugo's code for "disconnected on purpose, do not come back".
const FORCE_DISCONNECT: DisconnectCode = DisconnectCode::FORCE_NO_RECONNECT;

/// Key and value.
type Tag = (Box<str>, Box<str>);

/// A request that is understood and within bounds.
#[derive(Debug)]
pub(super) enum Request {
    Publish(Publish),
    Broadcast {
        rooms: Vec<Box<str>>,
        publish: Publish,
    },
    Batch {
        commands: Vec<Command>,
        is_parallel: bool,
    },
    Subscribe {
        who: UserConnections,
        room: Box<str>,
    },
    Unsubscribe {
        who: UserConnections,
        room: Box<str>,
    },
    Disconnect {
        who: UserConnections,
        code: u16,
        reason: Box<str>,
    },
    Presence {
        room: Box<str>,
    },
    PresenceStats {
        room: Box<str>,
    },
    History(HistoryQuery),
    HistoryRemove {
        room: Box<str>,
    },
    Channels {
        pattern: Option<Box<str>>,
    },
    Info,
    PushUser {
        user: Box<str>,
        payload: Payload,
    },
    PushConnection {
        client: ClientId,
        payload: Payload,
    },
    PushAll {
        payload: Payload,
    },
    TurnCredentials {
        user: Box<str>,
        ttl: Option<Duration>,
    },
    TurnAllocations,
    TurnDisconnect {
        relayed: SocketAddr,
    },
}

/// One command of a batch: its method, and the request or why it is none.
#[derive(Debug)]
pub(super) struct Command {
    /// None when it is no method.
    pub(super) method: Option<Method>,
    pub(super) request: Result<Request, Refusal>,
}

impl Request {
    /// Reads the body of a method's request.
    pub(super) fn parse(method: Method, body: &str, limits: &ApiLimits) -> Result<Self, Refusal> {
        // Methods without a required field are commonly called without a body.
        let body = if body.trim().is_empty() { "{}" } else { body };
        Ok(match method {
            Method::Publish => {
                let body: PublishBody<'_> = read(body)?;
                let room = required("channel", body.channel.clone())?;
                Self::Publish(body.into_publish(room, limits)?)
            }
            Method::Broadcast => broadcast(read(body)?, limits)?,
            Method::Batch => batch(&read(body)?, limits)?,
            Method::Subscribe => {
                let body: SubscribeBody<'_> = read(body)?;
                body.refuse_unsupported()?;
                let (who, room) = body.who()?;
                Self::Subscribe { who, room }
            }
            Method::Unsubscribe => {
                let body: SubscribeBody<'_> = read(body)?;
                let (who, room) = body.who()?;
                Self::Unsubscribe { who, room }
            }
            Method::Disconnect => disconnect(read(body)?)?,
            Method::Presence => Self::Presence { room: room(body)? },
            Method::PresenceStats => Self::PresenceStats { room: room(body)? },
            Method::History => Self::History(history(read(body)?, limits)?),
            Method::HistoryRemove => Self::HistoryRemove { room: room(body)? },
            Method::Channels => {
                let body: ChannelsBody = read(body)?;
                let pattern = body.pattern.filter(|pattern| !pattern.is_empty());
                Self::Channels { pattern }
            }
            Method::Info => {
                let InfoBody {} = read(body)?;
                Self::Info
            }
            Method::PushUser => {
                let body: PushBody<'_> = read(body)?;
                let payload = body.payload(limits)?;
                let user = required("user", body.user)?;
                Self::PushUser { user, payload }
            }
            Method::PushConnection => {
                let body: PushBody<'_> = read(body)?;
                let payload = body.payload(limits)?;
                let client = client_id(&required("client", body.client)?)?;
                Self::PushConnection { client, payload }
            }
            Method::PushAll => {
                let body: PushBody<'_> = read(body)?;
                let payload = body.payload(limits)?;
                Self::PushAll { payload }
            }
            Method::TurnCredentials => turn_credentials(read(body)?)?,
            Method::TurnAllocations => {
                let InfoBody {} = read(body)?;
                Self::TurnAllocations
            }
            Method::TurnDisconnect => {
                let body: TurnDisconnectBody = read(body)?;
                let relayed = body
                    .relayed
                    .ok_or_else(|| Refusal::bad_request("relayed is missing"))?;
                Self::TurnDisconnect { relayed }
            }
        })
    }

    /// Uses `key` for a publication that brought no key of its own.
    pub(super) fn set_idempotency_key(&mut self, key: &str) -> Result<(), Refusal> {
        let (Self::Publish(publish) | Self::Broadcast { publish, .. }) = self else {
            return Err(Refusal::bad_request(
                "Idempotency-Key is for publish and broadcast: the publications of a batch have idempotency_key",
            ));
        };
        if publish.idempotency_key.is_none() {
            publish.idempotency_key = idempotency_key(Some(key.into()))?;
        }
        Ok(())
    }

    /// How many operations it is, for the bound on one HTTP request.
    fn operations(&self) -> usize {
        match self {
            Self::Broadcast { rooms, .. } => rooms.len(),
            _ => 1,
        }
    }
}

/// A name that ends up in the user name of the credentials, behind a time and a colon.
fn turn_credentials(body: TurnCredentialsBody) -> Result<Request, Refusal> {
    let user = body.user.unwrap_or_default();
    if user.len() > TURN_USER_BYTES_MAX || user.contains(char::is_control) {
        return Err(Refusal::bad_request(format!(
            "user is longer than {TURN_USER_BYTES_MAX} bytes or has control characters"
        )));
    }
    Ok(Request::TurnCredentials {
        user,
        ttl: body.ttl.map(Duration::from_secs),
    })
}

impl PublishBody<'_> {
    fn into_publish(self, room: Box<str>, limits: &ApiLimits) -> Result<Publish, Refusal> {
        if self.version != 0 || is_set(self.version_epoch.as_deref()) {
            return Err(Refusal::not_available(
                "version and version_epoch are not supported",
            ));
        }
        let b64data = self
            .b64data
            .as_deref()
            .filter(|text| self.data.is_none() || !text.is_empty());
        Ok(Publish {
            room,
            payload: payload(self.data, b64data, limits)?,
            tags: tags(self.tags.unwrap_or_default())?,
            skip_history: self.skip_history,
            idempotency_key: idempotency_key(self.idempotency_key)?,
        })
    }
}

impl PushBody<'_> {
    fn payload(&self, limits: &ApiLimits) -> Result<Payload, Refusal> {
        payload(self.data, self.b64data.as_deref(), limits)
    }
}

impl SubscribeBody<'_> {
    /// Which of the user's connections, and the room.
    fn who(self) -> Result<(UserConnections, Box<str>), Refusal> {
        refuse_session(self.session.as_deref())?;
        let who = UserConnections {
            user: required("user", self.user)?,
            client: self
                .client
                .filter(|client| !client.is_empty())
                .map(|client| client_id(&client))
                .transpose()?,
            except: Vec::new(),
        };
        Ok((who, required("channel", self.channel)?))
    }

    fn refuse_unsupported(&self) -> Result<(), Refusal> {
        let unsupported = [
            ("expire_at", self.expire_at != 0),
            (
                "info",
                self.info.is_some() || is_set(self.b64info.as_deref()),
            ),
            (
                "data",
                self.data.is_some() || is_set(self.b64data.as_deref()),
            ),
            ("recover_since", self.recover_since.is_some()),
            ("override", self.overrides.is_some()),
        ];
        match unsupported.into_iter().find(|(_, is_there)| *is_there) {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::not_available(format!(
                "{name} is not supported by subscribe"
            ))),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(body)
        .map_err(|error| Refusal::bad_request(format!("the body is not accepted: {error}")))
}

fn broadcast(mut body: PublishBody<'_>, limits: &ApiLimits) -> Result<Request, Refusal> {
    let rooms = body.channels.take().filter(|rooms| !rooms.is_empty());
    let rooms = rooms.ok_or_else(|| Refusal::bad_request("channels is missing or empty"))?;
    if rooms.len() > limits.operations_max {
        return Err(too_many(rooms.len(), limits));
    }
    let publish = body.into_publish("".into(), limits)?;
    Ok(Request::Broadcast { rooms, publish })
}

/// Reads every command by itself, so that a bad one fails alone, as in Centrifugo.
fn batch(body: &BatchBody<'_>, limits: &ApiLimits) -> Result<Request, Refusal> {
    if body.commands.len() > limits.operations_max {
        return Err(too_many(body.commands.len(), limits));
    }
    let commands: Vec<Command> = body
        .commands
        .iter()
        .map(|command| Command::parse(command.get(), limits))
        .collect();
    let operations = commands
        .iter()
        .flat_map(|command| &command.request)
        .map(Request::operations)
        .sum();
    if operations > limits.operations_max {
        return Err(too_many(operations, limits));
    }
    let is_parallel = body.parallel;
    Ok(Request::Batch {
        commands,
        is_parallel,
    })
}

impl Command {
    /// `{"publish": {…}}`, one method as the one key.
    fn parse(command: &str, limits: &ApiLimits) -> Self {
        let refuse = |refusal: Refusal| Self {
            method: None,
            request: Err(refusal),
        };
        let (method, body) = match read(command) {
            Ok(CommandBody::One(method, body)) => (method, body),
            Ok(CommandBody::NotOne) => {
                return refuse(Refusal::bad_request(
                    "a command is an object with one key, its method",
                ));
            }
            Err(refusal) => return refuse(refusal),
        };
        let request = match method {
            None => Err(Refusal::UNKNOWN_METHOD),
            Some(Method::Batch) => Err(Refusal::bad_request("a batch cannot hold a batch")),
            Some(method) => Request::parse(method, body.get(), limits),
        };
        Self { method, request }
    }
}

fn too_many(operations: usize, limits: &ApiLimits) -> Refusal {
    let max = limits.operations_max;
    Refusal::limit(format!(
        "{operations} operations, and api.operations_per_request_max allows {max}"
    ))
}

fn disconnect(body: DisconnectBody) -> Result<Request, Refusal> {
    refuse_session(body.session.as_deref())?;
    let who = UserConnections {
        user: required("user", body.user)?,
        client: body
            .client
            .filter(|client| !client.is_empty())
            .map(|client| client_id(&client))
            .transpose()?,
        except: body
            .whitelist
            .iter()
            .map(|client| client_id(client))
            .collect::<Result<_, _>>()?,
    };
    let Some(DisconnectReason { code, reason }) = body.disconnect else {
        let (code, reason) = (FORCE_DISCONNECT.number(), FORCE_DISCONNECT.reason().into());
        return Ok(Request::Disconnect { who, code, reason });
    };
    if !(3_000..=4_999).contains(&code) {
        return Err(Refusal::bad_request(
            "a disconnect code is from 3000 to 4999",
        ));
    }
    if reason.len() > REASON_BYTES_MAX {
        return Err(Refusal::bad_request(format!(
            "a disconnect reason has at most {REASON_BYTES_MAX} bytes"
        )));
    }
    Ok(Request::Disconnect { who, code, reason })
}

fn history(body: HistoryBody, limits: &ApiLimits) -> Result<HistoryQuery, Refusal> {
    // As in Centrifugo: 0 asks for the position alone, below 0 for everything. Both are capped, and the position
    // shows that there is more.
    let all = u32::try_from(limits.listing_entries_max).unwrap_or(u32::MAX);
    let limit = u32::try_from(body.limit).map_or(all, |limit| limit.min(all));
    let since = body.since.map(|since| position(&since)).transpose()?;
    Ok(HistoryQuery {
        room: required("channel", body.channel)?,
        limit: Some(limit),
        since,
        reverse: body.reverse,
    })
}

fn position(since: &SinceBody) -> Result<Position, Refusal> {
    let epoch = match Epoch::parse(&since.epoch) {
        Epoch::Known(epoch) => epoch,
        // What the engine takes for any epoch.
        Epoch::Any => 0,
        Epoch::Foreign => return Err(ApiError::UnrecoverablePosition.into()),
    };
    Ok(Position {
        epoch,
        offset: since.offset,
    })
}

fn room(body: &str) -> Result<Box<str>, Refusal> {
    let body: RoomBody = read(body)?;
    required("channel", body.channel)
}

fn required(name: &str, value: Option<Box<str>>) -> Result<Box<str>, Refusal> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Refusal::bad_request(format!("{name} is missing or empty")))
}

fn client_id(text: &str) -> Result<ClientId, Refusal> {
    text.parse()
        .map_err(|error| Refusal::bad_request(format!("{error}")))
}

fn refuse_session(session: Option<&str>) -> Result<(), Refusal> {
    if is_set(session) {
        return Err(Refusal::not_available(
            "session is not supported: name the client",
        ));
    }
    Ok(())
}

fn tags(tags: BTreeMap<Box<str>, Box<str>>) -> Result<Vec<Tag>, Refusal> {
    let is_long = |text: &str| text.len() > TAG_BYTES_MAX;
    if tags.len() > TAGS_MAX
        || tags
            .iter()
            .any(|(key, value)| is_long(key) || is_long(value))
    {
        let message =
            format!("at most {TAGS_MAX} tags, keys and values of at most {TAG_BYTES_MAX} bytes");
        return Err(Refusal::limit(message));
    }
    Ok(tags.into_iter().collect())
}

fn idempotency_key(key: Option<Box<str>>) -> Result<Option<Box<str>>, Refusal> {
    let key = key.filter(|key| !key.is_empty());
    if key
        .as_ref()
        .is_some_and(|key| key.len() > IDEMPOTENCY_KEY_BYTES_MAX)
    {
        return Err(Refusal::limit(format!(
            "an idempotency key has at most {IDEMPOTENCY_KEY_BYTES_MAX} bytes"
        )));
    }
    Ok(key)
}

fn is_set(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
