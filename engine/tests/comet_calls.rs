//! The Comet calls of PHPWebIM: a page connects, publishes and hears one message a request, as with the original, and a
//! stranger does nothing of it.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanfare_engine::api::{Message, Payload};
use fanfare_engine::backend::{Asked, Backend, Question};
use fanfare_engine::{
    Access, BackendRights, Engine, EngineConfig, Limits, Namespaces, RoomOptions, SlowPolicy,
};
use serde_json::{Value, json};
use support::{
    Answer, Client, Http, Scripted, ask, brisk, escaped, eventually, open_config, open_rooms, push,
    request, start, start_scripted, stop, total,
};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n";

/// What the original answers when there was nothing to hear.
const TIMEOUT: &str = "{\"success\":0,\"text\":\"timeout\"}\n";

fn form(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    fields.join("&")
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    request("POST", path, FORM, body)
}

/// One call, on a connection of its own.
fn call(addr: SocketAddr, path: &str, body: &[u8]) -> Answer {
    Http::open(addr).ask(&post(path, body))
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    serde_json::from_str(answer.text()).expect("the answer is JSON")
}

/// The reason that a call was refused for, and its status.
fn refused(answer: &Answer) -> (u16, String) {
    let said = json_of(answer);
    assert_eq!(said["success"], 0, "{said}");
    (answer.status, said["text"].as_str().unwrap().to_owned())
}

fn connect(addr: SocketAddr, fields: &[(&str, &str)]) -> Answer {
    let fields = [&[("type", "connect")], fields].concat();
    call(addr, "/comet/connect", form(&fields).as_bytes())
}

/// A page, as the original's script behaves.
struct Page {
    addr: SocketAddr,
    session: String,
}

impl Page {
    fn connect(addr: SocketAddr, fields: &[(&str, &str)]) -> Self {
        let answer = connect(addr, fields);
        assert_eq!(answer.status, 200, "{answer:?}");
        let said = json_of(&answer);
        assert_eq!(said["success"], 1, "{said}");
        let session = said["session_id"].as_str().unwrap().to_owned();
        Self { addr, session }
    }

    fn join(addr: SocketAddr, room: &str) -> Self {
        Self::connect(addr, &[("room", room)])
    }

    fn publish(&self, message: &str) -> Answer {
        let fields = [
            ("type", "pub"),
            ("message", message),
            ("session_id", &self.session),
        ];
        call(self.addr, "/comet/pub", form(&fields).as_bytes())
    }

    fn sub(&self, seconds: &str) -> Vec<u8> {
        let fields = [
            ("time", seconds),
            ("session_id", &self.session),
            ("type", "sub"),
        ];
        post("/comet/sub", form(&fields).as_bytes())
    }

    /// The next thing that there is to hear.
    fn next(&self) -> Answer {
        let mut http = Http::open(self.addr);
        http.stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        http.ask(&self.sub("80"))
    }

    fn message(&self) -> String {
        let said = json_of(&self.next());
        assert_eq!(said["success"], 1, "{said}");
        said["data"].as_str().unwrap().to_owned()
    }

    /// Nothing waits for it now.
    fn has_heard_all(&self) -> bool {
        Http::open(self.addr).ask(&self.sub("0")).text() == TIMEOUT
    }
}

fn rooms(default: RoomOptions) -> Namespaces {
    Namespaces {
        default,
        named: Vec::new(),
    }
}

