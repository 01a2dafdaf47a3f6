//! Payloads: JSON that is passed on, and bytes that JSON cannot carry.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;

/// Arrays and objects within one another, at most: what deeper input does to a parser is the sender's to choose, and
/// parsers of receivers recurse.
pub const DEPTH_MAX: usize = 128;

/// One JSON value as it can travel, or `None` if the bytes are not one (or nest deeper than [`DEPTH_MAX`]).
///
/// Replies are separated by line breaks. JSON allows one only between tokens, so there each becomes a space; the value is
/// the same. White space around it is dropped. Borrows unless there is a line break.
#[must_use]
pub fn normalise(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = simdutf8::basic::from_utf8(bytes).ok()?;
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    if is_too_deep(text) {
        return None;
    }
    serde_json::from_str::<IgnoredAny>(text).ok()?;

    Some(on_one_line(text.as_bytes()))
}

/// The same JSON with spaces for line breaks. Borrows unless there is one.
pub(super) fn on_one_line(json: &[u8]) -> Cow<'_, [u8]> {
    if !json.iter().any(|&byte| is_line_break(byte)) {
        return Cow::Borrowed(json);
    }
    let mut json = json.to_vec();
    for byte in json.iter_mut().filter(|byte| is_line_break(**byte)) {
        *byte = b' ';
    }
    Cow::Owned(json)
}

/// Appends a payload: as it is when `is_json` (one JSON value without a line break), as a base64 text otherwise.
pub fn write_data(out: &mut Vec<u8>, bytes: &[u8], is_json: bool) {
    if is_json {
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(
        written.ok(),
        Some(out.len() - start),
        "padded base64 has four characters for three bytes"
    );
    out.push(b'"');
}

/// Counts braces and brackets outside of strings. On text that is not JSON the count means nothing, and the parser
/// refuses it afterwards.
pub(super) fn is_too_deep(text: &str) -> bool {
    // The usual text does not open as many at all, which takes a fraction of the time to see.
    let opened = text
        .bytes()
        .filter(|byte| matches!(byte, b'{' | b'['))
        .count();
    opened > DEPTH_MAX && nests_too_deep(text)
}

fn nests_too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut is_in_string = false;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_in_string = !is_in_string,
            b'\\' if is_in_string => {
                bytes.next();
            }
            b'{' | b'[' if !is_in_string => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b'}' | b']' if !is_in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

const fn is_line_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}
