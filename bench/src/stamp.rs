//! Payloads that carry a number: `{"n":17,"pad":"xxxx"}`, JSON of one length whatever the number.

/// What stands before the number.
const BEFORE: &[u8] = br#"{"n":"#;
/// Between the number and the padding.
const BETWEEN: &[u8] = br#","pad":""#;
/// After the padding.
const AFTER: &[u8] = br#""}"#;

/// Shortest payload that holds any number.
pub const BYTES_MIN: usize = BEFORE.len() + 20 + BETWEEN.len() + AFTER.len();

/// A payload with this number, of `bytes` bytes but at least [`BYTES_MIN`].
#[must_use]
pub fn payload(number: u64, bytes: usize) -> String {
    let mut text = format!(r#"{{"n":{number},"pad":""#);
    let pad = bytes.max(BYTES_MIN) - text.len() - AFTER.len();
    text.extend(std::iter::repeat_n('x', pad));
    text.push_str(r#""}"#);
    text
}

/// The number of a payload; `None` when it is not one of ours.
#[must_use]
pub fn number(payload: &[u8]) -> Option<u64> {
    let rest = payload.strip_prefix(BEFORE)?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    if digits == 0 || !rest[digits..].starts_with(BETWEEN) || !payload.ends_with(AFTER) {
        return None;
    }
    rest[..digits].iter().try_fold(0_u64, |number, byte| {
        number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })
}

/// Whether the payload is not one with another number.
#[must_use]
pub fn agrees(payload: &[u8], with: u64) -> bool {
    number(payload).is_none_or(|number| number == with)
}

/// How many numbers a short payload tells apart.
pub const SHORT_NUMBERS: u64 = 9_000;

/// A payload as long as `{"test":1}`, with the number modulo [`SHORT_NUMBERS`]: `{"t":1017}`, JSON too.
#[must_use]
pub fn short(number: u64) -> [u8; 10] {
    let digits = 1_000 + number % SHORT_NUMBERS;
    let mut payload = *br#"{"t":0000}"#;
    for (at, power) in (5..).zip([1_000, 100, 10, 1]) {
        // One digit.
        payload[at] = b'0' + u8::try_from(digits / power % 10).unwrap_or(0);
    }
    payload
}

/// Numbers from here on are of no run: a payload that has one is broken.
const NUMBERS_MAX: u64 = 1 << 62;

/// The number of a payload; of those that a short one may have, the one nearest to `next`.
#[must_use]
pub fn number_near(payload: &[u8], next: u64) -> Option<u64> {
    match short_number(payload) {
        Some(remainder) => Some(nearest(remainder, next)),
        None => number(payload).filter(|&number| number < NUMBERS_MAX),
    }
}

fn nearest(remainder: u64, next: u64) -> u64 {
    let ahead = (remainder + SHORT_NUMBERS - next % SHORT_NUMBERS) % SHORT_NUMBERS;
    if ahead < SHORT_NUMBERS / 2 || next + ahead <= SHORT_NUMBERS {
        next + ahead
    } else {
        next + ahead - SHORT_NUMBERS
    }
}

/// The number of a short payload, modulo [`SHORT_NUMBERS`].
#[must_use]
pub fn short_number(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(br#"{"t":"#)?.strip_suffix(b"}")?;
    if digits.len() != 4 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = digits
        .iter()
        .fold(0, |digits, byte| digits * 10 + u64::from(byte - b'0'));
    digits.checked_sub(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_back_and_the_length_does_not_depend_on_it() {
        for n in [0, 1, 999, u64::MAX] {
            let text = payload(n, 64);
            assert_eq!(
                (number(text.as_bytes()), text.len()),
                (Some(n), 64),
                "{text}"
            );
        }
        assert_eq!(payload(u64::MAX, 0).len(), BYTES_MIN);
    }

    #[test]
    fn short_payloads_hold_the_number_modulo() {
        assert_eq!(&short(17), br#"{"t":1017}"#);
        for n in [0, 1, 8_999, 9_000, 123_456_789] {
            assert_eq!(short_number(&short(n)), Some(n % SHORT_NUMBERS));
        }
        for text in [
            r#"{"t":0999}"#,
            r#"{"t":10}"#,
            r#"{"t":1x00}"#,
            r#"{"test":1}"#,
        ] {
            assert_eq!(short_number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_number_known_by_its_remainder_is_the_one_nearest_to_the_next() {
        for (number, next, expected) in [
            (2, 2, 2),
            (5, 2, 5),
            // There is none before the first.
            (0, 2, 9_000),
            (0, 9_000, 9_000),
            (3, 9_000, 9_003),
            // Again.
            (8_999, 9_000, 8_999),
        ] {
            let near = number_near(&short(number), next);
            assert_eq!(near, Some(expected), "{number} near {next}");
        }
    }

    #[test]
    fn a_long_payload_has_one_number_wherever_it_is_looked_for() {
        let near = |number| number_near(payload(number, 64).as_bytes(), 17);
        assert_eq!(near(123_456), Some(123_456));
        assert_eq!(near(u64::MAX), None, "no run has so many");
    }

    #[test]
    fn other_payloads_have_no_number() {
        for text in [
            r#"{"test":1}"#,
            r#"{"n":,"pad":""}"#,
            r#"{"n":1,"pad":"x"#,
            "",
        ] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }
}
