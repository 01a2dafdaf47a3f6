//! Parameters of a URL, read as Go's `net/url` and gin's binding do, with the words of their complaints.

use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

/// The parameters, in their order. The head's bound ([`api::listener`](crate::api)) bounds them.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands after the `?`. What is not well-formed is left out, as `url.Values` does.
    pub(super) fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&');
        Self(pairs.filter_map(pair).collect())
    }

    /// The first value of this name.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }

    /// The first value as a number; 0 when there is none or it is empty.
    pub(super) fn number<T: FromStr<Err = ParseIntError>>(&self, name: &str) -> Result<T, String> {
        number(self.first(name).unwrap_or_default())
    }

    /// Every value as a number.
    pub(super) fn numbers<T: FromStr<Err = ParseIntError>>(
        &self,
        name: &str,
    ) -> Result<Vec<T>, String> {
        self.all(name).map(number).collect()
    }
}

/// gin's complaint about parameters that are missing or zero, by the names of its fields.
pub(super) fn require(fields: &[(&str, bool)]) -> Result<(), String> {
    let missing = fields.iter().filter(|(_, is_there)| !is_there);
    let complaints: Vec<String> = missing
        .map(|(field, _)| {
            format!(
                "Key: '{field}' Error:Field validation for '{field}' failed on the 'required' tag"
            )
        })
        .collect();
    if complaints.is_empty() {
        return Ok(());
    }
    Err(complaints.join("\n"))
}

fn pair(text: &str) -> Option<(String, String)> {
    // Go takes `;` for a separator no more, since some servers in a chain do and others do not.
    if text.is_empty() || text.contains(';') {
        return None;
    }
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    Some((unescape(key)?, unescape(value)?))
}

/// `None` for a `%` without two hexadecimal digits. What is not UTF-8 then is replaced: all names here are text.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    let digits = if text.is_empty() { "0" } else { text };
    digits.parse().map_err(|error: ParseIntError| {
        let what = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {}: {what}", quote(text))
    })
}

/// Go's `strconv.Quote`.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            control if control.is_ascii_control() => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(control)));
            }
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, name: &str) -> Vec<String> {
        let query = Query::parse(Some(text));
        query.all(name).map(str::to_owned).collect()
    }

    #[test]
    fn a_repeated_parameter_has_several_values_and_a_comma_splits_none() {
        assert_eq!(all("keys=a&x=1&keys=b&keys=a", "keys"), ["a", "b", "a"]);
        assert_eq!(all("keys=a,b", "keys"), ["a,b"]);
        assert_eq!(Query::parse(Some("n=1&n=2")).first("n"), Some("1"));
        assert_eq!(Query::parse(None).first("n"), None);
    }

    #[test]
    fn escapes_are_read_and_what_is_none_is_left_out() {
        assert_eq!(all("k=a%20b+c%2Bd%e4%bd%a0", "k"), ["a b c+d你"]);
        assert_eq!(all("%6b=v&k", "k"), ["v", ""]);
        assert_eq!(all("k=a=b", "k"), ["a=b"]);
        assert_eq!(all("k=%&k=%4&k=%zz&k=a;b&&=x&k=ok", "k"), ["ok"]);
        assert_eq!(all("k=%ff", "k"), ["\u{fffd}"]);
    }

    #[test]
    fn numbers_are_read_as_go_does() {
        let number = |text: &str| Query::parse(Some(text)).number::<i32>("n");
        assert_eq!(number(""), Ok(0));
        assert_eq!(number("n="), Ok(0));
        assert_eq!(number("n=-5"), Ok(-5));
        assert_eq!(number("n=%2B5"), Ok(5));
        assert_eq!(number("n=007"), Ok(7));
        let complaint =
            |quoted: &str, what: &str| Err(format!("strconv.ParseInt: parsing {quoted}: {what}"));
        assert_eq!(number("n=1.5"), complaint(r#""1.5""#, "invalid syntax"));
        // A plus sign that is not escaped is a space.
        assert_eq!(number("n=+5"), complaint(r#"" 5""#, "invalid syntax"));
        assert_eq!(
            number("n=2147483648"),
            complaint(r#""2147483648""#, "value out of range")
        );
        assert_eq!(
            number("n=%22%0a%00%c2%85"),
            complaint(r#""\"\n\x00\u0085""#, "invalid syntax")
        );
    }

    #[test]
    fn what_is_missing_is_told_in_gins_words() {
        assert_eq!(require(&[("Op", true)]), Ok(()));
        assert_eq!(
            require(&[("Op", false), ("Type", true), ("Room", false)]),
            Err(
                "Key: 'Op' Error:Field validation for 'Op' failed on the 'required' tag\n\
                 Key: 'Room' Error:Field validation for 'Room' failed on the 'required' tag"
                    .to_owned()
            )
        );
    }
}
