//! JSON as Go's `encoding/json` writes it, so that replies are the same to the byte.

use std::io;

use serde::ser::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};

use crate::api::{Bounded, Refusal};

/// Writes a reply of at most so many bytes.
pub(super) fn write(reply: &impl Serialize, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let out = Bounded::new(&mut bytes, bytes_max);
    let mut serializer = serde_json::Serializer::with_formatter(out, GoFormatter);
    match reply.serialize(&mut serializer) {
        Ok(()) => Ok(bytes),
        Err(error) if error.is_io() => Err(Refusal::limit(format!(
            "the answer would be longer than api.answer_bytes_max ({bytes_max}): ask for less at once"
        ))),
        Err(_) => Err(Refusal::INTERNAL),
    }
}

/// A reply that is short because what is in it is.
pub(super) fn write_short(reply: &impl Serialize) -> Vec<u8> {
    // Writing numbers and strings to memory cannot fail.
    write(reply, usize::MAX).unwrap_or_default()
}

/// Go escapes what HTML and JavaScript would trip over.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_escaped) {
            let mut after = rest[at..].chars();
            let Some(escaped) = after.next() else { break };
            CompactFormatter.write_string_fragment(out, &rest[..at])?;
            write!(out, "\\u{:04x}", u32::from(escaped))?;
            rest = after.as_str();
        }
        CompactFormatter.write_string_fragment(out, rest)
    }
}

fn is_escaped(character: char) -> bool {
    matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

/// Go writes 2.0 as `2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Float(pub(super) f64);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const WHOLE_MAX: f64 = 1e9;
        if self.0.fract() == 0.0 && self.0.abs() < WHOLE_MAX {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is whole and below a thousand million"
            )]
            let whole = self.0 as i64;
            return serializer.serialize_i64(whole);
        }
        serializer.serialize_f64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    fn text(reply: &impl Serialize) -> String {
        String::from_utf8(write_short(reply)).expect("JSON is UTF-8")
    }

    #[test]
    fn what_html_would_read_is_escaped() {
        assert_eq!(
            text(&"<a href=\"x\">&\u{2028}é\n</a>"),
            r#""\u003ca href=\"x\"\u003e\u0026\u2028é\n\u003c/a\u003e""#
        );
        assert_eq!(text(&"&"), r#""\u0026""#);
        assert_eq!(text(&""), r#""""#);
    }

    #[test]
    fn whole_floats_have_no_point() {
        assert_eq!(text(&[Float(2.0), Float(1.8), Float(0.3)]), "[2,1.8,0.3]");
        assert_eq!(text(&Float(1e300)), "1e+300");
    }

    #[test]
    fn a_reply_beyond_its_bound_is_refused() {
        assert_eq!(write(&[1, 2], 5).expect("it fits"), b"[1,2]");
        let refusal = write(&[1, 2], 4).expect_err("it does not");
        assert_eq!(refusal.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
