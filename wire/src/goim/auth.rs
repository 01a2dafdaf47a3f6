//! Who a client says it is.

use std::borrow::Cow;

use serde::Deserialize;

use super::read::List;
use super::v1::is_json_object;
use crate::centrifuge::codes::DisconnectCode;
use crate::json_fields::{Text, or_default};

/// The longest key. A key is a name of the user's that ends up in tables and in calls of the HTTP API.
pub const KEY_BYTES_MAX: usize = 255;

/// The longest name of a room here; what is configured may be less, and is at most this.
pub const ROOM_BYTES_MAX: usize = 1024;

/// Operations a client accepts from the start, at most. Clients name a handful.
pub const ACCEPTS_MAX: usize = super::OPERATIONS_MAX;

/// Rooms besides `room_id`, at most; what is configured for a connection may be less.
pub const ROOMS_MAX: usize = 128;

/// The body of [`Operation::AUTH`](super::Operation::AUTH) in version 2. Every field may be missing, and is empty or 0 then.
///
/// Nothing in it is to be believed before `token` is verified, or whoever decides has agreed: the original lets anyone be any
/// `mid`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The user.
    pub mid: i64,
    /// The connection's own name; whoever asks for none is given one. At most [`KEY_BYTES_MAX`] bytes.
    pub key: Cow<'a, str>,
    /// The room to start in. At most [`ROOM_BYTES_MAX`] bytes.
    pub room_id: Cow<'a, str>,
    /// What the client runs on, for information only.
    pub platform: Cow<'a, str>,
    /// The operations of pushes to everyone that it wants. At most [`ACCEPTS_MAX`].
    pub accepts: Vec<i32>,
    /// Fanfare's: a connection token (a JWT).
    pub token: Cow<'a, str>,
    /// Fanfare's: further rooms to be in, at most [`ROOMS_MAX`] of at most [`ROOM_BYTES_MAX`] bytes.
    pub rooms: Vec<Cow<'a, str>>,
}

/// The body of [`Operation::AUTH`](super::Operation::AUTH) in version 1: whatever the service wants it to be. These are what
/// SDKs send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthV1<'a> {
    /// A user's number. As with [`Auth`], anyone can claim it.
    User {
        /// The user.
        uid: i64,
        /// A second number behind a comma: SDKs send the sum of the characters of an application's name.
        number: Option<i64>,
    },
    /// Any other text, maybe empty, for whoever verifies: a connection token (a JWT) that takes the whole body, for one.
    Token(&'a str),
}

/// Which goim a client was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// Auth bodies are text, pushes have operation 5, heartbeats are answered without a count.
    V1,
    /// Auth bodies are JSON objects.
    V2,
}

/// Why a body is not that of an auth frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not a JSON object with fields of these types, or a field is there twice.
    #[error(
        "the auth body is not a JSON object of the protocol's types, near byte {column} of its line"
    )]
    Json {
        /// How far it could be read.
        column: usize,
    },
    /// Version 1: not text.
    #[error("the auth body is not UTF-8")]
    NotText,
    /// Version 1: digits and commas that are not one or two numbers of 64 bits.
    #[error("the auth body is neither a user's number nor two numbers with a comma between them")]
    NotAUser,
    /// A text is longer than allowed.
    #[error("{field} in the auth body has more than {bytes_max} bytes")]
    TooLong {
        /// Which.
        field: &'static str,
        /// What is allowed.
        bytes_max: usize,
    },
    /// A list is longer than allowed.
    #[error("{field} in the auth body has more than {items_max} items")]
    TooMany {
        /// Which.
        field: &'static str,
        /// What is allowed.
        items_max: usize,
    },
}

impl AuthError {
    /// The code to disconnect with.
    #[must_use]
    pub const fn code(self) -> DisconnectCode {
        DisconnectCode::BAD_REQUEST
    }
}

