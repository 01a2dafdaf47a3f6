//! Answers. Names and values of headers are the caller's own text, or were part of a request head: without line breaks.

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The server closes it.
    Close,
    /// Another request may follow.
    KeepAlive,
}

/// Appends a whole answer.
pub fn write_response(
    out: &mut Vec<u8>,
    status: u16,
    connection: Connection,
    headers: &[(&str, &str)],
    body: &[u8],
) {
    write_status(out, status);
    write_header(
        out,
        "Connection",
        match connection {
            Connection::Close => "close",
            Connection::KeepAlive => "keep-alive",
        },
    );
    // RFC 9110 section 8.6: 204 has no content, and no length of it.
    if status != 204 {
        write_header(out, "Content-Length", &body.len().to_string());
    }
    for (name, value) in headers {
        write_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// Appends the head of an answer whose body goes on until [`LAST_CHUNK`], in chunks. Nothing on the way may keep any of it.
pub fn write_stream_head(out: &mut Vec<u8>, content_type: &str, headers: &[(&str, &str)]) {
    write_status(out, 200);
    write_header(out, "Connection", "close");
    write_header(out, "Transfer-Encoding", "chunked");
    write_header(out, "Content-Type", content_type);
    write_header(
        out,
        "Cache-Control",
        "private, no-cache, no-store, must-revalidate, max-age=0",
    );
    // nginx and its likes gather answers otherwise.
    write_header(out, "X-Accel-Buffering", "no");
    for (name, value) in headers {
        write_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// The end of a body in chunks (RFC 9112 section 7.1).
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The size line of most chunks: four digits, leading zeros allowed.
const EXPECTED_SIZE_BYTES: usize = 6;

/// Appends one chunk, whose content `write_content` appends to `out`. It must not be empty: that would end the body.
pub fn write_chunk_with(out: &mut Vec<u8>, write_content: impl FnOnce(&mut Vec<u8>)) {
    let chunk_at = out.len();
    let content_at = chunk_at + EXPECTED_SIZE_BYTES;
    out.extend_from_slice(b"0000\r\n");
    write_content(out);
    debug_assert!(out.len() > content_at, "an empty chunk ends the body");
    let size = format!("{:04x}\r\n", out.len() - content_at);
    if size.len() == EXPECTED_SIZE_BYTES {
        out[chunk_at..content_at].copy_from_slice(size.as_bytes());
    } else {
        out.splice(chunk_at..content_at, size.bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn write_status(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.to_string().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(!value.contains(['\r', '\n']), "a header is one line");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        // The phrase may be empty (RFC 9112 section 4); the status says it.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_says_how_long_it_is() {
        for (length, size) in [(1, "0001"), (65_535, "ffff"), (65_536, "10000")] {
            let mut out = b"before".to_vec();
            write_chunk_with(&mut out, |out| out.resize(out.len() + length, b'x'));
            let content = "x".repeat(length);
            assert_eq!(
                out,
                format!("before{size}\r\n{content}\r\n").as_bytes(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn an_answer_without_content_has_no_length() {
        let mut out = Vec::new();
        write_response(&mut out, 204, Connection::KeepAlive, &[("A", "b")], b"");
        assert_eq!(
            out,
            b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\nA: b\r\n\r\n"
        );
    }
}
