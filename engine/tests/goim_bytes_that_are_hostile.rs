//! Bytes that no client of goim sends end their connection, cost nobody else anything, and are answered with nothing that
//! was not sent.

mod support;

use std::time::Duration;

use fanfare_engine::{Engine, EngineConfig};
use support::{
    Form, Goim, Told, Wire, bytes_of, eventually, frame, hex, masked, push_all, push_keys,
    push_room, start, stop, total, trusting_config,
};

const BAD_REQUEST: u16 = 3501;
const SLOW: u16 = 3008;

/// A member that hears everything, whatever others send.
struct Bystander(Goim, u32);

impl Bystander {
    fn new(engine: &Engine) -> Self {
        let body = r#"{"key":"bystander","room_id":"test://1"}"#;
        let mut client = Goim::tcp(engine.client_addrs()[0], body);
        assert_eq!(client.heartbeat(), 1);
        Self(client, 0)
    }

    fn is_undisturbed(&mut self, engine: &Engine) {
        self.1 += 1;
        assert_eq!(push_room(engine, "test://1", 1, &self.1.to_string()), 1);
        assert_eq!(self.0.push(), (1, self.1.to_string()));
    }
}

/// What of goim's frames comes, until the end, upon bytes that are sent before auth or after it.
fn upon(engine: &Engine, form: Form, auth: Option<&str>, bytes: &[u8]) -> Vec<u8> {
    let addr = engine.client_addrs()[0];
    let mut wire = match auth {
        Some(auth) => Goim::connect(addr, form, auth).wire,
        None => Goim::open(addr, form).wire,
    };
    wire.send_bytes(bytes);
    wire.rest()
}

/// A close frame and nothing else.
fn is_close(bytes: &[u8], code: u16) -> bool {
    let [0x88, length, high, low, ..] = bytes else {
        return false;
    };
    usize::from(*length) == bytes.len() - 2 && u16::from_be_bytes([*high, *low]) == code
}

/// Headers of frames that cannot be, with bodies or without. Those of auth, and of what is echoed.
fn broken_headers() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for operation in [2, 4, 7, 12, 14, 16, 1000] {
        let with = |package: i32, header: i16, body: &[u8]| {
            let mut bytes = bytes_of(&frame(operation, 1, body));
            bytes[..4].copy_from_slice(&package.to_be_bytes());
            bytes[4..6].copy_from_slice(&header.to_be_bytes());
            bytes
        };
        for package in [i32::MIN, i32::MIN + 1, i32::MIN + 16, -4096, -16, -1] {
            all.push(with(package, 16, b""));
            all.push(with(package, 16, b"{}"));
        }
        all.extend((0..16).map(|package| with(package, 16, b"")));
        for package in [4113, 65_535, 65_536, 1 << 24, i32::MAX] {
            all.push(with(package, 16, b""));
        }
        for header in [i16::MIN, -16, 0, 4, 15, 17, 18, 4096, i16::MAX] {
            all.push(with(16, header, b""));
        }
    }
    all
}

#[test]
fn headers_that_cannot_be_end_the_connection() {
    let engine = start(trusting_config(2));
    let mut bystander = Bystander::new(&engine);
    let before = total(&engine, |it| it.protocol_errors);
    let all = broken_headers();
    for bytes in &all {
        for auth in [None, Some("{}")] {
            assert_eq!(
                upon(&engine, Form::Tcp, auth, bytes),
                b"",
                "{auth:?} {bytes:?}"
            );
            let told = upon(&engine, Form::WebSocket, auth, &masked(0x82, bytes));
            assert!(is_close(&told, BAD_REQUEST), "{auth:?} {bytes:?}: {told:?}");
        }
        // Those of version 1 are read by the same rules.
        assert_eq!(upon(&engine, Form::Tcp, Some("1"), bytes), b"", "{bytes:?}");
    }
    bystander.is_undisturbed(&engine);
    let errors = total(&engine, |it| it.protocol_errors) - before;
    assert_eq!(errors, 5 * all.len() as u64);
    stop(engine);
}

