//! Query strings and forms: `application/x-www-form-urlencoded`, as the URL standard reads it, but for what is not UTF-8:
//! that is refused, since what a client says is passed on as it is.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::Head;

/// A value is not UTF-8 when it is decoded. The answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a parameter is not UTF-8: encode its text as UTF-8 first")]
pub struct NotUtf8;

/// The value of the first parameter of this name in a query (what stands after the `?`) or in a form. `+` is a space, `%` and
/// two hexadecimal digits a byte, and a `%` before anything else itself. Borrows unless something is encoded.
///
/// # Errors
/// See [`NotUtf8`]. Of other parameters it is not asked.
pub fn parameter<'a>(text: &'a [u8], name: &str) -> Result<Option<Cow<'a, str>>, NotUtf8> {
    let value = text
        .split(|&byte| byte == b'&')
        .map(split_pair)
        .find_map(|(it, value)| (*decode(it) == *name.as_bytes()).then_some(value));
    value.map(|value| to_text(decode(value))).transpose()
}

impl Head<'_> {
    /// The value of the first parameter of this name in the query of the target.
    ///
    /// # Errors
    /// See [`NotUtf8`].
    pub fn parameter(&self, name: &str) -> Result<Option<Cow<'_, str>>, NotUtf8> {
        parameter(self.query.unwrap_or_default().as_bytes(), name)
    }
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|&byte| byte == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, b""),
    }
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'+') {
        return percent_decode(text).into();
    }
    let spaced = text
        .iter()
        .map(|&byte| if byte == b'+' { b' ' } else { byte });
    let spaced: Vec<u8> = spaced.collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

fn to_text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, NotUtf8> {
    match bytes {
        Cow::Borrowed(bytes) => str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|_| NotUtf8),
        Cow::Owned(bytes) => String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|_| NotUtf8),
    }
}