#[test]
fn pages_of_the_original_talk_to_each_other_and_to_others() {
    let engine = start(open_config(4));
    let addr = engine.client_addrs()[0];
    let mut native = Client::connect(addr, "");
    native.join("lobby");
    let (ann, bob) = (Page::join(addr, "lobby"), Page::join(addr, "lobby"));
    assert_ne!(ann.session, bob.session);
    for session in [&ann.session, &bob.session] {
        assert_eq!(session.len(), 48);
        assert!(session.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    let said =
        r#"{"cmd":"message","from":7,"channal":0,"data":"你好 \"x\"\n100%+1","type":"text"}"#;
    let answer = ann.publish(said);
    assert_eq!((answer.status, answer.text()), (200, "{\"success\":1}\n"));
    assert_eq!(native.publication().1, said.as_bytes());
    for page in [&ann, &bob] {
        let answer = page.next();
        let expected = json!({ "success": 1, "data": said });
        assert_eq!((answer.status, json_of(&answer)), (200, expected));
    }
    // Nor need it be JSON, and neither are the bytes that others publish.
    bob.publish("plain & simple");
    assert_eq!(native.publication().1, b"plain & simple");
    native.publish(0, "lobby", b"\xff\x00");
    for page in [&ann, &bob] {
        assert_eq!(page.message(), "plain & simple");
        assert_eq!(page.message(), "/wA=", "base64 of what is no text");
        assert!(page.has_heard_all());
    }
    stop(engine);
}

#[test]
fn one_message_a_request_in_the_order_of_the_room() {
    let engine = start(open_config(2));
    let addr = engine.client_addrs()[0];
    let pages: Vec<Page> = (0..4).map(|_| Page::join(addr, "news")).collect();
    let before = total(&engine, |it| it.frames_appended);
    let listeners: Vec<_> = pages
        .into_iter()
        .map(|page| {
            std::thread::spawn(move || {
                let mut http = Http::open(addr);
                let heard = (0..500).map(|_| {
                    let said = json_of(&http.ask(&page.sub("50")));
                    said["data"].as_str().map(str::to_owned)
                });
                let heard: Vec<_> = heard.collect();
                (page.has_heard_all(), heard)
            })
        })
        .collect();
    for number in 0..500 {
        let reached = push(&engine, "news", &number.to_string()).reached;
        assert_eq!((reached.long_poll, reached.total()), (4, 4));
    }
    let expected: Vec<_> = (0..500).map(|number| Some(number.to_string())).collect();
    for listener in listeners {
        assert_eq!(listener.join().unwrap(), (true, expected.clone()));
    }
    // Encoded once for all that are on a shard, of which there are two.
    let appended = total(&engine, |it| it.frames_appended) - before;
    assert!(appended <= 2 * 500, "{appended} frames for 4 members");
    stop(engine);
}

#[test]
fn rooms_of_a_session_take_turns() {
    let engine = start_scripted(open_config(2));
    let addr = engine.client_addrs()[0];
    let page = Page::connect(addr, &[("token", "ann room=a room=b"), ("room", "c")]);
    for room in ["a", "b", "c"] {
        for number in 0..3 {
            push(&engine, room, &format!("{room}{number}"));
        }
    }
    eventually("all are there", || {
        total(&engine, |it| it.frames_appended) == 9
    });
    let heard: Vec<String> = (0..9).map(|_| page.message()).collect();
    for round in heard.chunks(3) {
        let mut of: Vec<&str> = round.iter().map(|it| &it[..1]).collect();
        of.sort_unstable();
        assert_eq!(of, ["a", "b", "c"], "{heard:?}");
    }
    for room in ["a", "b", "c"] {
        let of: Vec<&String> = heard.iter().filter(|it| it.starts_with(room)).collect();
        let numbers = [0, 1, 2].map(|number| format!("{room}{number}"));
        assert_eq!(of, numbers.iter().collect::<Vec<_>>());
    }
    stop(engine);
}

#[test]
fn who_hears_nothing_is_told_so() {
    let engine = start(open_config(2));
    let addr = engine.client_addrs()[0];
    let page = Page::join(addr, "news");
    let answer = Http::open(addr).ask(&page.sub("0"));
    assert_eq!((answer.status, answer.text()), (200, TIMEOUT));
    // One request waits at a time: a second one sends the first away, however long that meant to wait.
    for seconds in ["", "80", "no number", "99999999999999999999"] {
        let requests = total(&engine, |it| it.http_requests);
        let (mut first, mut second) = (Http::open(addr), Http::open(addr));
        first.send(&page.sub(seconds));
        eventually("the first has come", || {
            total(&engine, |it| it.http_requests) == requests + 1
        });
        second.send(&page.sub("50"));
        assert_eq!(first.answer().text(), TIMEOUT);
        push(&engine, "news", seconds);
        assert_eq!(json_of(&second.answer())["data"], *seconds);
        assert!(page.has_heard_all());
    }
    stop(engine);
}

#[test]
fn what_a_request_does_not_live_to_hear_the_next_one_hears() {
    let engine = start(open_config(2));
    let addr = engine.client_addrs()[0];
    for number in 0..20 {
        let room = format!("news {number}");
        let page = Page::join(addr, &room);
        eventually("nobody asks", || total(&engine, |it| it.connections) == 0);
        let requests = total(&engine, |it| it.http_requests);
        let mut waiting = Http::open(addr);
        waiting.send(&page.sub("80"));
        eventually("it has come", || {
            total(&engine, |it| it.http_requests) == requests + 1
        });
        drop(waiting);
        eventually("it has gone", || total(&engine, |it| it.connections) == 0);
        // The session has not: the original takes the end of this connection for the end of the visit.
        push(&engine, &room, "1");
        push(&engine, &room, "2");
        assert_eq!([page.message(), page.message()], ["1", "2"]);
        assert!(page.has_heard_all());
    }
    stop(engine);
}

#[test]
fn who_does_not_know_the_session_is_turned_away() {
    let engine = start(open_config(2));
    let addr = engine.client_addrs()[0];
    let page = Page::join(addr, "news");
    let mut forged = page.session;
    let last = if forged.pop() == Some('0') { '1' } else { '0' };
    forged.push(last);
    // A session of the other calls is none of these.
    let polled = Http::open(addr).ask(&request(
        "POST",
        "/poll/connect",
        "",
        br#"{"id":1,"connect":{}}"#,
    ));
    let polled: Value = serde_json::from_str(polled.text()).unwrap();
    let polled = polled["connect"]["session"].as_str().unwrap();
    let forgeries = [&forged, "", "0", &"f".repeat(48), &"é".repeat(24), polled];
    for session in forgeries {
        let page = Page {
            addr,
            session: session.to_owned(),
        };
        for answer in [page.next(), page.publish("x")] {
            let expected = (403, "there is no such session".to_owned());
            assert_eq!(refused(&answer), expected, "{session}");
        }
    }
    assert_eq!(total(&engine, |it| it.publications), 0);
    stop(engine);
}

#[test]
fn the_other_calls_of_long_polling_do_not_serve_these_sessions() {
    let engine = start(open_config(2));
    let addr = engine.client_addrs()[0];
    let page = Page::join(addr, "news");
    push(&engine, "news", "1");
    let target = format!("/poll/receive?session={}&timeout=0", page.session);
    let answer = Http::open(addr).ask(&request("GET", &target, "", b""));
    assert_eq!(answer.status, 404);
    // Commands of Centrifuge are not taken for it, by whichever address they come.
    let node = {
        let connect = br#"{"id":1,"connect":{}}"#;
        let answer = Http::open(addr).ask(&request("POST", "/poll/connect", "", connect));
        let reply: Value = serde_json::from_str(answer.text()).unwrap();
        reply["connect"]["node"].as_str().unwrap().to_owned()
    };
    let command = json!({ "id": 2, "publish": { "channel": "news", "data": 2 } }).to_string();
    let body = json!({ "session": page.session, "node": node, "data": command }).to_string();
    for path in ["/poll/send", "/emulation"] {
        let errors = total(&engine, |it| it.client_errors);
        let answer = Http::open(addr).ask(&request("POST", path, "", body.as_bytes()));
        assert_eq!(answer.status, 204, "whether it is there is not said");
        eventually("it is refused", || {
            total(&engine, |it| it.client_errors) == errors + 1
        });
    }
    assert_eq!(page.message(), "1");
    assert!(page.has_heard_all());
    stop(engine);
}

#[test]
fn tokens_say_who_may_connect() {
    let engine = start_scripted(EngineConfig {
        allow_anonymous: false,
        namespaces: rooms(RoomOptions {
            publish: Access::Users,
            ..RoomOptions::default()
        }),
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    for (fields, reason) in [
        (&[][..], "the token is invalid"),
        (&[("token", "invalid")], "the token is invalid"),
        (&[("token", "expired")], "the token has expired"),
        (&[("token", "ann"), ("room", "news")], "permission denied"),
        (
            &[("token", "ann may=s@old*"), ("room", "news")],
            "permission denied",
        ),
        (
            &[("token", "ann may=s@new*"), ("room", "other:news")],
            "unknown channel",
        ),
        (
            &[("token", "ann may=s@new*"), ("room", "a\nb")],
            "bad request",
        ),
    ] {
        let answer = connect(addr, fields);
        assert_eq!(refused(&answer), (403, reason.to_owned()), "{fields:?}");
    }
    eventually("none of them has a session", || {
        total(&engine, |it| it.polls_open) == 0 && total(&engine, |it| it.members) == 0
    });
    assert_eq!(total(&engine, |it| it.auth_failures), 3);

    // What it may, it does: in the room that it asks for, or else in the first that its token names.
    let asks = Page::connect(addr, &[("token", "ann may=s@new*"), ("room", "news")]);
    let named = Page::connect(addr, &[("token", "bob room=news room=other")]);
    for page in [&asks, &named] {
        assert_eq!(page.publish("1").text(), "{\"success\":1}\n");
    }
    for page in [&asks, &named] {
        assert_eq!([page.message(), page.message()], ["1", "1"]);
        assert!(page.has_heard_all());
    }
    let nowhere = Page::connect(addr, &[("token", "bob")]);
    let expected = "the session is in no room: name one when it connects";
    assert_eq!(
        refused(&nowhere.publish("1")),
        (200, expected.to_owned()),
        "but it can be sent messages"
    );
    stop(engine);
}

#[test]
fn the_room_says_who_may_publish() {
    let with = |publish, backend| {
        rooms(RoomOptions {
            publish,
            backend,
            ..open_rooms()
        })
    };
    let asks = |subscribe, publish| BackendRights {
        subscribe,
        publish,
        sub_refresh: false,
    };
    for (namespaces, reason) in [
        (
            with(Access::Grant, BackendRights::default()),
            "permission denied",
        ),
        // There it is for the backend to say, which these calls do not ask.
        (with(Access::Everyone, asks(false, true)), "not available"),
    ] {
        let engine = start(EngineConfig {
            namespaces,
            ..open_config(2)
        });
        let page = Page::join(engine.client_addrs()[0], "news");
        assert_eq!(refused(&page.publish("1")), (200, reason.to_owned()));
        assert!(page.has_heard_all());
        assert_eq!(total(&engine, |it| it.publications), 0);
        stop(engine);
    }
    let engine = start(EngineConfig {
        namespaces: with(Access::Everyone, asks(true, false)),
        ..open_config(2)
    });
    let answer = connect(engine.client_addrs()[0], &[("room", "news")]);
    assert_eq!(refused(&answer), (403, "not available".to_owned()));
    stop(engine);
}

#[test]
fn whom_the_backend_is_asked_about_needs_a_token_here() {
    let backend = Some(Arc::new(Silent) as Arc<dyn Backend>);
    let engine = Engine::start_with(open_config(2), Arc::new(Scripted), backend).unwrap();
    let addr = engine.client_addrs()[0];
    let answer = connect(addr, &[("room", "news")]);
    assert_eq!(refused(&answer), (403, "the token is invalid".to_owned()));
    let page = Page::connect(addr, &[("token", "ann"), ("room", "news")]);
    assert!(page.has_heard_all());
    stop(engine);
}

/// Is asked who connects without a token, and nothing else.
#[derive(Debug)]
struct Silent;

impl Backend for Silent {
    fn asked(&self) -> Asked {
        Asked {
            connect: true,
            ..Asked::default()
        }
    }

    fn header_names(&self) -> &[Box<str>] {
        &[]
    }

    fn emulated_header_names(&self) -> &[Box<str>] {
        &[]
    }

    fn ask(&self, question: Question) {
        panic!("{question:?}");
    }
}

#[test]
fn pages_are_present_and_hear_nothing_of_who_else_is() {
    let engine = start_scripted(EngineConfig {
        namespaces: rooms(RoomOptions {
            presence: true,
            join_leave: true,
            ..open_rooms()
        }),
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    let ann = Page::connect(addr, &[("token", "ann"), ("room", "news")]);
    let bob = Page::connect(addr, &[("token", "bob"), ("room", "news")]);
    let present = ask(|reply| engine.handle().presence("news", reply)).unwrap();
    let mut users: Vec<_> = present.into_iter().map(|it| it.user).collect();
    users.sort();
    assert_eq!(users, ["ann", "bob"].map(Box::from));
    bob.publish("1");
    assert_eq!(ann.message(), "1", "and not that bob has come");
    assert!(ann.has_heard_all());
    stop(engine);
}

#[test]
fn forms_are_read_as_browsers_write_them_and_not_otherwise() {
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    let page = Page::join(addr, "news");
    let publish = |message: &[u8]| {
        let head = format!("type=pub&session_id={}&message=", page.session);
        call(addr, "/comet/pub", &[head.as_bytes(), message].concat())
    };
    for (written, read) in [
        ("a+b%2Bc%26d%3d", "a b+c&d="),
        ("100%", "100%"),
        ("%zz%4", "%zz%4"),
        ("a=b&message=c", "a=b"),
        ("%00%7f", "\0\u{7f}"),
        ("%E4%BD%A0", "你"),
        ("你", "你"),
    ] {
        assert_eq!(publish(written.as_bytes()).text(), "{\"success\":1}\n");
        assert_eq!(page.message(), read, "{written}");
    }
    let no_text = "a parameter is not UTF-8: encode its text as UTF-8 first";
    for message in [&b"%ff"[..], b"\xff", b"a%c3+", b"%ed%a0%80"] {
        assert_eq!(refused(&publish(message)), (400, no_text.to_owned()));
    }
    let missing = (400, "the message is missing".to_owned());
    assert_eq!(refused(&publish(b"")), missing);

    let session = format!("session_id={}", page.session);
    let other = (400, "this address is for another type".to_owned());
    for (path, kind) in [("connect", "pub"), ("pub", "sub"), ("sub", "connect")] {
        let body = format!("{session}&message=1&type={kind}");
        let answer = call(addr, &format!("/comet/{path}"), body.as_bytes());
        assert_eq!(refused(&answer), other);
    }
    for media_type in ["multipart/form-data; boundary=x", "application/json", ""] {
        let lines = format!("Content-Type: {media_type}\r\n");
        let request = request("POST", "/comet/sub", &lines, session.as_bytes());
        assert_eq!(refused(&Http::open(addr).ask(&request)).0, 415);
    }
    assert!(page.has_heard_all());
    stop(engine);
}

#[test]
fn requests_are_as_long_as_others_may_be() {
    let engine = start(EngineConfig {
        limits: Limits {
            message_bytes_max: 1000,
            ..brisk()
        },
        ..open_config(1)
    });
    let addr = engine.client_addrs()[0];
    let page = Page::join(addr, "news");
    let head = format!("session_id={}&message=", page.session);
    for (extra, status) in [(0, 200), (1, 413)] {
        let message = "x".repeat(1000 - head.len() + extra);
        let answer = call(addr, "/comet/pub", format!("{head}{message}").as_bytes());
        assert_eq!(answer.status, status);
    }
    assert_eq!(page.message().len(), 1000 - head.len());
    let wrong = Http::open(addr).ask(&request("GET", "/comet/sub", "", b""));
    assert_eq!((wrong.status, wrong.header("Allow")), (405, Some("POST")));
    stop(engine);
}

#[test]
fn sessions_are_so_many_and_end_without_requests() {
    let engine = start(EngineConfig {
        limits: Limits {
            polls_per_shard_max: 3,
            poll_timeout: Duration::from_secs(1),
            ..brisk()
        },
        ..open_config(1)
    });
    let addr = engine.client_addrs()[0];
    let pages: Vec<Page> = (0..3).map(|_| Page::join(addr, "news")).collect();
    let answer = connect(addr, &[]);
    assert_eq!(answer.header("Retry-After"), Some("5"));
    assert_eq!(refused(&answer).0, 503);
    eventually("they end", || total(&engine, |it| it.polls_timed_out) == 3);
    eventually("nothing is left of them", || {
        total(&engine, |it| it.polls_open) == 0 && total(&engine, |it| it.members) == 0
    });
    for page in &pages {
        assert_eq!(refused(&page.next()).0, 403);
    }
    // The place of one that has ended is another's, and its name is not.
    let page = Page::join(addr, "news");
    assert!(pages.iter().all(|it| it.session != page.session));
    assert!(page.has_heard_all());
    stop(engine);
}

#[test]
fn a_session_ends_with_its_token() {
    let engine = start_scripted(EngineConfig {
        limits: Limits {
            ping_interval: Duration::from_secs(1),
            pong_timeout: Duration::from_millis(500),
            ..brisk()
        },
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    // Longer ago than what is allowed for getting a new one.
    let page = Page::connect(addr, &[("token", "ann expires=-30"), ("room", "news")]);
    let ended = page.next();
    assert_eq!(refused(&ended), (200, "connection expired".to_owned()));
    assert_eq!(refused(&page.next()).0, 403);
    assert_eq!(refused(&page.publish("1")).0, 403);
    assert_eq!(total(&engine, |it| it.publications), 0);
    stop(engine);
}

fn small_lanes(slow_policy: SlowPolicy) -> Engine {
    start(EngineConfig {
        namespaces: rooms(RoomOptions {
            lane_bytes_max: 128 * 1024,
            slow_policy,
            ..open_rooms()
        }),
        ..open_config(1)
    })
}

#[test]
fn who_does_not_come_for_its_messages_is_told_to_go() {
    let engine = small_lanes(SlowPolicy::Disconnect);
    let addr = engine.client_addrs()[0];
    let page = Page::join(addr, "news");
    let text = "x".repeat(10_000);
    let mut pushed = 0;
    while total(&engine, |it| it.slow_disconnected) == 0 {
        push(&engine, "news", &text);
        pushed += 1;
        assert!(pushed < 20, "the queue is bounded");
    }
    let refused_to_publish = refused(&page.publish("1"));
    assert_eq!(
        refused_to_publish.1, "the session has ended: ask for a message to hear why",
        "the reason waits"
    );
    assert_eq!(refused(&page.next()), (200, "slow".to_owned()));
    assert_eq!(refused(&page.next()).0, 403);
    eventually("it is over", || total(&engine, |it| it.polls_open) == 0);
    stop(engine);
}

#[test]
fn or_it_is_told_that_it_lost_some() {
    let engine = small_lanes(SlowPolicy::Skip);
    let addr = engine.client_addrs()[0];
    let page = Page::join(addr, "news");
    for number in 0..40 {
        push(&engine, "news", &format!("{number} {}", "x".repeat(10_000)));
    }
    // A publication is acknowledged before the page's shard has it.
    eventually("all have come to its shard", || {
        total(&engine, |it| it.frames_encoded) == 40
    });
    // What is left is the end, without a hole.
    let (mut told, mut heard) = (0, Vec::<u32>::new());
    while heard.last() != Some(&39) {
        let answer = page.next();
        let said = json_of(&answer);
        if said["success"] == 0 {
            let lost = "messages were lost: too many waited";
            assert_eq!(refused(&answer), (200, lost.to_owned()));
            assert!(heard.is_empty(), "it is told first");
            told += 1;
            continue;
        }
        let (number, _) = said["data"].as_str().unwrap().split_once(' ').unwrap();
        heard.push(number.parse().unwrap());
    }
    assert!(told > 0);
    assert_eq!(total(&engine, |it| it.slow_skipped), told);
    assert_eq!(total(&engine, |it| it.slow_disconnected), 0);
    assert!(heard.len() < 14, "{heard:?}");
    let first = heard[0];
    assert_eq!(heard, (first..=39).collect::<Vec<_>>());
    assert!(page.has_heard_all());
    stop(engine);
}

#[test]
fn messages_outside_rooms_are_heard_and_bounded_too() {
    let engine = start_scripted(EngineConfig {
        limits: Limits {
            direct_bytes_max: 10_000,
            ..brisk()
        },
        ..open_config(1)
    });
    let addr = engine.client_addrs()[0];
    let page = Page::connect(addr, &[("token", "ann"), ("room", "news")]);
    let message = |text: &str| {
        let bytes = text.to_owned().into();
        let is_json = false;
        Message::new(Payload { bytes, is_json }, None)
    };
    let tell = |text: &str| {
        let users = vec!["ann".into()];
        ask(|reply| engine.handle().push_users(users, message(text), reply)).unwrap()
    };
    for number in ["1", "2"] {
        assert_eq!(tell(number), 1);
    }
    ask(|reply| engine.handle().push_all(message("3"), reply)).unwrap();
    assert_eq!(
        [page.message(), page.message(), page.message()],
        ["1", "2", "3"]
    );
    let text = "x".repeat(1000);
    for _ in 0..20 {
        tell(&text);
    }
    eventually("it is too slow", || {
        total(&engine, |it| it.slow_disconnected) == 1
    });
    // What it was told by name is not lost; the last words come last.
    let mut messages = 0;
    let last = loop {
        let said = json_of(&page.next());
        if said["success"] == 0 {
            break said;
        }
        assert_eq!(said["data"], *text);
        messages += 1;
    };
    assert!(messages >= 9, "{messages}");
    assert_eq!(last["text"], "slow");
    assert_eq!(refused(&page.next()).0, 403);
    assert_eq!(total(&engine, |it| it.unsent_bytes), 0);
    stop(engine);
}

#[test]
fn pages_of_other_origins_ask_as_the_configuration_says() {
    const FRIEND: &str = "https://friend.test";
    let engine = start(EngineConfig {
        allowed_origins: vec![FRIEND.into()],
        ..open_config(1)
    });
    let addr = engine.client_addrs()[0];
    let from = |method: &str, path: &str, origin: &str, body: &[u8]| {
        let lines = format!("{FORM}Origin: {origin}\r\n");
        Http::open(addr).ask(&request(method, path, &lines, body))
    };
    let asking = total(&engine, |it| it.messages_received);
    for path in ["/comet/connect", "/comet/pub", "/comet/sub"] {
        let answer = from("OPTIONS", path, FRIEND, b"");
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(FRIEND));
        assert_eq!(answer.header("Access-Control-Allow-Methods"), Some("POST"));
        for method in ["OPTIONS", "POST"] {
            let answer = from(method, path, "https://evil.test", b"");
            assert_eq!(answer.status, 403);
            assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
        }
    }
    assert_eq!(total(&engine, |it| it.messages_received), asking);
    assert_eq!(total(&engine, |it| it.polls_open), 0);
    let answer = from("POST", "/comet/connect", FRIEND, b"type=connect&room=news");
    let session = json_of(&answer)["session_id"].as_str().unwrap().to_owned();
    // Whatever the answer is, the page sees it.
    push(&engine, "news", "1");
    let body = format!("session_id={session}&time=0");
    for (session, status) in [(&*body, 200), (&*body, 200), ("session_id=1", 403)] {
        let answer = from("POST", "/comet/sub", FRIEND, session.as_bytes());
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(FRIEND));
    }
    stop(engine);
}

#[test]
fn the_server_tells_it_that_it_stops() {
    let engine = start(open_config(2));
    let addr = engine.client_addrs()[0];
    let page = Page::join(addr, "news");
    let requests = total(&engine, |it| it.http_requests);
    let mut waiting = Http::open(addr);
    waiting.send(&page.sub("80"));
    eventually("it has come", || {
        total(&engine, |it| it.http_requests) == requests + 1
    });
    engine.handle().begin_drain(Duration::ZERO);
    assert_eq!(refused(&waiting.answer()), (200, "shutdown".to_owned()));
    assert_eq!(engine.wait(Duration::from_secs(20)), Ok(()));
}
