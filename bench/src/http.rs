//! What publishers send and are answered over HTTP/1.1, on connections that are kept alive.

use std::ops::Range;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Appends a request. The headers end with a line break each.
pub(crate) fn write_post(out: &mut Vec<u8>, path: &str, headers: &str, body: &[u8]) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
}

/// An answer of success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Where its body is, with which it ends.
    pub(crate) body: Range<usize>,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The status is none of success; status line and body.
    Refused(String),
    /// It is not HTTP, or its length is not in front.
    Malformed(String),
}

/// The answer at the start of `bytes`; `None` when it is not complete.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<Answer>, Failed> {
    let Some(head_bytes) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(Failed::Malformed("a head without an end".to_owned()));
        }
        return Ok(None);
    };
    let head = &bytes[..head_bytes];
    let malformed = || Failed::Malformed(String::from_utf8_lossy(head).into_owned());
    let mut lines = str::from_utf8(head).map_err(|_| malformed())?.split("\r\n");
    let line = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .ok_or_else(malformed)?;
    let status = line
        .get(..3)
        .and_then(|digits| digits.parse::<u16>().ok())
        .ok_or_else(malformed)?;
    // Every answer to a publication that these servers give has its length in front.
    let body_bytes = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(malformed)?;
    let start = head_bytes + 4;
    let body = start..start.saturating_add(body_bytes);
    let Some(text) = bytes.get(body.clone()) else {
        return Ok(None);
    };
    if !(200..300).contains(&status) {
        let text = String::from_utf8_lossy(text);
        return Err(Failed::Refused(format!("{line}: {text}")));
    }
    Ok(Some(Answer { status, body }))
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
                status: 202,
                body: end - b"body".len()..end,
            };
            assert_eq!(answer(&answers[..bytes]), Ok(Some(whole)));
        }
    }

    #[test]
    fn what_is_no_success_is_an_error() {
        let refused = answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        assert!(
            matches!(&refused, Err(Failed::Refused(why)) if why == "403 Forbidden: no"),
            "{refused:?}"
        );
        for text in [
            "SMTP\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 20\r\nContent-Length: 0\r\n\r\n",
        ] {
            let parsed = answer(text.as_bytes());
            assert!(matches!(parsed, Err(Failed::Malformed(_))), "{parsed:?}");
        }
        let endless = vec![b'x'; HEAD_BYTES_MAX + 1];
        assert!(matches!(answer(&endless), Err(Failed::Malformed(_))));
        let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", usize::MAX);
        assert!(matches!(answer(huge.as_bytes()), Ok(None)));
    }
}
