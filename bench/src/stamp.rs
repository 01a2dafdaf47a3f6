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