/// Which generation's the body of a binary auth frame is. Read it with [`parse_auth`] or [`parse_auth_v1`] accordingly.
///
/// A client that speaks JSON over WebSocket ([`MessageForm::Json`](super::MessageForm::Json)) is of version 1 whatever it
/// sends, but its body may be an object, too.
#[must_use]
pub fn generation(auth_body: &[u8]) -> Generation {
    if is_json_object(auth_body) {
        Generation::V2
    } else {
        Generation::V1
    }
}

/// Reads an auth body of version 2. Unknown fields are passed over; `null` is as good as a missing field.
///
/// # Errors
/// See [`AuthError`]. None of them is worth an answer: close.
pub fn parse_auth(body: &[u8]) -> Result<Auth<'_>, AuthError> {
    // What serde derives takes an array of the fields' values for an object, too.
    if !is_json_object(body) {
        return Err(AuthError::Json { column: 0 });
    }
    let fields: Fields<'_> = serde_json::from_slice(body).map_err(|error| AuthError::Json {
        column: error.column(),
    })?;
    if fields.key.0.len() > KEY_BYTES_MAX {
        return Err(too_long("key", KEY_BYTES_MAX));
    }
    if fields.room_id.0.len() > ROOM_BYTES_MAX {
        return Err(too_long("room_id", ROOM_BYTES_MAX));
    }
    if fields.accepts.0.len() > ACCEPTS_MAX {
        return Err(too_many("accepts", ACCEPTS_MAX));
    }
    let rooms = fields.rooms.0;
    if rooms.len() > ROOMS_MAX {
        return Err(too_many("rooms", ROOMS_MAX));
    }
    if rooms.iter().any(|room| room.0.len() > ROOM_BYTES_MAX) {
        return Err(too_long("rooms", ROOM_BYTES_MAX));
    }
    Ok(Auth {
        mid: fields.mid,
        key: fields.key.0,
        room_id: fields.room_id.0,
        platform: fields.platform.0,
        accepts: fields.accepts.0,
        token: fields.token.0,
        rooms: rooms.into_iter().map(|room| room.0).collect(),
    })
}

/// Reads an auth body of version 1: `<uid>`, `<uid>,<number>`, or any other text. In the JSON over WebSocket a text stands
/// in quotes, which are not part of it.
///
/// # Errors
/// See [`AuthError`]. None of them is worth an answer: close.
pub fn parse_auth_v1(body: &[u8]) -> Result<AuthV1<'_>, AuthError> {
    let Ok(text) = simdutf8::basic::from_utf8(body) else {
        return Err(AuthError::NotText);
    };
    let text = unquoted(text);
    let is_token = |byte: u8| !byte.is_ascii_digit() && byte != b',' && byte != b'-';
    if text.is_empty() || text.bytes().any(is_token) {
        return Ok(AuthV1::Token(text));
    }
    let (uid, number) = match text.split_once(',') {
        None => (text.parse(), None),
        Some((uid, number)) => (uid.parse(), Some(number.parse())),
    };
    match (uid, number.transpose()) {
        (Ok(uid), Ok(number)) => Ok(AuthV1::User { uid, number }),
        _ => Err(AuthError::NotAUser),
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(default, deserialize_with = "or_default")]
    mid: i64,
    #[serde(borrow, default)]
    key: Text<'a>,
    #[serde(borrow, default)]
    room_id: Text<'a>,
    #[serde(borrow, default)]
    platform: Text<'a>,
    #[serde(default)]
    accepts: List<i32, ACCEPTS_MAX>,
    #[serde(borrow, default)]
    token: Text<'a>,
    #[serde(borrow, default)]
    rooms: List<Text<'a>, ROOMS_MAX>,
}

/// The inside of a JSON string that has no escapes; anything else as it is.
fn unquoted(text: &str) -> &str {
    let inside = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    match inside {
        Some(inside) if !inside.contains(['"', '\\']) => inside,
        _ => text,
    }
}

const fn too_long(field: &'static str, bytes_max: usize) -> AuthError {
    AuthError::TooLong { field, bytes_max }
}

const fn too_many(field: &'static str, items_max: usize) -> AuthError {
    AuthError::TooMany { field, items_max }
}
