//! Version 1 over WebSocket: frames as JSON.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Frame, Operation};
use crate::centrifuge::codes::DisconnectCode;
use crate::centrifuge::json::{normalise, write_data};
use crate::json_fields::or_default;

/// What a WebSocket client of `/sub` speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageForm {
    /// Version 2: [`decode_message`](super::decode_message).
    Frame,
    /// Version 1: [`decode_v1_json`].
    Json,
}

/// Why a message is not a frame of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not a JSON object with fields of these types, or a field is there twice.
    #[error(
        "the message is not a JSON object of the protocol's types, near byte {column} of its line"
    )]
    Malformed {
        /// How far it could be read.
        column: usize,
    },
    /// The body is longer than allowed.
    #[error("the body has {body_bytes} bytes, {body_bytes_max} are allowed: send less at once")]
    TooLarge {
        /// What it has.
        body_bytes: usize,
        /// What the caller allows.
        body_bytes_max: u32,
    },
}

impl JsonError {
    /// The code to disconnect with.
    #[must_use]
    pub const fn code(self) -> DisconnectCode {
        DisconnectCode::BAD_REQUEST
    }
}

/// Tells from a client's first message what it will speak; `None` if neither.
///
/// A frame starts with a length below 2^24, so with a zero byte, and JSON with an opening brace, maybe behind white space.
/// Whether the message was sent as text or binary says nothing: the original takes both.
#[must_use]
pub fn message_form(first: &[u8]) -> Option<MessageForm> {
    if is_json_object(first) {
        return Some(MessageForm::Json);
    }
    (first.first() == Some(&0)).then_some(MessageForm::Frame)
}

/// Reads a client's message: `{"ver":1,"op":7,"seq":1,"body":...}`. The frame's body is the JSON of `body` as it stands,
/// empty when that is missing or `null`. Unknown fields are passed over, missing numbers are 0.
///
/// # Errors
/// See [`JsonError`]; all are final, as the original's are.
pub fn decode_v1_json(message: &[u8], body_bytes_max: u32) -> Result<Frame<'_>, JsonError> {
    // What serde derives takes an array of the fields' values for an object, too.
    if !is_json_object(message) {
        return Err(JsonError::Malformed { column: 0 });
    }
    let fields: Fields<'_> =
        serde_json::from_slice(message).map_err(|error| JsonError::Malformed {
            column: error.column(),
        })?;
    let body = fields.body.map_or("", RawValue::get).as_bytes();
    if body.len() > body_bytes_max as usize {
        return Err(JsonError::TooLarge {
            body_bytes: body.len(),
            body_bytes_max,
        });
    }
    Ok(Frame {
        version: fields.ver,
        operation: Operation(fields.op),
        seq: fields.seq,
        body,
    })
}

/// Appends a message of the server, which is an array of frames, here of one: the payload of a WebSocket text message.
///
/// `body` is passed on when it is JSON. What is not becomes a JSON string, of its text if it is UTF-8 and of base64 if not:
/// the original gives up the connection. An empty one becomes `{}`, as there.
pub fn write_v1_json(out: &mut Vec<u8>, version: i16, operation: Operation, seq: i32, body: &[u8]) {
    let Operation(operation) = operation;
    let head = format!(r#"[{{"ver":{version},"op":{operation},"seq":{seq},"body":"#);
    out.extend_from_slice(head.as_bytes());
    if body.is_empty() {
        out.extend_from_slice(b"{}");
    } else if let Some(json) = normalise(body) {
        out.extend_from_slice(&json);
    } else if let Ok(text) = simdutf8::basic::from_utf8(body) {
        let written = serde_json::to_writer(&mut *out, text);
        debug_assert!(written.is_ok(), "a vector takes every byte");
    } else {
        write_data(out, body, false);
    }
    out.extend_from_slice(b"}]");
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(default, deserialize_with = "or_default")]
    ver: i16,
    #[serde(default, deserialize_with = "or_default")]
    op: i32,
    #[serde(default, deserialize_with = "or_default")]
    seq: i32,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// Whether the first byte behind white space opens an object.
pub(super) fn is_json_object(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        == Some(&b'{')
}
