//! UTF-8 checked while it arrives, RFC 6455 sections 5.6 and 8.1.

use super::error::Error;

/// Extends the known-valid prefix of `text` from `valid_bytes` as far as whole characters go and gives its new length.
///
/// At most 3 bytes then follow it: the start of a character that later bytes may complete, which they no longer can if the
/// text is complete. A byte no valid text can have at its place is an error at once.
pub(super) fn extend_valid(
    text: &[u8],
    valid_bytes: usize,
    is_complete: bool,
) -> Result<usize, Error> {
    let Err(stop) = simdutf8::compat::from_utf8(&text[valid_bytes..]) else {
        return Ok(text.len());
    };
    // `error_len` is none exactly if the text ends inside a character that is valid so far.
    if stop.error_len().is_some() || is_complete {
        return Err(Error::InvalidUtf8);
    }
    Ok(valid_bytes + stop.valid_up_to())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Feeds `text` byte by byte; gives how many bytes were taken before the error, if there was one.
    fn bytes_taken(text: &[u8]) -> Option<usize> {
        let mut valid_bytes = 0;
        for end in 1..=text.len() {
            let is_complete = end == text.len();
            match extend_valid(&text[..end], valid_bytes, is_complete) {
                Ok(valid) => valid_bytes = valid,
                Err(_) => return Some(end),
            }
            assert!(end - valid_bytes <= 3);
        }
        None
    }

    #[test]
    fn every_character_passes_byte_by_byte() {
        let step = if cfg!(miri) { 4099 } else { 1 };
        for character in (0..=u32::from(char::MAX))
            .step_by(step)
            .filter_map(char::from_u32)
        {
            let mut buffer = [0; 4];
            let text = character.encode_utf8(&mut buffer).as_bytes();
            assert_eq!(bytes_taken(text), None, "{character:?}");
        }
    }

    #[test]
    fn fails_at_the_first_byte_that_cannot_be_valid() {
        let cases: [(&[u8], usize); 12] = [
            (b"\x80", 1),     // a continuation byte alone
            (b"\xC0\x80", 1), // overlong by definition
            (b"\xC1\xBF", 1),
            (b"\xE0\x9F\xBF", 2), // overlong, known at the second byte
            (b"\xED\xA0\x80", 2), // a surrogate
            (b"\xF0\x8F\xBF\xBF", 2),
            (b"\xF4\x90\x80\x80", 2), // past U+10FFFF
            (b"\xF5\x80\x80\x80", 1),
            (b"\xFF", 1),
            (b"\xE2\x82A", 3),
            (b"ab\xF0\x9F\x98", 5), // complete, but the character is not
            (b"\xCE\xBA\xE1\xBD\xB9\xF4\x90", 7),
        ];
        for (text, taken) in cases {
            assert_eq!(bytes_taken(text), Some(taken), "{text:02x?}");
        }
    }
}
