//! Clients that say who they are and then only listen: over WebSocket, SSE and an HTTP stream.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;

use fanfare_engine::api::{HistoryQuery, Message, Payload, UserConnections};
use fanfare_engine::{EngineConfig, RoomOptions};
use fanfare_wire::ws::{self, Opcode};
use serde_json::{Value, json};
use support::{
    Event, Http, Sdk, Transport, WebSocket, ask, emulation, escaped, eventually, open_config,
    open_rooms, push, request, start, start_scripted, stop, total,
};

fn config(shards: u16) -> EngineConfig {
    let mut config = open_config(shards);
    config.namespaces.default = RoomOptions {
        history_size: 100,
        presence: true,
        join_leave: true,
        ..open_rooms()
    };
    config
}

#[test]
fn the_welcome_comes_first_and_tells_the_rooms_and_what_was_missed() {
    let engine = start_scripted(config(3));
    let addr = engine.client_addrs()[0];
    for n in 1..=5 {
        push(&engine, "news", &n.to_string());
    }
    let query = HistoryQuery {
        room: "news".into(),
        limit: Some(0),
        since: None,
        reverse: false,
    };
    let epoch = ask(|reply| engine.handle().history(query, reply))
        .unwrap()
        .position
        .epoch;
    for transport in Transport::UNI {
        let subs = json!({ "news": { "recover": true, "offset": 2, "epoch": epoch.to_string() } });
        let connect = json!({ "token": "ann room=news room=more expires=1000", "subs": subs });
        let client = Sdk::connect_with(addr, transport, &connect);
        let welcome = &client.welcome;
        assert_eq!(welcome["expires"], true);
        assert!(welcome["ttl"].as_u64().unwrap() > 900);
        assert_eq!(welcome["ping"], 25);
        assert_eq!(welcome["pong"], Value::Null, "it answers none: {welcome}");
        let news = &welcome["subs"]["news"];
        assert_eq!(
            (&news["recovered"], &news["was_recovering"]),
            (&json!(true), &json!(true))
        );
        let missed: Vec<u64> = news["publications"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["offset"].as_u64().unwrap())
            .collect();
        assert_eq!(missed, [3, 4, 5]);
        assert_eq!(welcome["subs"]["more"]["publications"], Value::Null);
    }
    stop(engine);
}

#[test]
fn every_push_is_heard_without_an_envelope() {
    let engine = start_scripted(config(2));
    let addr = engine.client_addrs()[0];
    for transport in Transport::UNI {
        let mut client = Sdk::connect(addr, transport, "ann room=news");
        let mut other = Sdk::connect(addr, Transport::WebSocket, "bob");
        other.ask("subscribe", &json!({ "channel": "news" }));
        assert_eq!(client.push()["join"]["info"]["user"], "bob");
        other.ask(
            "publish",
            &json!({ "channel": "news", "data": { "a": "\u{e4}\n" } }),
        );
        let line = client.push();
        assert_eq!(
            (&line["channel"], &line["pub"]["data"]["a"]),
            (&json!("news"), &json!("\u{e4}\n"))
        );
        assert_eq!(line["pub"]["info"]["user"], "bob");
        other.ask("unsubscribe", &json!({ "channel": "news" }));
        assert_eq!(client.push()["leave"]["info"]["user"], "bob");

        let user = || UserConnections {
            user: "ann".into(),
            client: None,
            except: Vec::new(),
        };
        ask(|reply| engine.handle().subscribe(user(), "more", reply)).unwrap();
        let line = client.push();
        assert_eq!(line["channel"], "more");
        assert_eq!(line["subscribe"]["recoverable"], true, "{line}");
        ask(|reply| engine.handle().unsubscribe(user(), "more", reply)).unwrap();
        let line = client.push();
        assert_eq!(line["channel"], "more");
        assert!(
            line["unsubscribe"]["code"].as_u64().unwrap() >= 2000,
            "{line}"
        );
        let message = Message::from(Payload {
            bytes: b"[1]".as_slice().into(),
            is_json: true,
        });
        ask(|reply| {
            engine
                .handle()
                .push_users(vec!["ann".into()], message, reply)
        })
        .unwrap();
        assert_eq!(client.push()["message"]["data"], json!([1]));
        drop((client, other));
        eventually("both are gone", || total(&engine, |it| it.connections) == 0);
    }
    stop(engine);
}

