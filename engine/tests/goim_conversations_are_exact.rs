//! Conversations with a running engine, byte for byte as goim's documents give them: what is sent and what has to come are
//! literal, over TCP and WebSocket, in version 2 and 1.

mod support;

use std::net::TcpListener;

use fanfare_engine::Engine;
use support::{
    Form, Goim, Told, Wire, eventually, frame, hex, members, push_all, push_keys, push_room,
    push_users, start, stop, trusting_config,
};

/// `{"mid":123,"key":"","room_id":"live://1000","platform":"web","accepts":[1000,1001,1002]}`
const AUTH: &str = "00000068 0010 0001 00000007 00000001
    7b226d6964223a3132332c226b6579223a22222c22726f6f6d5f6964223a226c6976653a2f2f31303030222c
    22706c6174666f726d223a22776562222c2261636365707473223a5b313030302c313030312c313030325d7d";

const AUTH_MASKED: &str = "82e8 01020304
    0102036c 01120305 01020303 01020305 7a206e6d6520393533312f266a677a263b20212823706c6b6c5d6a
    60233821686874663e2e2d32343132212823726f6575646c766c203926766761262d206267626773707220395f30
    3233342d333334302e323431305e79";

const AUTH_REPLY: &str = "00000010 0010 0001 00000008 00000001";

/// Six others in the room, so that the one that is looked at is the seventh.
fn six_others(engine: &Engine) -> Vec<Goim> {
    let addr = engine.client_addrs()[0];
    let auth = r#"{"room_id":"live://1000"}"#;
    let join = |_| Goim::tcp(addr, auth);
    let others: Vec<Goim> = (0..6).map(join).collect();
    eventually("all are counted", || members(engine, "live://1000") == 6);
    others
}

fn is_known(engine: &Engine, mid: &str) {
    eventually("its user is known", || {
        push_users(engine, &[mid], 999, "unwanted") == 1
    });
}

