//! What a backend decides, it decides about clients of every dialect.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_engine::api::Payload;
use fanfare_engine::backend::{Asked, Extension, PublishDecision, Refreshed, Refused, Subscribed};
use fanfare_engine::{
    Access, BackendRights, EngineConfig, Limits, Namespaces, RoomOptions, SubscriptionGrant,
};
use fanfare_wire::native;
use serde_json::json;
use support::{
    Centrifuge, Client, Desk, Form, Frame, Goim, Told, bytes_of, eventually, frame, known_as,
    members, open_config, open_rooms, push_keys, push_room, refused, say, start_with_desk, stop,
    total,
};

const WHO: Asked = Asked {
    connect: true,
    refresh: false,
    rpc: false,
    send: false,
};

const CALLS: Asked = Asked {
    connect: false,
    refresh: false,
    rpc: true,
    send: false,
};

/// Rooms named `asked:…` are for the backend to decide about; nobody has a right in them.
fn config() -> EngineConfig {
    let asked = RoomOptions {
        subscribe: Access::Grant,
        publish: Access::Grant,
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

fn payload(text: &str) -> Payload {
    Payload {
        bytes: text.to_owned().into(),
        is_json: false,
    }
}

fn in_seconds(seconds: i64) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().checked_add_signed(seconds)
}

/// A client of goim is not told when it is let into a room: its heartbeat is.
fn eventually_in(goim: &mut Goim, members: i32) {
    eventually("its room has so many", || goim.heartbeat() == members);
}

// -- native

#[test]
fn native_clients_join_and_publish_as_it_says() {
    let (engine, desk) = start_with_desk(config(), Asked::default());
    let addr = engine.client_addrs()[0];
    let mut ann = Client::connect(addr, "ann");
    ann.subscribe(1, "asked:a", None);
    let (caller, ask, answerer) = desk.subscribe();
    assert_eq!(
        (&*caller.user, caller.protocol, &*ask.room),
        ("ann", "native", "asked:a")
    );
    say(answerer, Ok(Subscribed::default()));
    assert!(matches!(ann.next(), Frame::Subscribed { request: 1, .. }));
    // It is in: there is nothing to ask. A token is enough, too.
    ann.subscribe(2, "asked:a", None);
    assert_eq!(
        ann.next(),
        Frame::Error {
            request: 2,
            code: 105
        }
    );
    ann.subscribe_with(3, "asked:b", "ann@asked:b", None);
    assert!(matches!(ann.next(), Frame::Subscribed { request: 3, .. }));
    ann.subscribe(4, "asked:c", None);
    say(desk.subscribe().2, Err(refused(1001, "no", false)));
    assert_eq!(
        ann.next(),
        Frame::Error {
            request: 4,
            code: 1001
        }
    );

    ann.publish(5, "asked:a", b"raw");
    let (_, ask, answerer) = desk.publish();
    assert_eq!((&*ask.room, &*ask.data), ("asked:a", &b"raw"[..]));
    say(
        answerer,
        Ok(PublishDecision {
            data: Some(payload("refined")),
            ..PublishDecision::default()
        }),
    );
    let told = [ann.next(), ann.next()];
    let is_ack = |frame: &Frame| matches!(frame, Frame::Ack { request: 5, .. });
    let is_refined =
        |frame: &Frame| matches!(frame, Frame::Publication { data, .. } if data == b"refined");
    assert!(
        told.iter().any(is_ack) && told.iter().any(is_refined),
        "{told:?}"
    );
    // Who wants no answer gets none; nothing is published.
    ann.publish(0, "asked:a", b"no");
    say(desk.publish().2, Err(refused(103, "no", false)));
    ann.publish(6, "asked:a", b"no");
    say(desk.publish().2, Err(Refused::Unreachable));
    assert_eq!(
        ann.next(),
        Frame::Error {
            request: 6,
            code: 100
        }
    );
    ann.publish(0, "asked:a", b"yes");
    say(desk.publish().2, Ok(PublishDecision::default()));
    assert_eq!(ann.publication().1, b"yes");
    // A service is not asked about.
    let mut service = Client::connect(addr, "backend service");
    service.publish(1, "asked:a", b"served");
    assert!(matches!(service.next(), Frame::Ack { request: 1, .. }));
    assert_eq!(ann.publication().1, b"served");
    assert!(desk.is_empty());
    assert_eq!(total(&engine, |it| it.publications), 3);
    stop(engine);
}

#[test]
fn native_clients_without_a_token_are_who_it_says() {
    let (engine, desk) = start_with_desk(config(), WHO);
    let addr = engine.client_addrs()[0];
    let mut ann = Client::open(addr);
    // All in one: what comes behind the hello waits.
    let mut all = Vec::new();
    let hello = native::Hello {
        token: "",
        client_name: "test",
    };
    native::write_hello(&mut all, &hello);
    let subscribe = native::Subscribe {
        request: 1,
        room: "open",
        token: "",
        recover: false,
        epoch: 0,
        offset: 0,
    };
    native::write_subscribe(&mut all, &subscribe);
    let publish = native::Publish {
        request: 2,
        room: "open",
        data: b"1",
    };
    native::write_publish(&mut all, &publish);
    let (first, second) = all.split_at(all.len() - 3);
    ann.send_bytes(first).unwrap();
    let (caller, _, answerer) = desk.connect();
    assert_eq!((caller.transport, &*caller.user), ("tcp", ""));
    ann.send_bytes(second).unwrap();
    let mut connected = known_as("ann");
    connected.subscriptions = vec![("asked:mine".into(), Subscribed::default())];
    say(answerer, Ok(connected));
    assert!(matches!(ann.next(), Frame::Welcome { client } if client == *caller.client));
    let told: Vec<Frame> = (0..4).map(|_| ann.next()).collect();
    let is_in = |wanted| {
        let is_it =
            |it: &Frame| matches!(it, Frame::Subscribed { request, .. } if *request == wanted);
        told.iter().any(is_it)
    };
    assert!(is_in(0) && is_in(1), "{told:?}");
    let is_ack = |it: &Frame| matches!(it, Frame::Ack { request: 2, .. });
    assert!(told.iter().any(is_ack), "{told:?}");

    // Who is refused goes, with what the backend says.
    for (refusal, code) in [
        (refused(1000, "no", false), 3004),
        (Refused::Unreachable, 3004),
        (
            Refused::Disconnect {
                code: 4500,
                reason: "".into(),
            },
            4500,
        ),
    ] {
        let mut bob = Client::open(addr);
        bob.hello("");
        say(desk.connect().2, Err(refusal));
        assert_eq!(bob.rest(), [Frame::Disconnect { code }]);
    }
    // Only so much waits.
    let mut greedy = Client::open(addr);
    greedy.hello("");
    let asked = desk.connect();
    let _ = greedy.send_bytes(&[0; 65_537]);
    assert_eq!(greedy.rest(), [Frame::Disconnect { code: 3013 }]);
    say(asked.2, Ok(known_as("greedy")));
    // A token needs no word.
    Client::connect(addr, "cat");
    assert!(desk.is_empty());
    stop(engine);
}

// -- goim

#[test]
fn goim_clients_are_who_it_says() {
    let mut config = config();
    config.allow_anonymous = false;
    let (engine, desk) = start_with_desk(config, WHO);
    let addr = engine.client_addrs()[0];
    for form in [Form::Tcp, Form::WebSocket, Form::Json] {
        let body = r#"{"mid":7,"key":"7/a","token":"invalid","rooms":["open"],"room_id":"open2","accepts":[1000]}"#;
        let mut client = Goim::open(addr, form);
        client.request(7, body.as_bytes());
        // What comes behind it waits.
        let beat = client.request(2, b"");
        let (caller, ask, answerer) = desk.connect();
        assert_eq!((caller.protocol, &*ask.token), ("goim", "invalid"));
        assert_eq!(ask.data, body.as_bytes());
        assert_eq!(ask.rooms, ["open", "open2"].map(Box::from));
        let mut connected = known_as("7");
        connected.subscriptions = vec![("asked:mine".into(), Subscribed::default())];
        say(answerer, Ok(connected));
        let Told::Frame(first) = client.next() else {
            panic!("not let in over {form:?}")
        };
        assert_eq!((first.operation, first.seq), (8, beat - 1));
        client.answer(3, beat);
        eventually("it is in its rooms", || {
            ["open", "open2", "asked:mine"]
                .iter()
                .all(|room| members(&engine, room) == 1)
        });
        assert_eq!(push_keys(&engine, &["7/a"], 1000, "hello"), 1);
        client.push();
        drop(client);
        eventually("it has gone", || total(&engine, |it| it.connections) == 0);
    }
    let outcome = |body: &str, answer| {
        let mut client = Goim::open(addr, Form::WebSocket);
        client.request(7, body.as_bytes());
        say(desk.connect().2, answer);
        match client.next() {
            Told::Frame(frame) => panic!("{body}: {frame:?}"),
            Told::Closed(code) => code.unwrap(),
        }
    };
    // The answer is who it is, and not who it says.
    let (other, key) = (r#"{"mid":8,"token":"invalid"}"#, r#"{"key":"8/a"}"#);
    assert_eq!(outcome(other, Ok(known_as("7"))), 3500);
    assert_eq!(outcome(key, Ok(known_as("7"))), 3500);
    assert_eq!(outcome("{}", Err(refused(1000, "no", false))), 3004);
    let go = Refused::Disconnect {
        code: 4501,
        reason: "go".into(),
    };
    assert_eq!(outcome("{}", Err(go)), 4501);
    let nobody = fanfare_engine::backend::Connected::default();
    assert_eq!(outcome("{}", Ok(nobody)), 3500, "nobody may be anonymous");
    // Version 1, whose auth is not JSON.
    let mut old = Goim::open(addr, Form::Tcp);
    old.request(7, b"invalid");
    let (_, ask, answerer) = desk.connect();
    assert_eq!((&*ask.token, &*ask.data), ("invalid", &b"invalid"[..]));
    say(answerer, Ok(known_as("9")));
    assert!(matches!(old.next(), Told::Frame(frame) if frame.operation == 8));
    // Expired tokens and good ones need no word.
    let mut late = Goim::open(addr, Form::WebSocket);
    assert_eq!(
        late.try_auth(r#"{"token":"expired"}"#),
        Told::Closed(Some(3005))
    );
    Goim::tcp(addr, r#"{"token":"ann"}"#);
    assert!(desk.is_empty());
    stop(engine);
}

/// A room that has been asked for, and the way to let the client in.
fn asked_for(desk: &Desk, room: &str) -> fanfare_engine::backend::Answerer<Subscribed> {
    let (_, ask, answerer) = desk.subscribe();
    assert_eq!(&*ask.room, room);
    answerer
}

#[test]
fn goim_clients_change_rooms_as_it_says() {
    let (engine, desk) = start_with_desk(config(), Asked::default());
    let addr = engine.client_addrs()[0];
    for form in [Form::Tcp, Form::WebSocket] {
        let mut client = Goim::connect(addr, form, r#"{"token":"ann"}"#);
        let seq = client.request(12, b"asked:a");
        say(asked_for(&desk, "asked:a"), Ok(Subscribed::default()));
        assert_eq!(client.answer(13, seq).body, b"asked:a");
        assert_eq!(client.heartbeat(), 1);
        let seq = client.request(12, b"asked:b");
        say(asked_for(&desk, "asked:b"), Err(refused(1001, "no", false)));
        assert_eq!(client.answer(13, seq).body, b"asked:b");
        assert_eq!(client.heartbeat(), 0);
        // It goes on before there is an answer, which then is too late.
        let first = client.request(12, b"asked:c");
        let late = asked_for(&desk, "asked:c");
        let second = client.request(12, b"open");
        assert_eq!(client.answer(13, first).body, b"asked:c");
        say(late, Ok(Subscribed::default()));
        assert_eq!(client.answer(13, second).body, b"open");
        assert_eq!(client.heartbeat(), 1);
        assert_eq!(members(&engine, "asked:c"), 0);
        // There and back: it is asked anew, and once.
        let there = client.request(12, b"asked:d");
        let late = asked_for(&desk, "asked:d");
        let away = client.request(12, b"open");
        let back = client.request(12, b"asked:d");
        for (seq, room) in [(there, "asked:d"), (away, "open")] {
            assert_eq!(client.answer(13, seq).body, room.as_bytes());
        }
        say(late, Ok(Subscribed::default()));
        say(asked_for(&desk, "asked:d"), Ok(Subscribed::default()));
        client.answer(13, back);
        assert_eq!(client.heartbeat(), 1);
        // What it came into by asking it leaves.
        client.change_room("");
        eventually("it is in no room", || members(&engine, "asked:d") == 0);
        // To leave for none, too.
        let first = client.request(12, b"asked:e");
        let late = asked_for(&desk, "asked:e");
        let none = client.request(12, b"");
        client.answer(13, first);
        client.answer(13, none);
        say(late, Ok(Subscribed::default()));
        client.change_room("open");
        assert_eq!(client.heartbeat(), 1);
        assert_eq!(members(&engine, "asked:e"), 0);
        drop(client);
        eventually("it has gone", || total(&engine, |it| it.connections) == 0);
        assert!(desk.is_empty());
    }
    stop(engine);
}

#[test]
fn goim_clients_begin_in_rooms_as_it_says() {
    let (engine, desk) = start_with_desk(config(), Asked::default());
    let addr = engine.client_addrs()[0];
    let body = r#"{"token":"ann","rooms":["asked:r"],"room_id":"asked:a"}"#;
    let mut client = Goim::websocket(addr, body);
    assert_eq!(client.heartbeat(), 0, "it is not in yet");
    say(asked_for(&desk, "asked:r"), Ok(Subscribed::default()));
    say(asked_for(&desk, "asked:a"), Ok(Subscribed::default()));
    eventually_in(&mut client, 1);
    eventually("and in the other", || members(&engine, "asked:r") == 1);
    assert_eq!(push_room(&engine, "asked:r", 1000, "1"), 1);
    assert_eq!(client.push().1, "1");
    drop(client);
    // It has been told that it is in, and is not.
    for (at, answer, code) in [
        (0, refused(1001, "no", false), 3507),
        (1, refused(1001, "no", false), 3507),
        (1, Refused::Unreachable, 3004),
    ] {
        let mut client = Goim::websocket(addr, body);
        let mut answers = vec![asked_for(&desk, "asked:r"), asked_for(&desk, "asked:a")];
        say(answers.remove(at), Err(answer));
        assert_eq!(client.closed(), Some(code));
    }
    // Who has gone elsewhere meanwhile does not mind.
    let mut client = Goim::websocket(addr, r#"{"token":"ann","room_id":"asked:a"}"#);
    let late = asked_for(&desk, "asked:a");
    let seq = client.request(12, b"open");
    say(late, Err(refused(1001, "no", false)));
    client.answer(13, seq);
    assert_eq!(client.heartbeat(), 1);
    assert!(desk.is_empty());
    stop(engine);
}

#[test]
fn what_goim_clients_say_is_heard() {
    let (engine, desk) = start_with_desk(config(), CALLS);
    let addr = engine.client_addrs()[0];
    for form in [Form::Tcp, Form::WebSocket] {
        let mut client = Goim::connect(addr, form, r#"{"token":"ann"}"#);
        let seq = client.request(1000, b"how late?");
        let (caller, ask, answerer) = desk.rpc();
        assert_eq!(
            (&*caller.user, &*ask.method, &*ask.data),
            ("ann", "goim.1000", &b"how late?"[..])
        );
        say(answerer, Ok(Some(payload("late"))));
        assert_eq!(client.answer(1000, seq).body, b"late");
        let answers = [
            Ok(None),
            Err(refused(1, "no", false)),
            Err(Refused::Unreachable),
        ];
        for answer in answers {
            let seq = client.request(1001, b"");
            say(desk.rpc().2, answer);
            assert_eq!(client.answer(1001, seq).body, b"");
        }
    }
    assert_eq!(total(&engine, |it| it.messages_refused), 4);
    // Version 1 says with one operation, and hears its own words where there is no answer.
    let mut old = Goim::tcp(addr, "ann");
    let seq = old.request(4, b"hello");
    let (_, ask, answerer) = desk.rpc();
    assert_eq!(&*ask.method, "goim.4");
    say(answerer, Ok(None));
    assert_eq!(old.answer(5, seq).body, b"hello");
    // So many at a time.
    let mut many = Goim::websocket(addr, r#"{"token":"ann"}"#);
    let limit = Limits::default().requests_in_flight_max;
    for _ in 0..=limit {
        many.request(1000, b"");
    }
    assert_eq!(many.closed(), Some(3013));
    assert_eq!(total(&engine, |it| it.goim_messages_unheard), 0);
    let asked: Vec<_> = (0..limit).map(|_| desk.rpc()).collect();
    drop(asked);
    stop(engine);
}

#[test]
fn what_goim_clients_say_is_taken_without_an_answer() {
    let sends = Asked {
        send: true,
        ..Asked::default()
    };
    let (engine, desk) = start_with_desk(config(), sends);
    let mut client = Goim::tcp(engine.client_addrs()[0], r#"{"token":"ann"}"#);
    assert_eq!(client.ask(1000, b"note this", 1000), b"");
    let fanfare_engine::backend::Question::Send(_, ask, answerer) = desk.next() else {
        panic!("something else is asked")
    };
    assert_eq!(&*ask.data, b"note this");
    say(answerer, Ok(()));
    stop(engine);
}

#[test]
fn frames_are_cut_anywhere_while_it_is_asked() {
    let (engine, desk) = start_with_desk(config(), WHO);
    let addr = engine.client_addrs()[0];
    let all: Vec<u8> = [
        bytes_of(&frame(7, 1, b"{}")),
        bytes_of(&frame(12, 2, b"open")),
        bytes_of(&frame(2, 3, b"")),
    ]
    .concat();
    for cut in 1..all.len() {
        let mut client = Goim::open(addr, Form::Tcp);
        client.wire.send_bytes(&all[..cut]);
        let is_asked = cut >= 18;
        let early = is_asked.then(|| desk.connect());
        client.wire.send_bytes(&all[cut..]);
        let (_, _, answerer) = early.unwrap_or_else(|| desk.connect());
        say(answerer, Ok(known_as("ann")));
        client.answer(8, 1);
        client.answer(13, 2);
        client.answer(3, 3);
        assert!(client.waiting_is_empty());
    }
    stop(engine);
}

// -- for how long

/// It looks at them with every ping.
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

#[test]
fn subscriptions_go_on_as_it_says() {
    let (engine, desk) = start_with_desk(often(), Asked::default());
    let addr = engine.client_addrs()[0];
    let over = || Subscribed {
        grant: SubscriptionGrant {
            expires_at: in_seconds(0),
            ..SubscriptionGrant::default()
        },
        ..Subscribed::default()
    };
    let mut ann = Centrifuge::connect(addr, "ann");
    let join = |room: &str, ann: &mut Centrifuge| {
        let id = ann.command("subscribe", &json!({ "channel": room }));
        say(desk.subscribe().2, Ok(over()));
        let reply = ann.reply(id);
        assert!(reply["subscribe"].is_object(), "{reply}");
        // The client has nothing to refresh it with.
        assert!(reply["subscribe"].get("expires").is_none(), "{reply}");
    };
    join("asked:a", &mut ann);
    let (caller, ask, answerer) = desk.sub_refresh();
    assert_eq!((&*caller.user, &*ask.room), ("ann", "asked:a"));
    let longer = Extension {
        expires_at: in_seconds(0),
        info: Some(r#"{"seat":1}"#.into()),
        ..Extension::default()
    };
    say(answerer, Ok(Refreshed::Extended(longer)));
    // It is looked at when it is pinged, which wants an answer.
    assert!(ann.has_no_push());
    // Its time is up again at once. Without an answer it goes on for a minute.
    say(desk.sub_refresh().2, Err(Refused::Unreachable));
    assert!(ann.has_no_push());
    assert_eq!(push_room(&engine, "asked:a", 0, "1"), 1);
    ann.push();
    // Another one is not as lucky.
    for (room, answer) in [
        ("asked:b", Ok(Refreshed::Expired)),
        ("asked:c", Err(refused(1001, "no", false))),
    ] {
        join(room, &mut ann);
        let (_, ask, answerer) = desk.sub_refresh();
        assert_eq!(&*ask.room, room);
        assert!(ann.has_no_push());
        say(answerer, answer);
        let push = ann.push();
        assert_eq!(push["channel"], room, "{push}");
        assert_eq!(push["unsubscribe"]["code"], 2501, "{push}");
        eventually("it is out", || members(&engine, room) == 0);
    }
    // Without an end it is not asked about.
    join("asked:d", &mut ann);
    say(
        desk.sub_refresh().2,
        Ok(Refreshed::Extended(Extension::default())),
    );
    assert!(ann.has_no_push());
    join("asked:e", &mut ann);
    let (_, ask, _answerer) = desk.sub_refresh();
    assert_eq!(&*ask.room, "asked:e", "and the others go on");
    assert!(desk.is_empty());
    for room in ["asked:a", "asked:d"] {
        assert_eq!(members(&engine, room), 1);
    }
    stop(engine);
}

#[test]
fn who_asks_much_is_asked_about_all_the_same() {
    let (engine, desk) = start_with_desk(often(), CALLS);
    let mut ann = Goim::websocket(
        engine.client_addrs()[0],
        r#"{"token":"ann","room_id":"asked:a"}"#,
    );
    let (_, _, answerer) = desk.subscribe();
    let soon = Subscribed {
        grant: SubscriptionGrant {
            expires_at: in_seconds(2),
            ..SubscriptionGrant::default()
        },
        ..Subscribed::default()
    };
    say(answerer, Ok(soon));
    eventually_in(&mut ann, 1);
    let limit = Limits::default().requests_in_flight_max;
    for _ in 0..limit {
        ann.request(1000, b"");
    }
    let calls: Vec<_> = (0..limit).map(|_| desk.rpc()).collect();
    say(desk.sub_refresh().2, Ok(Refreshed::Expired));
    eventually("it is out", || members(&engine, "asked:a") == 0);
    drop(calls);
    stop(engine);
}

#[test]
fn refusals_say_whether_to_try_again() {
    let (engine, desk) = start_with_desk(config(), CALLS);
    let mut ann = Centrifuge::connect(engine.client_addrs()[0], "ann");
    for is_temporary in [true, false] {
        let id = ann.command("rpc", &json!({ "method": "m" }));
        say(desk.rpc().2, Err(refused(1001, "later", is_temporary)));
        let error = &ann.reply(id)["error"];
        assert_eq!(error["message"], "later");
        assert_eq!(error["temporary"] == json!(true), is_temporary, "{error}");
    }
    stop(engine);
}
