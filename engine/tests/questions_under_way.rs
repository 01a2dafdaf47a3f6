//! What a client does while its backend is asked about it: nothing of it is lost, and nothing of it lets anyone in twice.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_engine::api::{Message, Payload};
use fanfare_engine::backend::{Asked, Connected, Refused, Subscribed};
use fanfare_engine::{
    Access, BackendRights, Engine, EngineConfig, Grant, Limits, Namespaces, RoomOptions,
};
use fanfare_wire::native;
use fanfare_wire::ws::Opcode;
use serde_json::json;
use support::{
    Centrifuge, Event, Form, Goim, WebSocket, ask, eventually, known_as, members, open_config,
    open_rooms, refused, say, start_with_desk, stop, total,
};

const WHO: Asked = Asked {
    connect: true,
    refresh: false,
    rpc: false,
    send: false,
};

fn config() -> EngineConfig {
    let asked = RoomOptions {
        subscribe: Access::Grant,
        backend: BackendRights {
            subscribe: true,
            publish: true,
            sub_refresh: true,
        },
        ..open_rooms()
    };
    EngineConfig {
        namespaces: Namespaces {
            default: open_rooms(),
            named: vec![("asked".into(), asked)],
        },
        ..open_config(2)
    }
}

/// It looks at expiries with every ping.
fn often() -> EngineConfig {
    EngineConfig {
        limits: Limits {
            ping_interval: Duration::from_secs(1),
            pong_timeout: Duration::from_millis(500),
            ..support::brisk()
        },
        ..config()
    }
}

fn until(seconds: u64, user: &str) -> Connected {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Connected {
        grant: Some(Grant {
            user: user.into(),
            expires_at: Some(now.as_secs() + seconds),
            ..Grant::default()
        }),
        ..Connected::default()
    }
}

fn json_payload(text: &'static str) -> Payload {
    Payload {
        bytes: text.into(),
        is_json: true,
    }
}

fn reach_everyone(engine: &Engine) -> u32 {
    let message = || Message::from(json_payload("1"));
    ask(|reply| engine.handle().push_all(message(), reply)).unwrap()
}

fn tell(socket: &mut WebSocket, command: &str) {
    socket.send(Opcode::Text, command.as_bytes());
}