/// In the original it killed the process, before auth.
#[test]
fn a_package_of_minus_2_31_ends_one_connection() {
    let engine = start(trusting_config(1));
    let mut bystander = Bystander::new(&engine);
    let bytes = hex("80000000 0010 0001 00000007 00000001");
    assert_eq!(upon(&engine, Form::Tcp, None, &bytes), b"");
    assert_eq!(upon(&engine, Form::Tcp, Some("{}"), &bytes), b"");
    assert_eq!(upon(&engine, Form::Tcp, Some("1"), &bytes), b"");
    for auth in [None, Some("{}")] {
        let told = upon(&engine, Form::WebSocket, auth, &masked(0x82, &bytes));
        assert!(is_close(&told, BAD_REQUEST), "{told:?}");
    }
    bystander.is_undisturbed(&engine);
    stop(engine);
}

/// In the original, up to 4,096 bytes that lay behind the message in memory came back: others' frames and tokens.
#[test]
fn nothing_is_echoed_that_was_not_received() {
    let engine = start(trusting_config(1));
    let addr = engine.client_addrs()[0];
    let mut bystander = Bystander::new(&engine);
    // What could lie about: whole buffers of somebody's secret.
    let secret = "secret".repeat(600);
    for n in 0..20 {
        let body = format!(r#"{{"key":"{n}","platform":"{secret}"}}"#);
        drop(Goim::websocket(addr, &body));
    }
    for operation in [12, 14, 16, 4, 1000, 2, 7] {
        for package in [17, 18, 116, 1024, 4111, 4112] {
            for sent in [16, 17, 20] {
                if package == sent {
                    continue;
                }
                let mut bytes = bytes_of(&frame(operation, 1, b"abcd"));
                bytes.truncate(sent);
                let length = i32::try_from(package).expect("small");
                bytes[..4].copy_from_slice(&length.to_be_bytes());
                for auth in [None, Some("{}")] {
                    let told = upon(&engine, Form::WebSocket, auth, &masked(0x82, &bytes));
                    assert!(is_close(&told, BAD_REQUEST), "{operation} {package} {sent}");
                }
                if package > sent {
                    // On a stream the rest may come; what has come until the end is answered with nothing.
                    let mut client = Goim::tcp(addr, "{}");
                    client.wire.send_bytes(&bytes);
                    client.say_no_more();
                    assert_eq!(client.wire.rest(), b"", "{operation} {package} {sent}");
                }
            }
        }
    }
    // Messages that are no frame, or more than one.
    let one = bytes_of(&frame(1000, 1, b""));
    let two = [one.clone(), one.clone()].concat();
    for message in [
        &b""[..],
        b"\0",
        b"\0\0\0",
        b"\0\0\0\x10",
        &one[..15],
        &two,
        b"abc",
        b"[]",
    ] {
        let told = upon(&engine, Form::WebSocket, Some("{}"), &masked(0x82, message));
        assert!(is_close(&told, BAD_REQUEST), "{message:?}: {told:?}");
    }
    bystander.is_undisturbed(&engine);
    stop(engine);
}

#[test]
fn bodies_are_as_long_as_documented_and_no_longer() {
    let engine = start(trusting_config(2));
    let addr = engine.client_addrs()[0];
    let mut bystander = Bystander::new(&engine);
    for form in [Form::Tcp, Form::WebSocket] {
        // The longest, of all that is answered.
        let mut client = Goim::connect(addr, form, "{}");
        let longest = vec![b'x'; 4096];
        for _ in 0..20 {
            assert_eq!(client.ask(1000, &longest, 1000), b"");
            assert_eq!(client.ask(4, &longest, 4), b"");
            assert_eq!(client.ask(2, &longest, 3), [0; 4]);
            assert_eq!(client.ask(14, &longest, 15), longest);
            assert_eq!(client.ask(16, &longest, 17), longest);
            assert_eq!(client.ask(12, &longest, 13), longest);
        }
        for operation in [2, 4, 12, 14, 16, 1000] {
            let longer = client.written(&frame(operation, 1, &[b'x'; 4097]));
            let told = upon(&engine, form, Some("{}"), &longer);
            assert!(told.is_empty() || is_close(&told, BAD_REQUEST), "{told:?}");
        }
    }
    // An auth body, of whichever version.
    for form in [Form::Tcp, Form::WebSocket, Form::Json] {
        let auth = |bytes: usize| format!(r#"{{"platform":"{}"}}"#, "x".repeat(bytes - 15));
        drop(Goim::connect(addr, form, &auth(4096)));
        let mut longer = Goim::open(addr, form);
        let code = (form != Form::Tcp).then_some(BAD_REQUEST);
        assert_eq!(longer.try_auth(&auth(4097)), Told::Closed(code), "{form:?}");
    }
    // As soon as the length is there, nothing is waited for.
    for header in ["00001011", "00001011 0010", "7fffffff"] {
        assert_eq!(upon(&engine, Form::Tcp, Some("{}"), &hex(header)), b"");
    }
    // Version 1 has a quarter.
    let mut old = Goim::tcp(addr, "1");
    assert_eq!(old.ask(4, &[b'x'; 1024], 5), [b'x'; 1024]);
    assert_eq!(upon(&engine, Form::Tcp, Some("1"), &hex("00000411")), b"");
    let mut json = Goim::connect(addr, Form::Json, "1");
    let text = format!("\"{}\"", "x".repeat(1022));
    assert_eq!(json.ask(4, text.as_bytes(), 5), text.as_bytes());
    json.request(4, format!("\"{}\"", "x".repeat(1023)).as_bytes());
    assert_eq!(json.closed(), Some(BAD_REQUEST));
    bystander.is_undisturbed(&engine);
    stop(engine);
}

fn impatient() -> EngineConfig {
    let mut config = trusting_config(2);
    config.limits.message_timeout = Duration::from_secs(1);
    config.limits.ping_interval = Duration::from_millis(500);
    config.limits.pong_timeout = Duration::from_millis(400);
    config
}

#[test]
fn half_frames_that_never_end_do() {
    let engine = start(impatient());
    let addr = engine.client_addrs()[0];
    let whole = bytes_of(&frame(1000, 1, &[b'x'; 4096]));
    let mut stopped: Vec<Wire> = [1, 4, 6, 15, 16, 17, 4111]
        .map(|cut| {
            let mut client = Goim::tcp(addr, "{}");
            client.wire.send_bytes(&whole[..cut]);
            client.wire
        })
        .into();
    let mut message = Goim::websocket(addr, "{}");
    message.wire.send_bytes(&masked(0x82, &whole)[..100]);
    let mut fragment = Goim::websocket(addr, "{}");
    fragment.wire.send_bytes(&masked(0x02, &whole));
    let mut json = Goim::connect(addr, Form::Json, "{}");
    json.wire.send_bytes(&masked(0x81, br#"{"op":2}"#)[..10]);
    // A byte now and then does not buy time.
    let mut dribbling = Goim::tcp(addr, "{}");
    let mut patient = Goim::tcp(addr, "{}");
    let mut sent = 0;
    while total(&engine, |it| it.message_timeouts) < 11 {
        let _ = std::io::Write::write_all(&mut dribbling.wire.0, &whole[sent..=sent]);
        sent += 1;
        assert!(sent < whole.len(), "never closed");
        // Who says whole frames is no late one, however slowly they come.
        patient.request(1000, b"x");
        std::thread::sleep(Duration::from_millis(5));
    }
    for wire in &mut stopped {
        assert_eq!(wire.rest(), b"");
    }
    assert_eq!(dribbling.wire.rest(), b"");
    for client in [&mut message, &mut fragment, &mut json] {
        assert_eq!(client.closed(), Some(SLOW));
    }
    for seq in 2..=1 + i32::try_from(sent).expect("few") {
        assert_eq!(patient.next(), Told::Frame(frame(1000, seq, b"")));
    }
    assert_eq!(patient.heartbeat(), 0);
    stop(engine);
}

#[test]
fn frames_before_auth_are_refused() {
    let engine = start(trusting_config(2));
    let mut bystander = Bystander::new(&engine);
    for operation in [0, 2, 3, 4, 5, 8, 9, 12, 14, 16, 254, 1000, -7] {
        // The auth behind it is too late.
        let first = frame(operation, 1, b"test://1");
        let second = frame(7, 2, b"{}");
        let stream = [bytes_of(&first), bytes_of(&second)].concat();
        assert_eq!(upon(&engine, Form::Tcp, None, &stream), b"", "{operation}");
        let messages = [
            masked(0x82, &bytes_of(&first)),
            masked(0x82, &bytes_of(&second)),
        ];
        let told = upon(&engine, Form::WebSocket, None, &messages.concat());
        assert!(is_close(&told, BAD_REQUEST), "{operation}: {told:?}");
        let messages = [
            masked(0x81, format!(r#"{{"op":{operation}}}"#).as_bytes()),
            masked(0x81, br#"{"op":7,"body":{}}"#),
        ];
        let told = upon(&engine, Form::Json, None, &messages.concat());
        assert!(is_close(&told, BAD_REQUEST), "{operation}: {told:?}");
    }
    assert_eq!(total(&engine, |it| it.authenticated), 1);
    bystander.is_undisturbed(&engine);
    stop(engine);
}

#[test]
fn a_second_auth_ends_the_connection() {
    let engine = start(trusting_config(2));
    let addr = engine.client_addrs()[0];
    for (form, body) in [
        (Form::Tcp, r#"{"key":"k"}"#),
        (Form::WebSocket, r#"{"key":"k"}"#),
        (Form::Tcp, "1"),
        (Form::Json, "1"),
    ] {
        let mut client = Goim::connect(addr, form, body);
        // As somebody else.
        client.request(
            7,
            br#"{"key":"other","mid":9,"accepts":[7],"room_id":"live://1"}"#,
        );
        let code = (form != Form::Tcp).then_some(BAD_REQUEST);
        assert_eq!(client.closed(), code, "{form:?} {body}");
    }
    eventually("all have gone", || total(&engine, |it| it.connections) == 0);
    assert_eq!(push_keys(&engine, &["other"], 7, ""), 0);
    assert_eq!(total(&engine, |it| it.authenticated), 4);
    stop(engine);
}

#[test]
fn auth_bodies_that_are_wrong_end_the_connection() {
    let engine = start(trusting_config(2));
    let mut bystander = Bystander::new(&engine);
    let numbers = |count: i32| {
        (0..count)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    let wrong = [
        "{".to_owned(),
        r#"{"mid":"123"}"#.to_owned(),
        r#"{"mid":1.5}"#.to_owned(),
        r#"{"mid":9223372036854775808}"#.to_owned(),
        r#"{"mid":1,"mid":2}"#.to_owned(),
        r#"{"key":1}"#.to_owned(),
        r#"{"key":["k"]}"#.to_owned(),
        r#"{"accepts":["1000"]}"#.to_owned(),
        r#"{"accepts":[2147483648]}"#.to_owned(),
        r#"{"accepts":{}}"#.to_owned(),
        r#"{"room_id":1000}"#.to_owned(),
        "{\"room_id\":\"\u{0}\"}".to_owned(),
        r#"{"room_id":"a\u0000b"}"#.to_owned(),
        r#"{"token":true}"#.to_owned(),
        "{} {}".to_owned(),
        format!(r#"{{"accepts":[{}]}}"#, numbers(257)),
        format!(r#"{{"key":"{}"}}"#, "k".repeat(256)),
        format!(r#"{{"room_id":"{}"}}"#, "r".repeat(1025)),
        format!(r#"{{"x":{}}}"#, "[".repeat(2000)),
        "1,2,3".to_owned(),
        "9223372036854775808".to_owned(),
        "1,".to_owned(),
        ",".to_owned(),
        "-".to_owned(),
    ];
    for body in &wrong {
        let bytes = bytes_of(&frame(7, 1, body.as_bytes()));
        assert_eq!(upon(&engine, Form::Tcp, None, &bytes), b"", "{body}");
        let told = upon(&engine, Form::WebSocket, None, &masked(0x82, &bytes));
        assert!(is_close(&told, BAD_REQUEST), "{body}: {told:?}");
    }
    for body in [
        &b"\xff"[..],
        b"{\"key\":\"\xff\"}",
        b"{\"x\":\"\xc3\"}",
        b"1\xff",
    ] {
        let bytes = bytes_of(&frame(7, 1, body));
        assert_eq!(upon(&engine, Form::Tcp, None, &bytes), b"", "{body:?}");
    }
    // The room that has no name that could be one is asked for by somebody who may come.
    assert_eq!(total(&engine, |it| it.authenticated), 1 + 2);
    // What is not known is passed over, however deep it is.
    let addr = engine.client_addrs()[0];
    let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
    drop(Goim::websocket(addr, &format!(r#"{{"x":{}}}"#, deep(2000))));
    let mut json = Goim::open(addr, Form::Json);
    let text = format!(r#"{{"op":7,"x":{},"body":{{}}}}"#, deep(7000));
    json.wire.send_bytes(&masked(0x81, text.as_bytes()));
    assert!(matches!(json.next(), Told::Frame(frame) if frame.operation == 8));
    bystander.is_undisturbed(&engine);
    stop(engine);
}

#[test]
fn json_of_version_1_that_is_wrong_ends_the_connection() {
    let engine = start(trusting_config(2));
    let mut bystander = Bystander::new(&engine);
    let wrong = [
        "{".to_owned(),
        "{]".to_owned(),
        "[]".to_owned(),
        r#"[{"ver":1,"op":7,"seq":1,"body":{}}]"#.to_owned(),
        "null".to_owned(),
        "7".to_owned(),
        "\"text\"".to_owned(),
        "not JSON".to_owned(),
        "{} {}".to_owned(),
        r#"{"op":"7"}"#.to_owned(),
        r#"{"op":7.5}"#.to_owned(),
        r#"{"op":2147483648}"#.to_owned(),
        r#"{"ver":32768,"op":7}"#.to_owned(),
        r#"{"op":7,"seq":-2147483649}"#.to_owned(),
        r#"{"op":7,"op":7}"#.to_owned(),
        r#"{"op":7,"body":{},"body":{}}"#.to_owned(),
        r#"{"op":7,"body":}"#.to_owned(),
        r#"{"op":7,"body":{"a":1,}}"#.to_owned(),
        r#"{"op":7,"body":"a"#.to_owned(),
        format!(r#"{{"op":7,"body":{}}}"#, "[".repeat(900)),
        r#"{"op":9}"#.to_owned(),
        r#"{"op":1000}"#.to_owned(),
        r#"{"op":12,"body":"live://1"}"#.to_owned(),
        "{}".to_owned(),
    ];
    for text in &wrong {
        for auth in [None, Some("{}")] {
            let told = upon(&engine, Form::Json, auth, &masked(0x81, text.as_bytes()));
            assert!(is_close(&told, BAD_REQUEST), "{auth:?} {text}: {told:?}");
        }
    }
    // What is no text at all, WebSocket itself refuses.
    for auth in [None, Some("{}")] {
        let told = upon(&engine, Form::Json, auth, &masked(0x81, b"{\"op\":\xff}"));
        assert!(is_close(&told, 1007), "{told:?}");
        // And frames that are not masked, or of extensions that nobody agreed to.
        for (bytes, code) in [
            (&hex("8108 7b226f70223a327d"), 1002),
            (&hex("c180 00000000"), 1002),
        ] {
            let told = upon(&engine, Form::Json, auth, bytes);
            assert!(is_close(&told, code), "{told:?}");
        }
    }
    bystander.is_undisturbed(&engine);
    stop(engine);
}

#[test]
fn a_hundred_thousand_tiny_frames_at_once_are_each_answered() {
    const COUNT: i32 = 100_000;
    let mut config = trusting_config(2);
    // All answers may wait: how fast the test reads is not to matter.
    config.limits.direct_bytes_max = 16 << 20;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let mut bystander = Bystander::new(&engine);
    for (form, auth) in [
        (Form::Tcp, r#"{"room_id":"live://1"}"#),
        (Form::WebSocket, r#"{"room_id":"live://1"}"#),
        (Form::Tcp, "1"),
        (Form::Json, "1"),
    ] {
        let mut client = Goim::connect(addr, form, auth);
        let mut bytes = Vec::new();
        for seq in 1..=COUNT {
            bytes.extend(client.written(&frame(4, seq, b"")));
        }
        let mut wire = Wire::on(client.wire.0.try_clone().expect("a second handle"));
        std::thread::scope(|scope| {
            scope.spawn(move || wire.send_bytes(&bytes));
            let operation = if auth == "1" { 5 } else { 4 };
            for seq in 1..=COUNT {
                let Told::Frame(came) = client.next() else {
                    panic!("closed after {seq}")
                };
                assert_eq!((came.operation, came.seq), (operation, seq));
            }
        });
        bystander.is_undisturbed(&engine);
    }
    stop(engine);
}

/// Each asks another shard for the count, and is answered with it.
#[test]
fn a_flood_of_heartbeats_is_answered_whole() {
    const COUNT: i32 = 50_000;
    let mut config = trusting_config(3);
    config.limits.direct_bytes_max = 16 << 20;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let mut bystander = Bystander::new(&engine);
    for n in 0..3 {
        let body = format!(r#"{{"room_id":"live://{n}"}}"#);
        let mut client = Goim::tcp(addr, &body);
        let mut bytes = Vec::new();
        for seq in 1..=COUNT {
            bytes.extend(bytes_of(&frame(2, seq, b"")));
        }
        let mut wire = Wire::on(client.wire.0.try_clone().expect("a second handle"));
        std::thread::scope(|scope| {
            scope.spawn(move || wire.send_bytes(&bytes));
            for seq in 1..=COUNT {
                assert_eq!(client.next(), Told::Frame(frame(3, seq, &[0, 0, 0, 1])));
            }
        });
        bystander.is_undisturbed(&engine);
    }
    stop(engine);
}

#[test]
fn who_asks_and_never_reads_is_closed() {
    let engine = start(trusting_config(2));
    let addr = engine.client_addrs()[0];
    let mut bystander = Bystander::new(&engine);
    let echo = bytes_of(&frame(14, 1, &[b'x'; 4096]));
    let mut asking: Vec<Goim> = (0..4).map(|_| Goim::tcp(addr, "{}")).collect();
    let mut rounds = 0;
    while total(&engine, |it| it.slow_disconnected) < 4 {
        for client in &mut asking {
            // It may have been closed.
            client.wire.0.set_nonblocking(true).expect("a socket");
            let _ = std::io::Write::write(&mut client.wire.0, &echo);
        }
        rounds += 1;
        assert!(rounds < 1_000_000, "never closed");
        if rounds % 1000 == 0 {
            bystander.is_undisturbed(&engine);
        }
    }
    eventually("nothing waits", || {
        total(&engine, |it| it.unsent_bytes) == 0
    });
    bystander.is_undisturbed(&engine);
    assert_eq!(push_all(&engine, 7, ""), 0);
    stop(engine);
}

#[test]
fn random_bytes_end_their_connection_or_wait_for_more() {
    let engine = start(trusting_config(2));
    let addr = engine.client_addrs()[0];
    let mut bystander = Bystander::new(&engine);
    let mut random = fastrand::Rng::with_seed(2022);
    for n in 0..600 {
        let form = [Form::Tcp, Form::WebSocket][n % 2];
        let mut client = Goim::connect(addr, form, "{}");
        let mut bytes = bytes_of(&frame(random.i32(..20), 1, &[b'x'; 40]));
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        if form == Form::WebSocket {
            bytes = masked(0x82, &bytes);
        }
        client.wire.send_bytes(&bytes);
        client.say_no_more();
        // Whatever comes is an answer to it, or the end: no longer than what was sent.
        assert!(client.wire.rest().len() <= bytes.len() + 64);
    }
    eventually("all have gone", || total(&engine, |it| it.connections) == 1);
    bystander.is_undisturbed(&engine);
    stop(engine);
}
