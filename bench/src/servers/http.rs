//! Requests of a publisher over HTTP/1.1, kept alive and pipelined.

use super::PublishError;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Appends a request. The headers end with a line break each.
pub(super) fn write_post(out: &mut Vec<u8>, path: &str, headers: &str, body: &[u8]) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) body: &'a [u8],
    /// How many bytes it takes, with its head.
    pub(super) bytes: usize,
}

/// The answer at the start of `bytes`; `None` when it is not complete.
///
/// # Errors
/// [`PublishError::Refused`] for any status but 2xx.
pub(super) fn answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, PublishError> {
    let Some(head_bytes) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(PublishError::Protocol("a head without an end".to_owned()));
        }
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..head_bytes]);
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .ok_or_else(|| PublishError::Protocol(head.clone().into_owned()))?;
    // Every answer to a publication that these servers give has its length in front.
    let body_bytes = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(|| PublishError::Protocol(head.clone().into_owned()))?;
    let start = head_bytes + 4;
    let end = start.saturating_add(body_bytes);
    let Some(body) = bytes.get(start..end) else {
        return Ok(None);
    };
    if !status.starts_with('2') {
        let body = String::from_utf8_lossy(body);
        return Err(PublishError::Refused(format!("{status}: {body}")));
    }
    Ok(Some(Answer { body, bytes: end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_before_it_is_taken() {
        let answers =
            b"HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\nServer: x\r\n\r\nbodyHTTP/1.1";
        let end = answers.len() - b"HTTP/1.1".len();
        for bytes in 0..end {
            assert!(matches!(answer(&answers[..bytes]), Ok(None)), "{bytes}");
        }
        for bytes in end..answers.len() {
            let whole = Answer {
                body: b"body",
                bytes: end,
            };
            assert_eq!(answer(&answers[..bytes]).expect("an answer"), Some(whole));
        }
    }

    #[test]
    fn what_is_no_success_is_an_error() {
        let refused = answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        assert!(
            matches!(&refused, Err(PublishError::Refused(why)) if why == "403 Forbidden: no"),
            "{refused:?}"
        );
        for text in [
            "SMTP\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ] {
            let parsed = answer(text.as_bytes());
            assert!(
                matches!(parsed, Err(PublishError::Protocol(_))),
                "{parsed:?}"
            );
        }
        let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", usize::MAX);
        assert!(matches!(answer(huge.as_bytes()), Ok(None)));
    }
}
