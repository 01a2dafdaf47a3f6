//! Whom clients of goim may be, which keys they may have and which rooms they may be in: what a token says, and not what they
//! say, unless their word is taken by configuration.

mod support;

use fanfare_engine::api::UserConnections;
use fanfare_engine::{Access, Engine, EngineConfig, RoomOptions};
use support::{
    Form, Goim, Told, ask, eventually, goim_config, members, open_rooms, push_keys, push_room,
    push_users, start, start_scripted, stop, total, trusting_config,
};

const INVALID_TOKEN: u16 = 3500;
const EXPIRED: u16 = 3005;
const PERMISSION_DENIED: u16 = 3507;

/// Rooms of the type `live` need a right, others do not.
fn strict_config() -> EngineConfig {
    let mut config = goim_config(3);
    config.allow_anonymous = false;
    config.namespaces.named[0].1 = RoomOptions {
        subscribe: Access::Grant,
        ..open_rooms()
    };
    config
}

/// What becomes of an auth body, over TCP, where there is no word for why, and over WebSocket.
fn outcome(engine: &Engine, body: &str) -> Result<(), u16> {
    let addr = engine.client_addrs()[0];
    let mut tcp = Goim::open(addr, Form::Tcp);
    let mut websocket = Goim::open(addr, Form::WebSocket);
    let told = websocket.try_auth(body);
    match (tcp.try_auth(body), told) {
        (Told::Frame(tcp), Told::Frame(websocket)) => {
            assert_eq!((tcp.operation, websocket.operation), (8, 8), "{body}");
            Ok(())
        }
        (Told::Closed(None), Told::Closed(Some(code))) => Err(code),
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn a_token_says_who_the_user_is() {
    let mut config = strict_config();
    config.goim.key_connections_max = 10;
    let engine = start_scripted(config);
    let outcome = |body: &str| outcome(&engine, body);
    assert_eq!(outcome(r#"{"token":"123"}"#), Ok(()));
    assert_eq!(outcome(r#"{"token":"123","mid":123}"#), Ok(()));
    assert_eq!(outcome(r#"{"token":"123","mid":0}"#), Ok(()));
    assert_eq!(outcome(r#"{"token":"ann"}"#), Ok(()));
    for body in [
        r#"{"token":"123","mid":124}"#,
        r#"{"token":"123","mid":-123}"#,
        r#"{"token":"0123","mid":123}"#,
        r#"{"token":"ann","mid":1}"#,
        r#"{"token":"invalid","mid":1}"#,
        r#"{"mid":123}"#,
        r#"{"token":"","mid":123}"#,
        "{}",
        "123",
        "123,45",
        "invalid",
    ] {
        assert_eq!(outcome(body), Err(INVALID_TOKEN), "{body}");
    }
    assert_eq!(outcome(r#"{"token":"expired"}"#), Err(EXPIRED));
    assert_eq!(total(&engine, |it| it.auth_failures), 2 * 12);
    assert_eq!(total(&engine, |it| it.authenticated), 2 * 4);
    stop(engine);
}

#[test]
fn a_key_belongs_to_the_user_whose_name_it_begins_with() {
    let mut config = strict_config();
    config.goim.key_connections_max = 2;
    let engine = start_scripted(config);
    let outcome = |token: &str, key: &str| {
        outcome(&engine, &format!(r#"{{"token":"{token}","key":"{key}"}}"#))
    };
    for key in ["", "ann", "ann:phone", "ann/1", "ann#", "ann:bob"] {
        assert_eq!(outcome("ann", key), Ok(()), "{key}");
    }
    // `ann.b` may be another user's name, and so another user's key.
    for key in [
        "bob", "ann.b", "ann-b", "ann_b", "annb", "an", "Ann", ":ann", " ann", "ann ",
    ] {
        assert_eq!(outcome("ann", key), Err(INVALID_TOKEN), "{key}");
    }
    assert_eq!(outcome("123", "123:web"), Ok(()));
    assert_eq!(outcome("123", "1234"), Err(INVALID_TOKEN));
    let longest = format!("ann:{}", "k".repeat(251));
    assert_eq!(outcome("ann", &longest), Ok(()));
    assert_eq!(outcome("ann", &format!("{longest}k")), Err(3501));
    stop(engine);
}

#[test]
fn who_brings_no_token_is_nobody_where_that_is_allowed() {
    let mut config = goim_config(2);
    config.namespaces.named[0].1.subscribe = Access::Users;
    let engine = start_scripted(config);
    let outcome = |body: &str| outcome(&engine, body);
    assert_eq!(outcome("{}"), Ok(()));
    assert_eq!(
        outcome(r#"{"mid":0,"key":"","room_id":"test://1"}"#),
        Ok(())
    );
    // Nobody has no name, no key, and no place where only users are.
    assert_eq!(outcome(r#"{"mid":1}"#), Err(INVALID_TOKEN));
    assert_eq!(outcome(r#"{"key":"k"}"#), Err(INVALID_TOKEN));
    assert_eq!(outcome(r#"{"room_id":"live://1"}"#), Err(PERMISSION_DENIED));
    assert_eq!(outcome("12345"), Err(INVALID_TOKEN));
    stop(engine);
}

#[test]
fn a_room_needs_the_right_to_be_in_it() {
    let engine = start_scripted(strict_config());
    let outcome = |body: &str| outcome(&engine, body);
    for body in [
        r#"{"token":"ann","room_id":"test://1"}"#,
        r#"{"token":"ann","room_id":"plain"}"#,
        r#"{"token":"ann may=s@live://1","room_id":"live://1"}"#,
        r#"{"token":"ann may=s@live://*","room_id":"live://1","rooms":["live://2","live://3"]}"#,
    ] {
        assert_eq!(outcome(body), Ok(()), "{body}");
    }
    for body in [
        r#"{"token":"ann","room_id":"live://1"}"#,
        r#"{"token":"ann","rooms":["live://1"]}"#,
        r#"{"token":"ann may=s@live://1","room_id":"live://2"}"#,
        r#"{"token":"ann may=s@live://1","room_id":"live://1","rooms":["live://2"]}"#,
        r#"{"token":"ann may=p@live://1","room_id":"live://1"}"#,
        r#"{"token":"ann","room_id":"nowhere://1"}"#,
    ] {
        assert_eq!(outcome(body), Err(PERMISSION_DENIED), "{body}");
    }
    let long = format!(
        r#"{{"token":"ann","room_id":"test://{}"}}"#,
        "r".repeat(249)
    );
    assert_eq!(outcome(&long), Err(3501));
    let many: Vec<String> = (0..128).map(|n| format!("\"r{n}\"")).collect();
    let many = many.join(",");
    assert_eq!(
        outcome(&format!(r#"{{"token":"ann","rooms":[{many}]}}"#)),
        Ok(())
    );
    let more = format!(r#"{{"token":"ann","room_id":"r","rooms":[{many}]}}"#);
    assert_eq!(outcome(&more), Err(3505));
    eventually("all have gone", || total(&engine, |it| it.members) == 0);
    stop(engine);
}

#[test]
fn who_is_refused_leaves_nothing_behind() {
    let engine = start_scripted(strict_config());
    let addr = engine.client_addrs()[0];
    let mut holder = Goim::tcp(addr, r#"{"token":"ann","key":"ann:1","accepts":[7]}"#);
    eventually("it is known", || {
        push_keys(&engine, &["ann:1"], 1, "unwanted") == 1
    });
    // The same user with the same key, in rooms of which only the last is not for her.
    let body =
        r#"{"token":"ann","key":"ann:1","accepts":[7],"rooms":["test://1"],"room_id":"live://1"}"#;
    for _ in 0..20 {
        assert_eq!(outcome(&engine, body), Err(PERMISSION_DENIED));
    }
    eventually("they have gone", || {
        total(&engine, |it| it.connections) == 1 && members(&engine, "test://1") == 0
    });
    assert_eq!(members(&engine, "live://1"), 0);
    // The one with the key still has it, and hears each push once.
    eventually("the others are forgotten", || {
        push_users(&engine, &["ann"], 1, "unwanted") == 1
    });
    assert_eq!(push_keys(&engine, &["ann:1"], 7, "key"), 1);
    assert_eq!(push_users(&engine, &["ann"], 7, "user"), 1);
    assert_eq!(holder.push(), (7, "key".to_owned()));
    assert_eq!(holder.push(), (7, "user".to_owned()));
    stop(engine);
}

#[test]
fn a_change_to_a_room_without_the_right_leads_into_no_room() {
    let engine = start_scripted(strict_config());
    let addr = engine.client_addrs()[0];
    let body = r#"{"token":"ann may=s@live://1","room_id":"live://1"}"#;
    for form in [Form::Tcp, Form::WebSocket] {
        let mut client = Goim::connect(addr, form, body);
        assert_eq!(client.heartbeat(), 1);
        client.change_room("live://2");
        assert_eq!(client.heartbeat(), 0);
        eventually("it is in no room", || members(&engine, "live://1") == 0);
        assert_eq!(members(&engine, "live://2"), 0);
        client.change_room("nowhere://1");
        client.change_room(&"r".repeat(4000));
        client.change_room("a\nb");
        assert_eq!(client.heartbeat(), 0);
        client.change_room("live://1");
        assert_eq!(client.heartbeat(), 1);
        assert_eq!(push_room(&engine, "live://2", 1000, "not for it"), 0);
        assert_eq!(push_room(&engine, "live://1", 1000, "for it"), 1);
        assert_eq!(client.push(), (1000, "for it".to_owned()));
        drop(client);
        eventually("it has gone", || members(&engine, "live://1") == 0);
    }
    stop(engine);
}

#[test]
fn rooms_that_a_token_brings_are_kept() {
    let engine = start_scripted(strict_config());
    let addr = engine.client_addrs()[0];
    // Twice the same room, by the token and by the client, is once.
    let body =
        r#"{"token":"ann room=live://9","rooms":["live://9","a","a","b"],"room_id":"live://9"}"#;
    let mut client = Goim::tcp(addr, body);
    assert_eq!(client.heartbeat(), 1);
    eventually("it is in all", || total(&engine, |it| it.members) == 3);
    // Where it has been put, it stays whatever it asks for.
    client.change_room("c");
    client.change_room("b");
    assert_eq!(client.heartbeat(), 1);
    client.change_room("c");
    client.change_room("");
    assert_eq!(client.heartbeat(), 0);
    eventually("it has left", || members(&engine, "c") == 0);
    for (room, count) in [("live://9", 1), ("a", 1), ("b", 1), ("c", 0)] {
        assert_eq!(members(&engine, room), count, "{room}");
        assert_eq!(push_room(&engine, room, 1000, room), count, "{room}");
    }
    let mut heard = [client.push().1, client.push().1, client.push().1];
    heard.sort();
    assert_eq!(heard, ["a", "b", "live://9"]);
    stop(engine);
}

#[test]
fn a_room_that_the_server_took_it_out_of_can_be_come_back_to() {
    let engine = start_scripted(strict_config());
    let mut client = Goim::tcp(engine.client_addrs()[0], r#"{"token":"ann","room_id":"a"}"#);
    let ann = || UserConnections {
        user: "ann".into(),
        client: None,
        except: Vec::new(),
    };
    eventually("she is known", || {
        ask(|reply| engine.handle().unsubscribe(ann(), "a", reply)) == Ok(1)
    });
    eventually("she is out", || members(&engine, "a") == 0);
    assert_eq!(client.heartbeat(), 0);
    client.change_room("a");
    assert_eq!(client.heartbeat(), 1);
    assert_eq!(push_room(&engine, "a", 1000, "again"), 1);
    assert_eq!(client.push(), (1000, "again".to_owned()));
    // The other way round: put there, and then asking.
    assert_eq!(
        ask(|reply| engine.handle().subscribe(ann(), "b", reply)),
        Ok(1)
    );
    eventually("she is in", || members(&engine, "b") == 1);
    client.change_room("b");
    assert_eq!(client.heartbeat(), 1);
    eventually("she has left", || members(&engine, "a") == 0);
    stop(engine);
}

#[test]
fn a_token_may_be_all_that_version_1_says() {
    let engine = start_scripted(strict_config());
    let addr = engine.client_addrs()[0];
    let mut clients = [
        Goim::connect(addr, Form::Tcp, "ann"),
        Goim::connect(addr, Form::Json, "\"ann\""),
        Goim::connect(addr, Form::Json, r#"{"token":"ann","accepts":[7]}"#),
    ];
    eventually("all are hers", || {
        push_users(&engine, &["ann"], 7, "{}") == 3
    });
    // Those that were known first may have heard it several times; the last word comes once.
    assert_eq!(push_users(&engine, &["ann"], 7, "7"), 3);
    for client in &mut clients {
        while client.push() == (5, "{}".to_owned()) {}
        assert!(client.has_no_push());
    }
    for (form, body) in [
        (Form::Tcp, "invalid"),
        (Form::Tcp, "7"),
        (Form::Tcp, "7,8"),
        (Form::Tcp, ""),
        (Form::Json, "\"invalid\""),
        (Form::Json, "7"),
        (Form::Json, "\"7,8\""),
        (Form::Json, "{}"),
        (Form::Json, "{\"data\":{}}"),
    ] {
        let mut client = Goim::open(addr, form);
        let code = (form == Form::Json).then_some(INVALID_TOKEN);
        assert_eq!(client.try_auth(body), Told::Closed(code), "{body}");
    }
    stop(engine);
}

#[test]
fn clients_whose_word_is_taken_are_whoever_they_say() {
    let engine = start(trusting_config(3));
    let addr = engine.client_addrs()[0];
    let body = r#"{"mid":123,"key":"anything at all","room_id":"live://1","rooms":["live://2"],"accepts":[7]}"#;
    let mut client = Goim::tcp(addr, body);
    assert_eq!(client.heartbeat(), 1);
    client.change_room("live://3");
    assert_eq!(client.heartbeat(), 1);
    eventually("it is known", || {
        push_keys(&engine, &["anything at all"], 1, "unwanted") == 1
            && push_users(&engine, &["123"], 1, "unwanted") == 1
    });
    assert_eq!(push_users(&engine, &["123"], 7, "user"), 1);
    assert_eq!(push_room(&engine, "live://2", 1000, "room"), 1);
    let mut heard = [client.push(), client.push()];
    heard.sort();
    assert_eq!(heard, [(7, "user".to_owned()), (1000, "room".to_owned())]);
    let _first = Goim::tcp(addr, "777,1");
    let _second = Goim::connect(addr, Form::Json, "777");
    eventually("both are 777", || {
        push_users(&engine, &["777"], 1, "{}") == 2
    });
    stop(engine);
}

#[test]
fn a_token_is_verified_where_the_word_of_clients_is_taken_too() {
    let engine = start_scripted(trusting_config(2));
    let outcome = |body: &str| outcome(&engine, body);
    assert_eq!(outcome(r#"{"mid":123,"room_id":"live://1"}"#), Ok(()));
    assert_eq!(outcome(r#"{"token":"123","mid":123}"#), Ok(()));
    assert_eq!(
        outcome(r#"{"token":"invalid","mid":123}"#),
        Err(INVALID_TOKEN)
    );
    assert_eq!(outcome(r#"{"token":"123","mid":124}"#), Err(INVALID_TOKEN));
    assert_eq!(
        outcome(r#"{"token":"123","key":"124"}"#),
        Err(INVALID_TOKEN)
    );
    assert_eq!(
        outcome(r#"{"token":"123","room_id":"live://1"}"#),
        Err(PERMISSION_DENIED)
    );
    // Nor does it get there later.
    let mut client = Goim::tcp(engine.client_addrs()[0], r#"{"token":"123"}"#);
    client.change_room("live://1");
    assert_eq!(client.heartbeat(), 0);
    stop(engine);
}