#[test]
fn version_2_over_tcp() {
    let engine = start(trusting_config(2));
    let _others = six_others(&engine);
    let mut wire = Wire::tcp(engine.client_addrs()[0]);
    wire.send(AUTH);
    wire.expect(AUTH_REPLY);

    // Heartbeat, with how many are in the room.
    wire.send("00000010 0010 0001 00000002 00000002");
    wire.expect("00000014 0010 0001 00000003 00000002 00000007");

    // A push of {"test":1}, and two at once.
    let push = "0000001a 0010 0001 000003e8 00000000 7b2274657374223a317d";
    let second = "0000001a 0010 0001 000003e8 00000000 7b2274657374223a327d";
    assert_eq!(push_room(&engine, "live://1000", 1000, r#"{"test":1}"#), 7);
    wire.expect(push);
    push_room(&engine, "live://1000", 1000, r#"{"test":1}"#);
    push_room(&engine, "live://1000", 1000, r#"{"test":2}"#);
    wire.expect(push);
    wire.expect(second);
    // To everyone, and to the user.
    push_all(&engine, 1000, r#"{"test":2}"#);
    wire.expect(second);
    is_known(&engine, "123");
    assert_eq!(push_users(&engine, &["123"], 1001, "{}"), 1);
    wire.expect("00000012 0010 0001 000003e9 00000000 7b7d");

    // Another room.
    wire.send("0000001b 0010 0001 0000000c 00000003 6c6976653a2f2f32303030");
    wire.expect("0000001b 0010 0001 0000000d 00000003 6c6976653a2f2f32303030");
    assert_eq!(members(&engine, "live://2000"), 1);
    wire.send("00000010 0010 0001 00000002 00000004");
    wire.expect("00000014 0010 0001 00000003 00000004 00000001");

    // More operations, and fewer.
    wire.send("00000019 0010 0001 0000000e 00000004 313030332c31303034");
    wire.expect("00000019 0010 0001 0000000f 00000004 313030332c31303034");
    assert_eq!(push_all(&engine, 1003, "hi"), 1);
    wire.expect("00000012 0010 0001 000003eb 00000000 6869");
    wire.send("00000014 0010 0001 00000010 00000005 31303033");
    wire.expect("00000014 0010 0001 00000011 00000005 31303033");
    assert_eq!(push_all(&engine, 1003, "hi"), 0);

    // What the application says, under the version that it chose.
    wire.send("00000012 0010 0002 000003ea 00000006 6869");
    wire.expect("00000010 0010 0002 000003ea 00000006");
    wire.send("00000012 0010 0001 00000004 00000007 6869");
    wire.expect("00000010 0010 0001 00000004 00000007");

    // No room: nobody is in it. The largest sequence, and the smallest.
    wire.send("00000010 0010 0001 0000000c 7fffffff");
    wire.expect("00000010 0010 0001 0000000d 7fffffff");
    wire.send("00000010 0010 ffff 00000002 80000000");
    wire.expect("00000014 0010 ffff 00000003 80000000 00000000");
    eventually("it has left", || members(&engine, "live://2000") == 0);
    stop(engine);
    assert_eq!(wire.rest(), b"");
}

#[test]
fn version_2_over_websocket() {
    let engine = start(trusting_config(2));
    let _others = six_others(&engine);
    let mut wire = Wire::websocket(engine.client_addrs()[0]);
    wire.send(AUTH_MASKED);
    wire.expect("8210 00000010 0010 0001 00000008 00000001");

    wire.send("82 90 01020304 010203 14 01120305 01020306 01020306");
    wire.expect("8214 00000014 0010 0001 00000003 00000002 00000007");

    // A push comes as a batch, a single one, too.
    let push = "82 2a 0000002a 0010 0001 00000009 00000000
        0000001a 0010 0001 000003e8 00000000 7b2274657374223a317d";
    assert_eq!(push_room(&engine, "live://1000", 1000, r#"{"test":1}"#), 7);
    wire.expect(push);
    push_all(&engine, 1000, r#"{"test":1}"#);
    wire.expect(push);
    is_known(&engine, "123");
    assert_eq!(push_users(&engine, &["123"], 1001, "{}"), 1);
    wire.expect(
        "82 22 00000022 0010 0001 00000009 00000000 00000012 0010 0001 000003e9 00000000 7b7d",
    );

    wire.send("829b 01020304 0102031f 01120305 01020308 01020307 6d6b75613b2d2c36313233");
    wire.expect("821b 0000001b 0010 0001 0000000d 00000003 6c6976653a2f2f32303030");
    wire.send("8299 01020304 0102031d 01120305 0102030a 01020300 303233372d33333435");
    wire.expect("8219 00000019 0010 0001 0000000f 00000004 313030332c31303034");
    assert_eq!(push_all(&engine, 1003, "hi"), 1);
    wire.expect(
        "82 22 00000022 0010 0001 00000009 00000000 00000012 0010 0001 000003eb 00000000 6869",
    );
    wire.send("8294 01020304 01020310 01120305 01020314 01020301 30323337");
    wire.expect("8214 00000014 0010 0001 00000011 00000005 31303033");
    assert_eq!(push_all(&engine, 1003, "hi"), 0);
    wire.send("8292 01020304 01020316 01120305 010200ee 0102030c 696b");
    wire.expect("8210 00000010 0010 0001 000003ea 00000008");
    wire.send("8290 01020304 01020314 01120305 01020308 01020302");
    wire.expect("8210 00000010 0010 0001 0000000d 00000006");
    wire.send("8290 01020304 01020314 01120305 01020306 01020303");
    wire.expect("8214 00000014 0010 0001 00000003 00000007 00000000");

    // WebSocket's own ping, and its close.
    wire.send("8982 01020304 696b");
    wire.expect("8a02 6869");
    wire.send("8882 01020304 02ea");
    wire.expect("8802 03e8");
    assert_eq!(wire.rest(), b"");
    stop(engine);
}

#[test]
fn version_1_over_tcp() {
    let engine = start(trusting_config(2));
    let mut wire = Wire::tcp(engine.client_addrs()[0]);
    // `12345,1102`, as the SDKs say it.
    wire.send("0000001a 0010 0001 00000007 00000001 31323334352c31313032");
    wire.expect(AUTH_REPLY);
    // A heartbeat, the second with a body that means nothing.
    wire.send("00000010 0010 0001 00000002 00000002");
    wire.expect("00000010 0010 0001 00000003 00000002");
    wire.send("00000014 0010 0002 00000002 00000002 31323334");
    wire.expect("00000010 0010 0002 00000003 00000002");
    // A push, of whatever operation.
    let push = "00000012 0010 0000 00000005 00000000 7b7d";
    eventually("its user is known", || {
        push_users(&engine, &["12345"], 1000, "{}") == 1
    });
    wire.expect(push);
    assert_eq!(push_all(&engine, 1234, "{}"), 1);
    wire.expect(push);
    // What it says comes back.
    wire.send("00000012 0010 0001 00000004 00000005 6869");
    wire.expect("00000012 0010 0001 00000005 00000005 6869");
    wire.send("00000010 0010 0001 000000fe 00000003");
    wire.expect("00000022 0010 0001 000000ff 00000003 7b2274657374223a22636f6d65206f6e227d");
    // There are no rooms to change.
    wire.send("0000001b 0010 0001 0000000c 00000003 6c6976653a2f2f32303030");
    assert_eq!(wire.rest(), b"");
    stop(engine);
}

#[test]
fn version_1_over_websocket() {
    let engine = start(trusting_config(2));
    let mut wire = Wire::websocket(engine.client_addrs()[0]);
    // {"ver":1,"op":7,"seq":1,"body":{"data":{}}} and [{"ver":1,"op":8,"seq":1,"body":{}}]
    wire.send(
        "81ab 01020304 7a207561732039352d206c7423383428237166752338322823606c607820397f236662706020397f7c7f7e",
    );
    wire.expect("8124 5b7b22766572223a312c226f70223a382c22736571223a312c22626f6479223a7b7d7d5d");
    // {"ver":1,"op":2,"seq":2,"body":{}} and [{"ver":1,"op":3,"seq":2,"body":{}}]
    wire.send("81a2 01020304 7a207561732039352d206c7423383128237166752338312823606c607820397f7c7f");
    wire.expect("8124 5b7b22766572223a312c226f70223a332c22736571223a322c22626f6479223a7b7d7d5d");
    // [{"ver":0,"op":5,"seq":0,"body":{"test":1}}]
    assert_eq!(push_all(&engine, 1000, r#"{"test":1}"#), 1);
    let push = "812c 5b7b22766572223a302c226f70223a352c22736571223a302c22626f6479223a7b2274657374223a317d7d5d";
    wire.expect(push);
    // {"ver":1,"op":4,"seq":3,"body":{"say":"hi"}} and [{"ver":1,"op":5,"seq":3,"body":{"say":"hi"}}]
    wire.send(
        "81ac 01020304 7a207561732039352d206c7423383728237166752338302823606c607820397f2371627d2338216c68207e79",
    );
    wire.expect(
        "812e 5b7b22766572223a312c226f70223a352c22736571223a332c22626f6479223a7b22736179223a226869227d7d5d",
    );
    // {"ver":1,"op":254,"seq":4} and [{"ver":1,"op":255,"seq":4,"body":{"test":"come on"}}]
    wire.send("819a 01020304 7a207561732039352d206c7423383131352e21776473213e357f");
    wire.expect(
        "8136 5b7b22766572223a312c226f70223a3235352c22736571223a342c22626f6479223a7b2274657374223a22636f6d65206f6e227d7d5d",
    );
    stop(engine);
    // 3001, upon which clients come back.
    assert_eq!(&wire.rest()[..4], hex("880a 0bb9"));
}

#[test]
fn a_push_that_is_no_json_is_a_string_to_version_1() {
    let engine = start(trusting_config(1));
    let mut client = Goim::connect(engine.client_addrs()[0], Form::Json, r#""12345""#);
    let deep = "[".repeat(200) + &"]".repeat(200);
    for (text, body) in [
        ("no JSON", r#""no JSON""#),
        ("\"quoted\" \u{e9}\n", "\"\\\"quoted\\\" \u{e9}\\n\""),
        ("", "{}"),
        (" [1 , 2 ] ", "[1 , 2 ]"),
        (&deep, &format!("\"{deep}\"")),
    ] {
        assert_eq!(push_all(&engine, 1000, text), 1, "{text}");
        assert_eq!(client.push(), (5, body.to_owned()));
    }
    stop(engine);
}

#[test]
fn clients_that_are_out_there_are_understood() {
    let engine = start(trusting_config(2));
    let addr = engine.client_addrs()[0];
    let is_let_in = |form, body: &str| {
        let mut client = Goim::open(addr, form);
        let told = client.try_auth(body);
        assert!(
            matches!(&told, Told::Frame(frame) if frame.operation == 8),
            "{body}: {told:?}"
        );
        client
    };
    // The JavaScript client of version 2.
    let body =
        r#"{"mid":123, "room_id":"live://1000", "platform":"web", "accepts":[1000,1001,1002]}"#;
    let mut script = is_let_in(Form::WebSocket, body);
    assert_eq!(script.heartbeat(), 1);
    // The one that measures, which begins with 0 and has version 0 in its heartbeats.
    let mut bench = Goim::open(addr, Form::Tcp);
    let body =
        r#"{"mid":7,"key":"","room_id":"live://1000","platform":"ios","accepts":[1000,1001,1002]}"#;
    bench.send(&frame(7, 0, body.as_bytes()));
    assert_eq!(bench.next(), Told::Frame(frame(8, 0, b"")));
    // Nothing at all, `null`, and what is not known.
    for body in [
        "{}",
        r#"{"mid":null,"accepts":null,"key":null,"x":[{}]}"#,
        " \n{} ",
    ] {
        is_let_in(Form::Tcp, body);
        is_let_in(Form::WebSocket, body);
    }
    // Version 1: a number, in quotes or not, and an object.
    for body in ["12345", r#""12345""#, r#""12345,77""#, r#"{"mid":5}"#] {
        is_let_in(Form::Json, body);
    }
    // The SDKs of version 1, whose heartbeats have a body and a version and sequence of their own.
    for body in ["12345", "12345,1102", "-1"] {
        let mut client = is_let_in(Form::Tcp, body);
        client.send(&support::GoimFrame {
            version: 2,
            ..frame(2, 2, b"a body")
        });
        let answer = support::GoimFrame {
            version: 2,
            ..frame(3, 2, b"")
        };
        assert_eq!(client.next(), Told::Frame(answer));
    }
    stop(engine);
}

#[test]
fn operations_that_are_nobodys_are_answered_without_a_body() {
    let engine = start(trusting_config(1));
    let addr = engine.client_addrs()[0];
    for mut client in [Goim::tcp(addr, "{}"), Goim::websocket(addr, "{}")] {
        for operation in [
            0,
            1,
            3,
            5,
            6,
            8,
            10,
            11,
            13,
            15,
            17,
            18,
            999,
            1000,
            -1,
            i32::MIN,
        ] {
            assert_eq!(client.ask(operation, b"body", operation), b"");
        }
        assert!(client.has_no_push());
    }
    let unheard = engine.handle().counters()[0].goim_messages_unheard;
    assert_eq!(unheard, 32);
    stop(engine);
}

/// The server may put several pushes into one message; that the client of these tests reads them is shown here.
#[test]
fn a_batch_of_two_is_two_pushes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stream = std::net::TcpStream::connect(listener.local_addr().expect("bound"));
    let mut client = Goim::on(Wire::on(stream.expect("listens")), Form::WebSocket);
    let mut server = Wire::on(listener.accept().expect("connected").0);
    server.send(
        "82 44 00000044 0010 0001 00000009 00000000
        0000001a 0010 0001 000003e8 00000000 7b2274657374223a317d
        0000001a 0010 0001 000003e8 00000000 7b2274657374223a327d",
    );
    assert_eq!(client.push(), (1000, r#"{"test":1}"#.to_owned()));
    assert_eq!(client.push(), (1000, r#"{"test":2}"#.to_owned()));
    assert_eq!(client.batches, [2]);
}

/// Frames may be cut anywhere, and any number of them may come at once.
#[test]
fn however_bytes_are_cut_the_answers_are_the_same() {
    let engine = start(trusting_config(2));
    let addr = engine.client_addrs()[0];
    let asked = [
        AUTH,
        "00000010 0010 0001 00000002 00000002",
        "0000001b 0010 0001 0000000c 00000003 6c6976653a2f2f32303030",
        "00000019 0010 0001 0000000e 00000004 313030332c31303034",
        "00000012 0010 0001 000003ea 00000006 6869",
    ];
    let asked: Vec<u8> = asked.iter().flat_map(|it| hex(it)).collect();
    let sorted = |client: &mut Goim| {
        let mut answers: Vec<(i32, i32, Vec<u8>)> = (0..5)
            .map(|_| match client.next() {
                Told::Frame(it) => (it.seq, it.operation, it.body),
                Told::Closed(code) => panic!("closed: {code:?}"),
            })
            .collect();
        // What asks another shard is answered later.
        answers.sort();
        answers
    };
    let mut together = Goim::open(addr, Form::Tcp);
    together.wire.send_bytes(&asked);
    let expected = [
        (1, 8, b"".to_vec()),
        (2, 3, vec![0, 0, 0, 1]),
        (3, 13, b"live://2000".to_vec()),
        (4, 15, b"1003,1004".to_vec()),
        (6, 1002, b"".to_vec()),
    ];
    assert_eq!(sorted(&mut together), expected);
    drop(together);
    for cut in 1..asked.len() {
        eventually("the room is empty", || members(&engine, "live://1000") == 0);
        let mut client = Goim::open(addr, Form::Tcp);
        let (first, rest) = asked.split_at(cut);
        client.wire.send_bytes(first);
        client.wire.send_bytes(rest);
        assert_eq!(sorted(&mut client), expected, "cut at {cut}");
    }
    stop(engine);
}

#[test]
fn a_key_is_pushed_to_before_anything_else_is_said() {
    let engine = start(trusting_config(2));
    let mut wire = Wire::tcp(engine.client_addrs()[0]);
    // {"key":"k"}
    wire.send("0000001b 0010 0001 00000007 00000001 7b226b6579223a226b227d");
    wire.expect(AUTH_REPLY);
    eventually("its key is known", || {
        push_keys(&engine, &["k"], 0x7fff_ffff, "hi") == 1
    });
    // It accepts no operation, so none is wanted: nothing came.
    wire.send("00000010 0010 0001 00000002 00000002");
    wire.expect("00000014 0010 0001 00000003 00000002 00000000");
    wire.send("0000001a 0010 0001 0000000e 00000003 32313437343833363437");
    wire.expect("0000001a 0010 0001 0000000f 00000003 32313437343833363437");
    assert_eq!(push_keys(&engine, &["k"], 0x7fff_ffff, "hi"), 1);
    wire.expect("00000012 0010 0001 7fffffff 00000000 6869");
    stop(engine);
}
