//! Which offers of permessage-deflate (RFC 7692) are agreed to where it is switched on, and who never agrees.
#![allow(clippy::unwrap_used)]

mod support;

use fanfare_engine::EngineConfig;
use serde_json::json;
use support::{
    BINARY, COMPRESSED, Deflating, Http, OFFER, TEXT, Transport, client_frame, deflated,
    open_config, push, request, start, stop, total, upgrade_request,
};

const JSON: &str = "/connection/websocket";
const PROTOBUF: &str = "/connection/websocket?cf_protocol=protobuf";
const UNI: &str = "/connection/uni_websocket";

const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn compressing(shards: u16) -> EngineConfig {
    EngineConfig {
        compression: true,
        ..open_config(shards)
    }
}

#[test]
fn an_offer_is_answered_with_what_the_server_does() {
    let engine = start(compressing(2));
    let addr = engine.client_addrs()[0];
    let window = format!("{AGREED}; server_max_window_bits=13");
    let offers = [
        ("permessage-deflate", AGREED),
        (OFFER, AGREED),
        ("permessage-deflate; client_max_window_bits=8", AGREED),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            AGREED,
        ),
        ("permessage-deflate; server_max_window_bits=13", &window),
        ("permessage-deflate; server_max_window_bits=15", &window),
        // The first that can be kept, in however many lines they come.
        (
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            AGREED,
        ),
        (
            "x-webkit-deflate-frame\r\nSec-WebSocket-Extensions: permessage-deflate",
            AGREED,
        ),
    ];
    for (offer, answer) in offers {
        for path in [JSON, PROTOBUF] {
            let mut client = Deflating::open(addr, path, Some(offer));
            assert_eq!(client.agreed.as_deref(), Some(answer), "{offer}");
            // And it is meant: compressed commands are understood from the first one on.
            client.greet();
        }
        let client = Deflating::open(addr, UNI, Some(offer));
        assert_eq!(client.agreed.as_deref(), Some(answer), "{offer}");
    }
    assert_eq!(total(&engine, |it| it.protocol_errors), 0);
    stop(engine);
}

#[test]
fn without_an_offer_that_can_be_kept_a_connection_goes_on_uncompressed() {
    let engine = start(compressing(1));
    let addr = engine.client_addrs()[0];
    for offer in [
        None,
        Some("permessage-deflate; server_max_window_bits=8"),
        Some("permessage-deflate; server_max_window_bits=12"),
        Some("permessage-deflate; server_max_window_bits=16"),
        Some("permessage-deflate; server_max_window_bits"),
        Some("permessage-deflate; client_max_window_bits=7"),
        Some("permessage-deflate; server_no_context_takeover=1"),
        Some("permessage-deflate; client_max_window_bits; client_max_window_bits"),
        Some("permessage-deflate; mode=fast"),
        Some("permessage-bzip2"),
        Some(""),
    ] {
        let mut client = Deflating::open(addr, JSON, offer);
        assert_eq!(client.agreed, None, "{offer:?}");
        client.greet();
        client.join("news");
        push(&engine, "news", &json!("long ".repeat(100)).to_string());
        let frame = client.frame().unwrap();
        assert_eq!(frame.first, TEXT, "{offer:?}");
    }
    assert_eq!(total(&engine, |it| it.protocol_errors), 0);
    stop(engine);
}

#[test]
fn an_offer_that_is_malformed_is_answered_400_wherever_it_is_made() {
    for is_on in [true, false] {
        let engine = start(EngineConfig {
            compression: is_on,
            ..open_config(1)
        });
        let addr = engine.client_addrs()[0];
        let offers = [
            "permessage-deflate;",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"15",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate; =15",
            "permessage-deflate, ;",
            "other(extension)",
        ];
        let paths = [JSON, UNI, "/connection/native", "/sub"];
        for offer in offers {
            for path in paths {
                let line = format!("Sec-WebSocket-Extensions: {offer}\r\n\r\n");
                let mut http = Http::open(addr);
                let answer = http.ask((upgrade_request(path) + &line).as_bytes());
                assert_eq!((answer.status, answer.keeps_alive()), (400, false));
                assert!(answer.text().contains("Sec-WebSocket-Extensions"));
                assert!(http.is_closed());
            }
        }
        let refused = offers.len() * paths.len();
        assert_eq!(total(&engine, |it| it.protocol_errors), refused as u64);
        stop(engine);
    }
}

#[test]
fn nothing_is_agreed_unless_it_is_switched_on() {
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    for path in [JSON, PROTOBUF, UNI] {
        let mut client = Deflating::open(addr, path, Some(OFFER));
        assert_eq!(client.agreed, None, "{path}");
        let (first, command) = client.message(&json!({ "id": 1, "connect": {} }));
        client.send(&client_frame(first | COMPRESSED, &deflated(&command)));
        assert_eq!(client.closed_with(), 1002, "{path}");
    }
    stop(engine);
}

#[test]
fn native_goim_and_streams_agree_to_nothing() {
    let engine = start(compressing(1));
    let addr = engine.client_addrs()[0];
    for path in ["/connection/native", "/sub"] {
        let mut client = Deflating::open(addr, path, Some(OFFER));
        assert_eq!(client.agreed, None, "{path}");
        client.send(&client_frame(BINARY | COMPRESSED, &deflated(b"hello")));
        assert_eq!(client.closed_with(), 1002, "{path}");
    }
    let with_offer = |request: &[u8]| {
        let at = request.windows(2).position(|it| it == b"\r\n").unwrap() + 2;
        let offer = format!("Sec-WebSocket-Extensions: {OFFER}\r\nAccept-Encoding: deflate\r\n");
        [&request[..at], offer.as_bytes(), &request[at..]].concat()
    };
    let connect = json!({ "id": 1, "connect": {} });
    let mut requests: Vec<Vec<u8>> = Transport::STREAMS
        .into_iter()
        .map(|it| {
            let message = if it.is_uni() {
                b"{}".to_vec()
            } else {
                it.message(std::slice::from_ref(&connect))
            };
            it.opening(&message)
        })
        .collect();
    requests.push(request(
        "POST",
        "/poll/connect",
        "",
        connect.to_string().as_bytes(),
    ));
    for request in requests {
        let mut http = Http::open(addr);
        http.send(&with_offer(&request));
        let head = http.head();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("Sec-WebSocket-Extensions"), None);
        assert_eq!(head.header("Content-Encoding"), None);
    }
    stop(engine);
}
