//! What dialects make of a payload, by the documents and not by the encoder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// How a dialect carries payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As they were published.
    Bytes,
    /// JSON on one line, and as it was published otherwise; what is not JSON is a text of its base64.
    Json,
    /// The same, but text that is not JSON is a JSON text, and nothing is an object without fields.
    GoimJson,
}

impl View {
    /// What is to be heard of this payload.
    pub fn of(self, payload: &[u8]) -> Vec<u8> {
        if self == Self::Bytes {
            return payload.to_vec();
        }
        if let Some(json) = on_one_line(payload) {
            return json;
        }
        match (self, str::from_utf8(payload)) {
            (Self::GoimJson, Ok("")) => b"{}".to_vec(),
            (Self::GoimJson, Ok(text)) => Value::from(text).to_string().into_bytes(),
            _ => format!("\"{}\"", STANDARD.encode(payload)).into_bytes(),
        }
    }
}

/// JSON, if it is that: every line break in it stands between tokens, and becomes a space.
fn on_one_line(payload: &[u8]) -> Option<Vec<u8>> {
    // It refuses what nests deeper than 128 levels, as the engine does.
    serde_json::from_slice::<Value>(payload).ok()?;
    let mut json = payload.trim_ascii().to_vec();
    for byte in json.iter_mut().filter(|it| matches!(it, b'\n' | b'\r')) {
        *byte = b' ';
    }
    Some(json)
}
