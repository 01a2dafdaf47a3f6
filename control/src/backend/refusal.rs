//! What a backend may say instead of yes, and the bounds of it.

use std::ops::RangeInclusive;

use fanfare_engine::backend::{REFUSAL_TEXT_BYTES_MAX, Refused};

/// Codes of errors: the protocol's below 400, the application's from there on.
pub(crate) const ERROR_CODES: RangeInclusive<u16> = 100..=1_999;

/// Codes of disconnects: the protocol's below 4000, the application's from there on.
pub(crate) const DISCONNECT_CODES: RangeInclusive<u16> = 3_000..=4_999;

/// An error reply, unless SDKs would not know what the code means.
pub(crate) fn error(code: u32, message: &str, is_temporary: bool) -> Option<Refused> {
    Some(Refused::Error {
        code: within(code, &ERROR_CODES)?,
        message: cut(message),
        is_temporary,
    })
}

/// The end of the connection, unless SDKs would not know what the code means.
pub(crate) fn disconnect(code: u32, reason: &str) -> Option<Refused> {
    Some(Refused::Disconnect {
        code: within(code, &DISCONNECT_CODES)?,
        reason: cut(reason),
    })
}

fn within(code: u32, range: &RangeInclusive<u16>) -> Option<u16> {
    u16::try_from(code).ok().filter(|code| range.contains(code))
}

/// As much of the text as there is room for.
fn cut(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(REFUSAL_TEXT_BYTES_MAX)].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_bounded() {
        for code in [0, 99, 2_000, 65_636, u32::MAX] {
            assert_eq!(error(code, "", false), None, "{code}");
        }
        for code in [0, 2_999, 5_000, 69_536, u32::MAX] {
            assert_eq!(disconnect(code, ""), None, "{code}");
        }
        assert!(error(100, "", false).is_some() && error(1_999, "", false).is_some());
        assert!(disconnect(3_000, "").is_some() && disconnect(4_999, "").is_some());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let Some(Refused::Disconnect { reason, .. }) = disconnect(4_000, &"é".repeat(100)) else {
            panic!("4000 is a code");
        };
        assert_eq!(&*reason, "é".repeat(61));
    }
}
