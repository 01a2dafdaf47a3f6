//! The answers of the Comet calls of PHPWebIM: one JSON object each, and a line of its own, so that several can be kept in a
//! row. The requests are forms, see [`http::parameter`](crate::http::parameter).
//!
//! A page reads `success` first: 1 with what it asked for, or 0 with the reason in `text`.

use crate::centrifuge::json::write_data;

/// The form of requests.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Appends the name of a session that has been opened. The name is of letters and digits.
pub fn write_session(out: &mut Vec<u8>, session: &str) {
    out.extend_from_slice(br#"{"success":1,"session_id":"#);
    write_text(out, session);
    out.extend_from_slice(b"}\n");
}

/// Appends that a message has been taken.
pub fn write_published(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"success\":1}\n");
}

/// Appends a message, without the line break: its text as a JSON string, or base64 if it is not UTF-8.
pub fn write_message(out: &mut Vec<u8>, message: &[u8]) {
    out.extend_from_slice(br#"{"success":1,"data":"#);
    match simdutf8::basic::from_utf8(message) {
        Ok(text) => write_text(out, text),
        Err(_) => write_data(out, message, false),
    }
    out.push(b'}');
}

/// Appends why there is nothing else to say.
pub fn write_failure(out: &mut Vec<u8>, reason: &str) {
    out.extend_from_slice(br#"{"success":0,"text":"#);
    write_text(out, reason);
    out.extend_from_slice(b"}\n");
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let written = serde_json::to_writer(&mut *out, text);
    debug_assert!(written.is_ok(), "a vector takes every byte");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("an answer is text")
    }

    #[test]
    fn answers_are_those_of_the_original() {
        for (answer, expected) in [
            (
                written(|out| write_session(out, "0af1")),
                "{\"success\":1,\"session_id\":\"0af1\"}\n",
            ),
            (written(write_published), "{\"success\":1}\n"),
            (
                written(|out| write_failure(out, "timeout")),
                "{\"success\":0,\"text\":\"timeout\"}\n",
            ),
            (
                written(|out| write_message(out, br#"{"cmd":"message"}"#)),
                r#"{"success":1,"data":"{\"cmd\":\"message\"}"}"#,
            ),
        ] {
            assert_eq!(answer, expected);
        }
    }

    #[test]
    fn every_message_is_one_line_and_comes_back() {
        let texts = ["", "a\nb\r\n\t\"\\\u{0}\u{7f}\u{2028}", "你好", "{\n}"];
        for text in texts {
            let answer = written(|out| write_message(out, text.as_bytes()));
            assert!(!answer.contains(['\n', '\r']), "{answer:?}");
            let read: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            assert_eq!(read["data"], *text);
        }
        let answer = written(|out| write_message(out, b"\xff\x00"));
        assert_eq!(answer, r#"{"success":1,"data":"/wA="}"#);
    }
}
