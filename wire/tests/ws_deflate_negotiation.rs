//! Which offers of permessage-deflate are accepted and what is answered, RFC 7692 section 7.1.

#![allow(clippy::unwrap_used)]

use fanfare_wire::{
    http,
    ws::{ExtensionsError, WINDOW_BITS, accept_deflate, handshake::write_switching_protocols},
};
use proptest::prelude::*;

const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn answer(values: &[&str]) -> Result<Option<&'static str>, ExtensionsError> {
    let answer = accept_deflate(values.iter().copied())?;
    Ok(answer.map(|answer| answer.as_str()))
}

fn with_window() -> String {
    format!("{PLAIN}; server_max_window_bits={WINDOW_BITS}")
}

#[test]
fn offers_that_can_be_kept() {
    for offer in [
        "permessage-deflate",
        " \tpermessage-deflate\t ",
        // Browsers, and the npm package ws.
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;client_max_window_bits=8",
        "permessage-deflate ; client_max_window_bits = 15",
        r#"permessage-deflate; client_max_window_bits="10""#,
        r#"permessage-deflate; client_max_window_bits="\1\0""#,
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    ] {
        assert_eq!(answer(&[offer]), Ok(Some(PLAIN)), "{offer}");
    }
}

#[test]
fn a_limit_of_our_window_is_answered_with_our_window() {
    for bits in WINDOW_BITS..=15 {
        let bare = format!("permessage-deflate; server_max_window_bits={bits}");
        let quoted = format!(
            r#"permessage-deflate; client_max_window_bits; server_max_window_bits="{bits}""#
        );
        for offer in [bare, quoted] {
            let expected = with_window();
            assert_eq!(answer(&[&offer]), Ok(Some(expected.as_str())), "{offer}");
        }
    }
}

#[test]
fn offers_that_are_declined() {
    for bits in 8..WINDOW_BITS {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        assert_eq!(answer(&[&offer]), Ok(None), "{offer}");
    }
    for offer in [
        "",
        ",",
        "permessage-bzip2",
        "x-webkit-deflate-frame",
        "Permessage-Deflate",
        "permessage-deflate2",
        // Values out of range, of the wrong form, missing, or too many.
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=015",
        "permessage-deflate; server_max_window_bits=15.0",
        "permessage-deflate; server_max_window_bits=150",
        "permessage-deflate; server_max_window_bits=+15",
        "permessage-deflate; server_max_window_bits=4294967311",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        // Unknown and doubled parameters.
        "permessage-deflate; server_max_windows_bits=15",
        "permessage-deflate; Server_No_Context_Takeover",
        "permessage-deflate; mode=fast",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
    ] {
        assert_eq!(answer(&[offer]), Ok(None), "{offer}");
    }
    assert_eq!(answer(&[]), Ok(None));
}

#[test]
fn the_first_offer_that_can_be_kept_is_answered() {
    let window = with_window();
    let window = Ok(Some(window.as_str()));
    let plain = Ok(Some(PLAIN));
    let cases: [(&[&str], _); 8] = [
        (
            &["permessage-deflate; server_max_window_bits=9, permessage-deflate"],
            plain,
        ),
        (
            &["permessage-deflate, permessage-deflate; server_max_window_bits=15"],
            plain,
        ),
        (
            &["permessage-deflate; server_max_window_bits=15, permessage-deflate"],
            window,
        ),
        (
            &["permessage-bzip2; level=9, , permessage-deflate; mode=x,permessage-deflate"],
            plain,
        ),
        (
            &[
                "permessage-deflate; server_max_window_bits=8",
                "permessage-deflate; server_max_window_bits=15",
            ],
            window,
        ),
        (&["", "foo; bar=\"baz\"", "permessage-deflate"], plain),
        (&["permessage-deflate", "foo"], plain),
        (&[",permessage-deflate,"], plain),
    ];
    for (values, expected) in cases {
        assert_eq!(answer(values), expected, "{values:?}");
    }
}

#[test]
fn malformed_lists_are_refused_whatever_they_are_about() {
    for value in [
        ";",
        "=",
        "permessage-deflate;",
        "permessage-deflate;;",
        "permessage-deflate; ,",
        "permessage-deflate; =15",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=\"\"",
        "permessage-deflate; client_max_window_bits=\"15",
        "permessage-deflate; client_max_window_bits=\"15\\",
        "permessage-deflate; client_max_window_bits=\"1 5\"",
        "permessage-deflate; client_max_window_bits=15 15",
        "permessage-deflate client_max_window_bits",
        "permessage-deflate; client_max_window_bits=15\"",
        "permessage-deflate/1",
        "foo(bar)",
        "foo; bar=\"a,b\"",
        "foo; bar=\"a\\\"b\"",
        "d\u{e9}flate",
    ] {
        assert_eq!(answer(&[value]), Err(ExtensionsError), "{value}");
        let before_and_after = ["permessage-deflate", value, "permessage-deflate"];
        assert_eq!(answer(&before_and_after), Err(ExtensionsError), "{value}");
    }
}

#[test]
fn a_header_full_of_offers_is_read_once() {
    let many = "permessage-deflate;server_max_window_bits=8,".repeat(http::HEAD_BYTES_MAX / 44);
    assert_eq!(answer(&[&many]), Ok(None));
    let parameters = ";client_max_window_bits=15".repeat(http::HEAD_BYTES_MAX / 26);
    let offer = format!("permessage-deflate{parameters}");
    assert_eq!(answer(&[&offer]), Ok(None));
}

#[test]
fn the_handshake_carries_the_extension_and_a_protocol() {
    let request = b"GET /x HTTP/1.1\r\n\
        Host: localhost\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: centrifuge-protobuf\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n\
        sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let (head, _) = http::parse_head(request).unwrap().unwrap();
    let upgrade = http::upgrade(&head).unwrap();
    let deflate = accept_deflate(head.headers_named("Sec-WebSocket-Extensions")).unwrap();

    let mut out = Vec::new();
    write_switching_protocols(&mut out, upgrade.key, upgrade.protocols().next(), deflate);
    let expected = "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: centrifuge-protobuf\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
        client_no_context_takeover\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);

    let (mut with_none, mut without) = (Vec::new(), Vec::new());
    write_switching_protocols(&mut with_none, upgrade.key, None, None);
    write_switching_protocols(&mut without, upgrade.key, None, None);
    assert_eq!(with_none, without);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 20 } else { 2000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Pieces of valid lists in any order: never a panic, and one accepted offer more at the end is accepted if all is well-formed.
    #[test]
    fn any_list_is_answered(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "permessage-deflate", "server_max_window_bits", "client_max_window_bits", "x",
                "=", ";", ",", " ", "\t", "\"", "\\", "8", "13", "15", "\u{e9}", "server_no_context_takeover",
            ]),
            0..16,
        ),
    ) {
        let value = pieces.concat();
        let alone = accept_deflate([value.as_str()]);
        let followed = accept_deflate([value.as_str(), "permessage-deflate"]);
        prop_assert_eq!(alone.is_err(), followed.is_err());
        if let Ok(answer) = followed {
            prop_assert!(answer.is_some());
        }
    }
}