#[test]
fn a_connection_is_let_in_once() {
    let (engine, desk) = start_with_desk(config(), WHO);
    let mut socket = WebSocket::open(engine.client_addrs()[0], "/connection/websocket");
    tell(&mut socket, r#"{"id":1,"connect":{}}"#);
    let (_, _, first) = desk.connect();
    let before = total(&engine, |it| it.bytes_received);
    tell(&mut socket, r#"{"id":2,"connect":{}}"#);
    tell(&mut socket, r#"{"id":3,"connect":{}}"#);
    eventually("both have come", || {
        total(&engine, |it| it.bytes_received) >= before + 54
    });
    say(first, Err(refused(1000, "no", true)));
    assert!(matches!(socket.next(), Event::Text(text) if text.contains("\"id\":1")));
    // The second asks anew; the third waits for its answer, and is one too many then.
    let (_, _, second) = desk.connect();
    say(second, Ok(known_as("ann")));
    assert!(matches!(socket.next(), Event::Text(text) if text.contains("\"id\":2")));
    assert_eq!(socket.closed_with(), Some(3501));
    assert!(desk.is_empty());
    assert_eq!(total(&engine, |it| it.authenticated), 1);
    eventually("nothing is left of it", || {
        total(&engine, |it| it.connections) == 0 && reach_everyone(&engine) == 0
    });
    let push = |reply| {
        engine.handle().push_user("ann", json_payload("1"), reply);
    };
    assert_eq!(ask(push), Ok(0));
    stop(engine);
}

#[test]
fn who_has_been_told_to_go_is_not_let_in() {
    let (engine, desk) = start_with_desk(config(), WHO);
    let mut socket = WebSocket::open(engine.client_addrs()[0], "/connection/websocket");
    tell(&mut socket, r#"{"id":1,"connect":{}}"#);
    let (_, _, answerer) = desk.connect();
    let before = total(&engine, |it| it.bytes_received);
    tell(&mut socket, r#"{"id":2,"connect":{"token":"eve room=r"}}"#);
    eventually("it has come", || {
        total(&engine, |it| it.bytes_received) >= before + 42
    });
    let banned = Refused::Disconnect {
        code: 4501,
        reason: "banned".into(),
    };
    say(answerer, Err(banned));
    assert_eq!(socket.closed_with(), Some(4501));
    assert_eq!(total(&engine, |it| it.authenticated), 0);
    assert_eq!(members(&engine, "r"), 0);
    stop(engine);
}

#[test]
fn messages_that_wait_are_bounded_with_what_they_cost() {
    let (engine, desk) = start_with_desk(config(), WHO);
    let mut socket = WebSocket::open(engine.client_addrs()[0], "/connection/websocket");
    tell(&mut socket, r#"{"id":1,"connect":{}}"#);
    let asked = desk.connect();
    // 64 KiB at 65 bytes each.
    for _ in 0..1009 {
        tell(&mut socket, "{");
    }
    assert_eq!(socket.closed_with(), Some(3013));
    drop(asked);
    stop(engine);
}

#[test]
fn who_leaves_before_the_answer_is_not_in() {
    let (engine, desk) = start_with_desk(config(), Asked::default());
    let mut ann = Centrifuge::connect(engine.client_addrs()[0], "ann");
    let room = || json!({ "channel": "asked:a" });
    let wish = ann.command("subscribe", &room());
    let (_, _, late) = desk.subscribe();
    // Twice the same is asked once.
    assert_eq!(ann.code_of("subscribe", room()), 105);
    ann.ask("unsubscribe", room());
    // It may change its mind again.
    let again = ann.command("subscribe", &room());
    let (_, _, answerer) = desk.subscribe();
    say(late, Ok(Subscribed::default()));
    assert_eq!(ann.reply(wish)["error"]["code"], 100);
    assert_eq!(members(&engine, "asked:a"), 0);
    say(answerer, Ok(Subscribed::default()));
    assert!(ann.reply(again)["subscribe"].is_object());
    assert_eq!(members(&engine, "asked:a"), 1);
    ann.ask("unsubscribe", room());
    eventually("it is out", || members(&engine, "asked:a") == 0);
    assert!(desk.is_empty());
    stop(engine);
}

#[test]
fn frames_behind_a_hello_wait_inside_of_a_websocket_too() {
    let (engine, desk) = start_with_desk(config(), WHO);
    let mut socket = WebSocket::open(engine.client_addrs()[0], "/connection/native");
    let mut message = Vec::new();
    let hello = native::Hello {
        token: "",
        client_name: "its name",
    };
    native::write_hello(&mut message, &hello);
    native::write_client_ping(&mut message);
    socket.send(Opcode::Binary, &message);
    let (_, ask, answerer) = desk.connect();
    assert_eq!(&*ask.name, "its name");
    say(answerer, Ok(known_as("ann")));
    let mut pong = Vec::new();
    native::write_server_pong(&mut pong);
    assert!(matches!(socket.next(), Event::Binary(_)), "a welcome");
    assert!(matches!(socket.next(), Event::Binary(it) if it == pong));
    stop(engine);
}

#[test]
fn a_room_named_twice_is_asked_about_once() {
    let (engine, desk) = start_with_desk(config(), Asked::default());
    let body = r#"{"token":"ann","room_id":"asked:a","rooms":["asked:a","asked:a"]}"#;
    let mut client = Goim::connect(engine.client_addrs()[0], Form::Tcp, body);
    say(desk.subscribe().2, Ok(Subscribed::default()));
    eventually("it is in", || client.heartbeat() == 1);
    assert!(desk.is_empty());
    stop(engine);
}

#[test]
fn what_was_for_a_refused_room_is_for_no_other() {
    let (engine, desk) = start_with_desk(config(), Asked::default());
    let mut ann = Centrifuge::connect(engine.client_addrs()[0], "ann");
    // Refused after the answer: nothing is filtered in these rooms.
    let filter = json!({ "key": "k", "cmp": "eq", "val": "v" });
    let wish = ann.command("subscribe", &json!({ "channel": "asked:a", "tf": filter }));
    let data = Subscribed {
        data: Some(json_payload("\"old\"")),
        ..Subscribed::default()
    };
    say(desk.subscribe().2, Ok(data));
    assert_eq!(ann.reply(wish)["error"]["code"], 107);
    let result = ann.ask(
        "subscribe",
        json!({ "channel": "asked:a", "token": "ann@asked:a" }),
    );
    assert!(result.get("data").is_none(), "{result}");
    stop(engine);
}

// -- for how long

#[test]
fn without_its_word_an_end_is_an_end() {
    let (engine, desk) = start_with_desk(often(), WHO);
    let mut ann = Centrifuge::open(engine.client_addrs()[0]);
    let id = ann.command("connect", &json!({}));
    say(desk.connect().2, Ok(until(100, "ann")));
    // Nobody is asked to refresh it, so it is told, and brings a token.
    let reply = ann.reply(id);
    assert_eq!(reply["connect"]["expires"], true, "{reply}");
    stop(engine);
}

#[test]
fn nobody_refreshes_with_nothing() {
    let asked = Asked {
        refresh: true,
        ..WHO
    };
    let (engine, desk) = start_with_desk(often(), asked);
    let mut anyone = Centrifuge::open(engine.client_addrs()[0]);
    let id = anyone.command("connect", &json!({}));
    say(desk.connect().2, Ok(until(1, "")));
    assert!(anyone.reply(id)["connect"].is_object());
    assert_eq!(anyone.code_of("refresh", json!({ "token": "" })), 107);
    // Its time is up, and its backend is asked.
    let fanfare_engine::backend::Question::Refresh(_, answerer) = desk.next() else {
        panic!("something else is asked")
    };
    say(answerer, Ok(fanfare_engine::backend::Refreshed::Expired));
    assert_eq!(anyone.closed_with(), Some(3005));
    stop(engine);
}
