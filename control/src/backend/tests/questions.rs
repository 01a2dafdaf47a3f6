//! What a backend is sent. The expected bodies are those that Centrifugo v6 sends for the same, field by field: empty fields
//! are left out, `user` never is, and `connect` has none.

use fanfare_engine::backend::{Asked, Backend, Caller, ConnectAsk, DataEncoding, SubscribeAsk};
use serde_json::{Value, json};

use super::support::{FakeBackend, Shard, answerer, caller};
use fanfare_engine::backend::Question;

fn backend() -> FakeBackend {
    FakeBackend::saying(200, r#"{"result":{}}"#)
}

/// The one body that the backend was sent.
fn body_of(backend: &FakeBackend) -> Value {
    let seen = backend.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].verb, "POST");
    assert_eq!(seen[0].path, "/hook");
    assert_eq!(seen[0].headers["content-type"], "application/json");
    seen[0].json()
}

/// The body with what every question has.
fn with_caller(rest: Value) -> Value {
    let mut body = json!({
        "client": "0123456789abcdef0123456789abcdef",
        "transport": "websocket",
        "protocol": "json",
        "encoding": "json",
    });
    let (Value::Object(all), Value::Object(rest)) = (&mut body, rest) else {
        unreachable!("both are objects");
    };
    all.extend(rest);
    body
}

#[test]
fn connect() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "include_connection_meta = true\n");
    let who = Caller {
        meta: Some(r#"{"not":"yet"}"#.into()),
        ..caller()
    };
    let ask = ConnectAsk {
        data: br#"{"room" : [1, 2.50]}"#.as_slice().into(),
        token: "".into(),
        name: "js".into(),
        version: "5.3.4".into(),
        rooms: vec!["news".into(), "chat:1".into()],
    };
    shard.connect_as(who, ask).expect("an answer");
    assert_eq!(
        body_of(&backend),
        with_caller(json!({
            "data": {"room": [1, 2.50]},
            "name": "js",
            "version": "5.3.4",
            "channels": ["news", "chat:1"],
        }))
    );
}

#[test]
fn connect_with_nothing_to_say() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    shard.connect(ConnectAsk::default()).expect("an answer");
    assert_eq!(body_of(&backend), with_caller(json!({})));
}

#[test]
fn connect_with_a_token_that_is_the_backends() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    let ask = ConnectAsk {
        token: "opaque".into(),
        ..ConnectAsk::default()
    };
    shard.connect(ask).expect("an answer");
    assert_eq!(body_of(&backend), with_caller(json!({"token": "opaque"})));
}

#[test]
fn refresh() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    shard.refresh().expect("an answer");
    assert_eq!(body_of(&backend), with_caller(json!({"user": "alice"})));
}

#[test]
fn rpc() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    shard.rpc(b"[1,2]").expect("an answer");
    assert_eq!(
        body_of(&backend),
        with_caller(json!({"user": "alice", "method": "sum", "data": [1, 2]}))
    );
}

#[test]
fn send() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    shard.send(b"null").expect("an answer");
    assert_eq!(
        body_of(&backend),
        with_caller(json!({"user": "alice", "data": null}))
    );
}

#[test]
fn subscribe() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    shard.subscribe("opaque", b"\"x\"").expect("an answer");
    assert_eq!(
        body_of(&backend),
        with_caller(json!({
            "user": "alice",
            "channel": "chat:1",
            "token": "opaque",
            "data": "x",
        }))
    );
}

#[test]
fn publish() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    shard.publish(br#"{"text":"hi"}"#).expect("an answer");
    assert_eq!(
        body_of(&backend),
        with_caller(json!({
            "user": "alice",
            "channel": "chat:1",
            "data": {"text": "hi"},
        }))
    );
}

#[test]
fn sub_refresh() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    shard.sub_refresh().expect("an answer");
    assert_eq!(
        body_of(&backend),
        with_caller(json!({"user": "alice", "channel": "chat:1"}))
    );
}

#[test]
fn an_anonymous_user_is_named_too() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    let who = Caller {
        user: "".into(),
        ..caller()
    };
    shard.rpc_as(who, b"").expect("an answer");
    assert_eq!(
        body_of(&backend),
        with_caller(json!({"user": "", "method": "sum"}))
    );
}

