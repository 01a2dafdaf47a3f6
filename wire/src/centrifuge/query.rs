//! The parameter of a request's target by which clients that can only `GET` send their first message.

use std::borrow::Cow;

/// Its name. SSE carries a message of commands in it (bidirectional) or a connect (unidirectional), both as JSON.
pub const CONNECT_PARAMETER: &str = "cf_connect";

/// Why a query has no readable [`CONNECT_PARAMETER`]. The answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A `%` stands before something other than two hexadecimal digits.
    #[error("{CONNECT_PARAMETER} has a % without two hexadecimal digits: encode % as %25")]
    Escape,
    /// What it stands for is not UTF-8.
    #[error("{CONNECT_PARAMETER} is not UTF-8")]
    Utf8,
}

/// The value of the first [`CONNECT_PARAMETER`] in the query of a target (what stands after its `?`), decoded as forms are:
/// `+` is a space, `%` and two digits a byte. `None` if it is not there or empty. Borrows unless something is encoded.
///
/// # Errors
/// See [`QueryError`].
pub fn connect_parameter(query: &str) -> Result<Option<Cow<'_, str>>, QueryError> {
    let value = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name == CONNECT_PARAMETER).then_some(value));
    match value {
        None | Some("") => Ok(None),
        Some(value) => decode(value).map(Some),
    }
}

fn decode(value: &str) -> Result<Cow<'_, str>, QueryError> {
    if !value.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Ok(Cow::Borrowed(value));
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let [high, low, after @ ..] = after else {
                    return Err(QueryError::Escape);
                };
                decoded.push(digit(*high)? << 4 | digit(*low)?);
                rest = after;
            }
            _ => decoded.push(byte),
        }
    }
    let text = String::from_utf8(decoded).map_err(|_| QueryError::Utf8)?;
    Ok(Cow::Owned(text))
}

const fn digit(byte: u8) -> Result<u8, QueryError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(QueryError::Escape),
    }
}
