//! A small HTTP/1.1 client: one POST to the control API, over plain TCP, as `fanfare push` needs it.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// For connecting, and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer of the control API to one publication is some hundred bytes.
const RESPONSE_BYTES_MAX: u64 = 1 << 20;

const HEADERS_MAX: usize = 64;

/// What the server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0} is not a URL of the control API: it looks like http://127.0.0.1:8001")]
    Url(String),
    #[error("cannot reach the control API at {0}: {1}. Is the server running?")]
    Connect(String, io::Error),
    #[error("the connection to {0} failed: {1}")]
    Exchange(String, io::Error),
    #[error("{0} does not answer in HTTP: is it the control API's port?")]
    NotHttp(String),
}

/// Posts JSON to `path` of the server. Header values must be free of line breaks.
pub(crate) fn post(
    url: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response, HttpError> {
    let authority = authority(url)?;
    let exchange = |error| HttpError::Exchange(authority.to_owned(), error);
    let mut stream =
        connect(authority).map_err(|error| HttpError::Connect(authority.to_owned(), error))?;
    let written = stream.write_all(&request(authority, path, headers, body));
    let mut answer = Vec::new();
    // The request says "Connection: close", so the answer ends where the stream does.
    let read = stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut answer);
    // A server that refuses a long body says so and closes before it has read it, so that the write fails, and
    // maybe the end of the read: what it said is worth more than either error.
    if let Some(response) = parse(&answer) {
        return Ok(response);
    }
    written.and(read.map(drop)).map_err(exchange)?;
    Err(HttpError::NotHttp(authority.to_owned()))
}

/// `host:port` of `http://host:port/`.
fn authority(url: &str) -> Result<&str, HttpError> {
    let authority = url
        .strip_prefix("http://")
        .unwrap_or(url)
        .trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if authority.is_empty() || !authority.contains(':') || !authority.chars().all(is_plain) {
        return Err(HttpError::Url(url.to_owned()));
    }
    Ok(authority)
}

fn connect(authority: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn request(authority: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    request
}

/// Reads a response with a Content-Length, which is how the control API answers, or in chunks, as proxies may.
fn parse(answer: &[u8]) -> Option<Response> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_len) = head.parse(answer).ok()? else {
        return None;
    };
    let header = |name: &str| {
        let mut headers = head.headers.iter();
        let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(std::str::from_utf8(header.value).ok()?.trim())
    };
    let rest = answer.get(head_len..)?;
    let body = match header("content-length") {
        Some(length) => rest.get(..length.parse().ok()?)?.to_vec(),
        None if header("transfer-encoding")?.eq_ignore_ascii_case("chunked") => unchunked(rest)?,
        None => return None,
    };
    Some(Response {
        status: head.code?,
        body,
    })
}

/// The content of chunks (RFC 9112 section 7.1) that have all arrived.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((start, length)) = httparse::parse_chunk_size(rest).ok()?
        else {
            return None;
        };
        if length == 0 {
            return Some(body);
        }
        let (chunk, after) = rest
            .get(start..)?
            .split_at_checked(usize::try_from(length).ok()?)?;
        body.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_be_short() {
        for url in [
            "http://127.0.0.1:8001",
            "http://127.0.0.1:8001/",
            "127.0.0.1:8001",
        ] {
            assert_eq!(authority(url).expect("a URL"), "127.0.0.1:8001");
        }
        assert_eq!(authority("http://[::1]:8001").expect("a URL"), "[::1]:8001");
        for wrong in [
            "",
            "http://",
            "https://127.0.0.1:8001",
            "127.0.0.1",
            "a:1/b",
            "a:1\r\nX: y",
        ] {
            assert!(authority(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_request_is_framed_by_its_length() {
        let request = request("h:1", "/api/publish", &[("X-API-Key", "k")], b"{}");
        assert_eq!(
            std::str::from_utf8(&request).expect("ASCII"),
            "POST /api/publish HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\nConnection: close\r\nX-API-Key: k\r\n\r\n{}"
        );
    }

    #[test]
    fn a_response_is_read_by_its_length() {
        let response =
            parse(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}").expect("a response");
        assert_eq!(
            response,
            Response {
                status: 404,
                body: b"{}".to_vec()
            }
        );
        assert_eq!(
            parse(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}"),
            None
        );
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n{}"), None);
        let chunked = |body: &str| {
            let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            parse(answer.as_bytes()).map(|response| response.body)
        };
        assert_eq!(
            chunked("3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n"),
            Some(br#"{"a":1}"#.to_vec())
        );
        assert_eq!(chunked("3\r\n{\"a\r\n"), None);
        assert_eq!(chunked("ffffffffffffffff\r\n{"), None);
        assert_eq!(parse(b"SSH-2.0-OpenSSH_9.2\r\n"), None);
        assert_eq!(parse(b""), None);
    }
}