#[test]
fn the_dialect_is_named() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    let who = Caller {
        transport: "tcp",
        protocol: "goim",
        encoding: DataEncoding::Binary,
        ..caller()
    };
    shard.rpc_as(who, b"{}").expect("an answer");
    let body = body_of(&backend);
    assert_eq!(body["transport"], "tcp");
    assert_eq!(body["protocol"], "goim");
    // Of a binary dialect JSON is bytes, too.
    assert_eq!(body["encoding"], "binary");
    assert_eq!(body["b64data"], "e30=");
    assert_eq!(body.get("data"), None);
}

#[test]
fn what_is_not_json_goes_as_base64() {
    for (data, base64) in [
        (b"\xff\x00\xfe".as_slice(), "/wD+"),
        (b"not json", "bm90IGpzb24="),
        (b"{\"a\":1} {\"b\":2}", "eyJhIjoxfSB7ImIiOjJ9"),
        // Whoever put this into the body as it is would let the client write fields of it.
        (b"1,\"user\":\"root\"", "MSwidXNlciI6InJvb3Qi"),
    ] {
        let backend = backend();
        let shard = Shard::new(&backend.url(), "");
        shard.rpc(data).expect("an answer");
        let body = body_of(&backend);
        assert_eq!(body["encoding"], "binary");
        assert_eq!(body["b64data"], base64);
        assert_eq!(body["user"], "alice");
        assert_eq!(body.get("data"), None);
    }
}

#[test]
fn a_ladder_goes_as_base64() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    let ladder = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    shard.rpc(ladder.as_bytes()).expect("an answer");
    assert_eq!(body_of(&backend)["encoding"], "binary");
}

#[test]
fn everything_goes_as_base64_where_that_is_configured() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "binary_encoding = true\n");
    shard.publish(b"[1]").expect("an answer");
    let body = body_of(&backend);
    assert_eq!(body["encoding"], "binary");
    assert_eq!(body["b64data"], "WzFd");
    assert_eq!(body.get("data"), None);
}

#[test]
fn json_is_passed_on_as_it_was_written() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    let data = r#"{"b": 1.00, "a" :[1e3, "\u00e9\ud83d"], "a": 12345678901234567890123}"#;
    shard.rpc(data.as_bytes()).expect("an answer");
    let seen = backend.seen();
    let body = std::str::from_utf8(&seen[0].body).expect("text");
    assert!(body.contains(&format!("\"data\":{data}")), "{body}");
}

#[test]
fn meta_goes_along_where_that_is_configured() {
    let who = || Caller {
        meta: Some(r#"{"role":"admin"}"#.into()),
        ..caller()
    };
    let backend = backend();
    let shard = Shard::new(&backend.url(), "include_connection_meta = true\n");
    shard.rpc_as(who(), b"").expect("an answer");
    assert_eq!(body_of(&backend)["meta"], json!({"role": "admin"}));

    let backend = self::backend();
    let shard = Shard::new(&backend.url(), "");
    shard.rpc_as(who(), b"").expect("an answer");
    assert_eq!(body_of(&backend).get("meta"), None);
}

#[test]
fn names_cannot_leave_their_field() {
    let backend = backend();
    let shard = Shard::new(&backend.url(), "");
    let room = "a\",\"user\":\"root\r\n\u{2028}\0";
    let (answerer, answers) = answerer();
    let ask = SubscribeAsk {
        room: room.into(),
        ..SubscribeAsk::default()
    };
    shard
        .webhooks
        .ask(Question::Subscribe(caller(), ask, answerer));
    answers.recv().expect("an answer").expect("yes");
    let body = body_of(&backend);
    assert_eq!(body["channel"], room);
    assert_eq!(body["user"], "alice");
}

#[test]
fn every_event_has_its_own_endpoint() {
    let backend = backend();
    let base = format!("http://{}", backend.address);
    let shard = Shard::configured(&format!(
        "[backend]\nconnect_endpoint = '{base}/in?v=6'\nsub_refresh_endpoint = '{base}/again'\n"
    ));
    let asked = Asked {
        connect: true,
        ..Asked::default()
    };
    assert_eq!(shard.webhooks.asked(), asked);
    shard.connect(ConnectAsk::default()).expect("an answer");
    shard.sub_refresh().expect("an answer");
    let paths: Vec<String> = backend.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/in?v=6", "/again"]);
}
