//! The opening handshake, RFC 6455 section 4: the server's answer, and the client's request and check.

use super::negotiate::DeflateAnswer;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha1_smol::Sha1;

/// Appended to the key before hashing (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Longest head of a server's answer that is read.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 16 * 1024;

const RESPONSE_HEADERS_MAX: usize = 64;

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`: 28 ASCII characters, the base64 of a SHA-1 (RFC 6455 section 4.2.2).
pub fn accept_key(key: &str) -> [u8; 28] {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID.as_bytes());
    let mut accept = [0; 28];
    let written = STANDARD.encode_slice(hash.digest().bytes(), &mut accept);
    debug_assert_eq!(written, Ok(accept.len()), "20 bytes are 28 characters");
    accept
}

/// `Sec-WebSocket-Key` for 16 random bytes (RFC 6455 section 4.1): 24 ASCII characters.
pub fn client_key(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// Appends the answer that turns the connection into a WebSocket. `protocol` is one of those the client offered; with
/// `deflate`, from [`accept_deflate`](super::accept_deflate), the connection compresses.
pub fn write_switching_protocols(
    out: &mut Vec<u8>,
    key: &str,
    protocol: Option<&str>,
    deflate: Option<DeflateAnswer>,
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept_key(key));
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        write_header(out, "Sec-WebSocket-Protocol", protocol);
    }
    if let Some(deflate) = deflate {
        write_header(out, EXTENSIONS, deflate.as_str());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a client's request to open a WebSocket. `key` is from [`client_key`]; the arguments hold no line breaks.
pub fn write_client_handshake(
    out: &mut Vec<u8>,
    host: &str,
    path: &str,
    key: &str,
    protocol: Option<&str>,
) {
    out.extend_from_slice(b"GET ");
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_header(out, "Host", host);
    write_header(out, "Upgrade", "websocket");
    write_header(out, "Connection", "Upgrade");
    write_header(out, "Sec-WebSocket-Key", key);
    write_header(out, "Sec-WebSocket-Version", "13");
    if let Some(protocol) = protocol {
        write_header(out, "Sec-WebSocket-Protocol", protocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// Why a server's answer does not open a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not an HTTP/1.1 response head.
    #[error("the server's answer is not an HTTP/1.1 response")]
    Malformed,
    /// More than [`RESPONSE_HEAD_BYTES_MAX`] bytes, or too many header lines.
    #[error("the head of the server's answer is too large")]
    TooLarge,
    /// Any status but 101.
    #[error("the server answered {0} where 101 opens a WebSocket")]
    Status(u16),
    /// `Upgrade` or `Connection` do not say so.
    #[error("the server's answer does not upgrade to websocket")]
    NotUpgraded,
    /// `Sec-WebSocket-Accept` is missing or belongs to another key.
    #[error("the server's Sec-WebSocket-Accept does not match the key")]
    Accept,
    /// The server chose a subprotocol that was not offered.
    #[error("the server chose a subprotocol that was not offered")]
    Protocol,
    /// The server chose an extension, none of which is offered.
    #[error("the server chose an extension that was not offered")]
    Extension,
}

/// Checks a server's answer to [`write_client_handshake`] (RFC 6455 section 4.1).
///
/// Gives the length of the head, after which frames follow, or `None` if it is not complete. A server may leave out the
/// offered `protocol` but must not choose another.
///
/// # Errors
///
/// The connection is of no use then.
pub fn check_response(
    input: &[u8],
    key: &str,
    protocol: Option<&str>,
) -> Result<Option<usize>, ResponseError> {
    let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = match response.parse(input) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if input.len() < RESPONSE_HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(ResponseError::TooLarge);
        }
        Err(_) => return Err(ResponseError::Malformed),
    };
    if response.version != Some(1) {
        return Err(ResponseError::Malformed);
    }
    match response.code {
        Some(101) => {}
        Some(status) => return Err(ResponseError::Status(status)),
        None => return Err(ResponseError::Malformed),
    }

    let header = |name: &str| {
        let mut found = response
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        found.next().map(|header| header.value)
    };
    let is_websocket =
        header("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
    let is_upgraded = header("Connection").is_some_and(|value| {
        let mut tokens = value.split(|&byte| byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    if !is_websocket || !is_upgraded {
        return Err(ResponseError::NotUpgraded);
    }
    if header("Sec-WebSocket-Accept") != Some(&accept_key(key)) {
        return Err(ResponseError::Accept);
    }
    let chosen = header("Sec-WebSocket-Protocol");
    if chosen.is_some() && chosen != protocol.map(str::as_bytes) {
        return Err(ResponseError::Protocol);
    }
    if header(EXTENSIONS).is_some() {
        return Err(ResponseError::Extension);
    }
    Ok(Some(head_bytes))
}

fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn answer(protocol: Option<&str>) -> String {
        let mut out = Vec::new();
        write_switching_protocols(&mut out, KEY, protocol, None);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn example_of_rfc_6455_section_1_3() {
        assert_eq!(&accept_key(KEY), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(client_key(*b"the sample nonce"), KEY);
    }

    #[test]
    fn answer_is_accepted_once_complete() {
        let text = answer(Some("native"));
        let with_frames = format!("{text}\u{2}\u{3}");
        let checked = check_response(with_frames.as_bytes(), KEY, Some("native"));
        assert_eq!(checked, Ok(Some(text.len())));
        for cut in 0..text.len() {
            let checked = check_response(&text.as_bytes()[..cut], KEY, Some("native"));
            assert_eq!(checked, Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn wrong_answers_are_refused() {
        let check = |text: &str| check_response(text.as_bytes(), KEY, Some("a"));
        let good = answer(Some("a"));
        assert!(check(&answer(None)).is_ok_and(|length| length.is_some()));
        assert_eq!(check(&answer(Some("b"))), Err(ResponseError::Protocol));
        for (was, is, error) in [
            ("101 Switching", "200 Keeping", ResponseError::Status(200)),
            ("HTTP/1.1", "HTTP/1.0", ResponseError::Malformed),
            ("HTTP/1.1", "nonsense", ResponseError::Malformed),
            ("websocket", "h2c", ResponseError::NotUpgraded),
            (": Upgrade", ": close", ResponseError::NotUpgraded),
            ("s3pP", "S3pP", ResponseError::Accept),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
                ResponseError::Extension,
            ),
        ] {
            assert!(good.contains(was));
            assert_eq!(check(&good.replace(was, is)), Err(error), "{was} -> {is}");
        }
        let endless = format!(
            "HTTP/1.1 101 x\r\nA: {}",
            "b".repeat(RESPONSE_HEAD_BYTES_MAX)
        );
        assert_eq!(check(&endless), Err(ResponseError::TooLarge));
    }

    #[test]
    fn request_is_one_that_upgrades() {
        let mut out = Vec::new();
        write_client_handshake(&mut out, "localhost:8000", "/x?y=1", KEY, Some("a"));
        let (head, length) = crate::http::parse_head(&out)
            .expect("valid")
            .expect("complete");
        assert_eq!(length, out.len());
        let upgrade = crate::http::upgrade(&head).expect("an upgrade");
        assert_eq!(upgrade.key, KEY);
        assert!(upgrade.protocols().eq(["a"]));
    }
}