#[test]
fn what_they_say_is_not_listened_to() {
    let engine = start_scripted(config(2));
    let addr = engine.client_addrs()[0];
    let commands = [
        json!({ "id": 1, "connect": {} }),
        json!({ "id": 2, "publish": { "channel": "news", "data": "evil" } }),
        json!({ "id": 3, "unsubscribe": { "channel": "news" } }),
        json!({ "send": { "data": 1 } }),
        json!({}),
    ];
    let lines: Vec<String> = commands.iter().map(Value::to_string).collect();
    let said = [&lines.join("\n")[..], "no JSON", "", "[", "{}"];
    for transport in Transport::UNI {
        let mut client = Sdk::connect(addr, transport, "ann room=news");
        let before = total(&engine, |it| it.bytes_received);
        let mut sent = 0;
        for said in said {
            let mut bytes = said.as_bytes().to_vec();
            if !transport.is_stream() {
                bytes.clear();
                ws::write_masked_frame(&mut bytes, Opcode::Text, said.as_bytes(), [9; 4]);
            } else if let Some(session) = client.welcome["session"].as_str() {
                // A session that it were told would not make it one that speaks.
                let node = client.welcome["node"].as_str().unwrap();
                let request = emulation(transport, node, session, said.as_bytes());
                assert_eq!(support::post(addr, &request).status, 204);
                sent += request.len() as u64;
            }
            client.stream().write_all(&bytes).unwrap();
            sent += bytes.len() as u64;
        }
        eventually("it has been read", || {
            total(&engine, |it| it.bytes_received) == before + sent
        });
        push(&engine, "news", "7");
        // The one before it may only now be leaving.
        let mut line = client.push();
        while line["leave"].is_object() {
            line = client.push();
        }
        assert_eq!(
            (&line["pub"]["data"], &line["pub"]["info"]),
            (&json!(7), &Value::Null)
        );
        // The next one would hear it leave.
        drop(client);
        eventually("it is gone", || total(&engine, |it| it.connections) == 0);
    }
    assert_eq!(total(&engine, |it| it.protocol_errors), 0);
    stop(engine);
}

#[test]
fn an_sse_client_need_not_say_anything() {
    let engine = start(config(2));
    let addr = engine.client_addrs()[0];
    let asked = [
        request("GET", "/connection/uni_sse", "", b""),
        request("GET", "/connection/uni_sse?cf_connect=", "", b""),
        request("GET", "/connection/uni_sse?cf_connect=%7B%7D&x=y", "", b""),
        request("GET", "/connection/uni_sse?cf_connect=null", "", b""),
        request("POST", "/connection/uni_sse", "", b"{}"),
        request("POST", "/connection/uni_sse", "", b""),
        request("POST", "/connection/uni_http_stream", "", b""),
        request(
            "POST",
            "/connection/uni_http_stream",
            "",
            b"{\n\"name\":\n\"x\"}",
        ),
    ];
    for request in &asked {
        let mut http = Http::open(addr);
        http.send(request);
        assert_eq!(http.head().status, 200);
        let support::Chunk::Data(data) = http.chunk() else {
            panic!("no welcome")
        };
        let text = String::from_utf8(data).unwrap();
        let text = text.strip_prefix("data: ").unwrap_or(&text);
        let welcome: Value = serde_json::from_str(text.trim_end()).unwrap();
        assert!(welcome["connect"]["client"].is_string());
    }
    assert_eq!(total(&engine, |it| it.authenticated), asked.len() as u64);
    // Where nobody is let in without a token, nor are they.
    let strict = start(EngineConfig {
        allow_anonymous: false,
        ..config(1)
    });
    for request in &asked {
        let mut http = Http::open(strict.client_addrs()[0]);
        http.send(request);
        assert_eq!(http.head().status, 200);
        let said = String::from_utf8(http.rest()).unwrap();
        assert!(said.contains(r#"{"disconnect":{"code":3500,"#), "{said}");
        assert!(said.ends_with("\r\n0\r\n\r\n"), "{said}");
    }
    stop(strict);
    stop(engine);
}

/// A WebSocket whose address has the connect, which is then not waited for.
#[test]
fn a_websocket_client_may_say_it_in_its_address() {
    let engine = start_scripted(config(2));
    let addr = engine.client_addrs()[0];
    let open = |connect: &str| {
        let target = format!("/connection/uni_websocket?cf_connect={}", escaped(connect));
        WebSocket::open(addr, &target)
    };
    let mut client = open(r#"{"token":"ann room=news"}"#);
    let Event::Text(welcome) = client.next() else {
        panic!("no welcome")
    };
    let welcome: Value = serde_json::from_str(&welcome).unwrap();
    assert_eq!(welcome["connect"]["subs"]["news"]["recoverable"], true);
    // It has nothing more to say.
    client.send(Opcode::Text, br#"{"token":"bob"}"#);
    push(&engine, "news", "7");
    let Event::Text(publication) = client.next() else {
        panic!("no publication")
    };
    assert!(publication.contains(r#""data":7"#), "{publication}");
    for (connect, code) in [(r#"{"token":"invalid"}"#, 3500), ("no JSON", 3501)] {
        assert_eq!(open(connect).closed_with(), Some(code));
    }
    // Without, the first message is waited for.
    let mut client = open("");
    client.send(Opcode::Text, br#"{"token":"ann"}"#);
    assert!(matches!(client.next(), Event::Text(_)));
    stop(engine);
}
