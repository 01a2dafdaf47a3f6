//! Agreeing on permessage-deflate in the opening handshake, RFC 7692 section 7.1, and the grammar of RFC 6455 section 9.1.

use super::deflate::WINDOW_BITS;

/// `Sec-WebSocket-Extensions` does not follow its grammar. RFC 6455 section 9.1 has the handshake fail: answer 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Sec-WebSocket-Extensions is malformed")]
pub struct ExtensionsError;

/// The answer to an offer of permessage-deflate that was accepted.
///
/// Neither side takes over context, which RFC 7692 sections 7.1.1.1 and 7.1.1.2 let a server say unasked: what it sends is
/// compressed once for all, and of what it receives it keeps no window. The client may use any window, so
/// `client_max_window_bits` is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateAnswer {
    /// The offer limits the window, so the answer has to name one (section 7.1.2.1).
    names_window: bool,
}

impl DeflateAnswer {
    /// The value of `Sec-WebSocket-Extensions`.
    pub const fn as_str(self) -> &'static str {
        if self.names_window {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=13"
        } else {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        }
    }
}

/// Answers the first offer of permessage-deflate that can be kept; without one, the connection goes on uncompressed.
///
/// `values` are those of all `Sec-WebSocket-Extensions` lines, in order. An offer is declined if it asks for a window below
/// [`WINDOW_BITS`], or holds a parameter that is unknown, doubled or of a wrong value (RFC 7692 section 7.1). Takes no memory.
///
/// # Errors
///
/// If any of the values is malformed, whichever extension it is about.
pub fn accept_deflate<'a>(
    values: impl IntoIterator<Item = &'a str>,
) -> Result<Option<DeflateAnswer>, ExtensionsError> {
    let mut answer = None;
    for value in values {
        let mut rest = Cursor(value.as_bytes());
        while !rest.is_at_end() {
            let offered = read_offer(&mut rest)?;
            answer = answer.or(offered);
        }
    }
    Ok(answer)
}

/// Reads one extension with its parameters, and the comma behind it. Gives the answer to it if it is one to accept.
fn read_offer(rest: &mut Cursor<'_>) -> Result<Option<DeflateAnswer>, ExtensionsError> {
    if rest.skip(b',') {
        return Ok(None); // an empty member of the list (RFC 9110 section 5.6.1)
    }
    let is_deflate = rest.token()? == b"permessage-deflate";
    let mut offer = Offer::default();
    let mut is_acceptable = is_deflate;
    while rest.skip(b';') {
        let name = rest.token()?;
        let value = if rest.skip(b'=') {
            Some(rest.value()?)
        } else {
            None
        };
        is_acceptable &= offer.take(name, value);
    }
    if !rest.skip(b',') && !rest.is_at_end() {
        return Err(ExtensionsError);
    }
    Ok(is_acceptable.then_some(DeflateAnswer {
        names_window: offer.server_max_window_bits,
    }))
}

/// The parameters of an offer that came so far.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: bool,
    client_max_window_bits: bool,
}

impl Offer {
    /// Whether the offer can be accepted as far as this parameter goes.
    fn take(&mut self, name: &[u8], value: Option<Value<'_>>) -> bool {
        let (seen, is_acceptable) = match name {
            b"server_no_context_takeover" => {
                (&mut self.server_no_context_takeover, value.is_none())
            }
            b"client_no_context_takeover" => {
                (&mut self.client_no_context_takeover, value.is_none())
            }
            b"server_max_window_bits" => (
                &mut self.server_max_window_bits,
                value
                    .and_then(Value::window_bits)
                    .is_some_and(|bits| bits >= WINDOW_BITS),
            ),
            // Without a value it says that the client understands the parameter.
            b"client_max_window_bits" => (
                &mut self.client_max_window_bits,
                value.is_none_or(|value| value.window_bits().is_some()),
            ),
            _ => return false,
        };
        let is_first = !std::mem::replace(seen, true);
        is_first && is_acceptable
    }
}

/// A parameter's value as sent, without its quotes. What it means is what is left without the backslashes, since no token has any.
#[derive(Clone, Copy)]
struct Value<'a>(&'a [u8]);

impl Value<'_> {
    /// 8 to 15, without leading zeros (RFC 7692 section 7.1.2).
    fn window_bits(self) -> Option<u8> {
        let mut digits = self.0.iter().filter(|&&byte| byte != b'\\');
        match (digits.next(), digits.next(), digits.next()) {
            (Some(digit @ b'8'..=b'9'), None, None) => Some(digit - b'0'),
            (Some(b'1'), Some(digit @ b'0'..=b'5'), None) => Some(10 + (digit - b'0')),
            _ => None,
        }
    }
}

/// What is left of a header's value. Blanks around whatever is read are skipped.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.0.is_empty()
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    /// Whether `byte` was next.
    fn skip(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let Some(rest) = self.0.strip_prefix(&[byte]) else {
            return false;
        };
        self.0 = rest;
        true
    }

    fn token(&mut self) -> Result<&'a [u8], ExtensionsError> {
        self.skip_blanks();
        let length = self.0.iter().take_while(|&&byte| is_token(byte)).count();
        if length == 0 {
            return Err(ExtensionsError);
        }
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(token)
    }

    /// A token, or one in quotes, of which any character may be behind a backslash (RFC 6455 section 9.1).
    fn value(&mut self) -> Result<Value<'a>, ExtensionsError> {
        if !self.skip(b'"') {
            return self.token().map(Value);
        }
        let quoted = self.0;
        let mut length = 0;
        loop {
            match &quoted[length..] {
                [b'"', rest @ ..] if length > 0 => {
                    self.0 = rest;
                    return Ok(Value(&quoted[..length]));
                }
                [b'\\', byte, ..] if is_token(*byte) => length += 2,
                [byte, ..] if is_token(*byte) => length += 1,
                _ => return Err(ExtensionsError),
            }
        }
    }
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_the_window_that_is_used() {
        let answer = DeflateAnswer { names_window: true };
        let named = format!("; server_max_window_bits={WINDOW_BITS}");
        assert!(answer.as_str().ends_with(&named));
    }
}
