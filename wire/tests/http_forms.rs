//! Queries and forms: what browsers write is read back, what cannot be decoded is not passed on changed.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use fanfare_wire::centrifuge::{CONNECT_PARAMETER, unidirectional};
use fanfare_wire::http::{NotUtf8, parameter, parse_head};
use proptest::prelude::*;

fn value<'a>(text: &'a str, name: &str) -> Option<Cow<'a, str>> {
    parameter(text.as_bytes(), name).unwrap()
}

#[test]
fn the_first_of_a_name_counts() {
    assert_eq!(value("", "a"), None);
    assert_eq!(value("b=1&ab=2&a%62=3", "a"), None);
    assert_eq!(value("a", "a").as_deref(), Some(""));
    assert_eq!(value("&&b=1&a=&a=2", "a").as_deref(), Some(""));
    assert_eq!(value("a=b==&a=c", "a").as_deref(), Some("b=="));
    assert_eq!(value("session%5fid=1", "session_id").as_deref(), Some("1"));
    assert!(matches!(value("a={}", "a"), Some(Cow::Borrowed("{}"))));
}

#[test]
fn what_browsers_write_is_read() {
    let query =
        "x=%zz&cf_connect=%7B%22token%22%3A%22a%2Bb%25c%22%2C%22name%22%3A%22gr%C3%BC+n%22%7d";
    let text = value(query, CONNECT_PARAMETER).unwrap();
    assert_eq!(text, r#"{"token":"a+b%c","name":"grü n"}"#);
    let connect = unidirectional::connect(text.as_bytes()).unwrap();
    assert_eq!((&*connect.token, &*connect.name), ("a+b%c", "grü n"));

    let request = format!("GET /x?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, _) = parse_head(request.as_bytes()).unwrap().unwrap();
    assert_eq!(head.parameter(CONNECT_PARAMETER).unwrap(), Some(text));
    assert_eq!(head.parameter("y"), Ok(None));
}

#[test]
fn a_percent_sign_before_no_digits_is_itself() {
    for (written, read) in [
        ("%", "%"),
        ("%4", "%4"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%4g", "%4g"),
        ("%+1", "% 1"),
        ("%%41", "%A"),
    ] {
        let form = format!("a={written}");
        assert_eq!(value(&form, "a").as_deref(), Some(read), "{written}");
    }
}

#[test]
fn what_is_no_text_is_refused() {
    for value in [&b"%ff"[..], b"%c3", b"%ed%a0%80", b"\xff", b"a+%80"] {
        let form = [b"a=", value].concat();
        assert_eq!(parameter(&form, "a"), Err(NotUtf8), "{value:?}");
        assert_eq!(parameter(&form, "b"), Ok(None));
    }
}

proptest! {
    #[test]
    fn every_text_comes_back(text: String) {
        let form = text.bytes().fold("a=".to_owned(), |form, byte| match byte {
            b' ' => form + "+",
            b'a'..=b'z' => form + char::from(byte).encode_utf8(&mut [0; 4]),
            _ => format!("{form}%{byte:02X}"),
        });
        prop_assert_eq!(value(&form, "a").unwrap(), text);
    }

    #[test]
    fn anything_is_a_form(bytes: Vec<u8>) {
        if let Ok(Some(value)) = parameter(&bytes, "a") {
            prop_assert!(value.len() <= bytes.len());
        }
    }
}
