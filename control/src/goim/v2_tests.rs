use fanfare_engine::api::ApiError;

use super::recorder::{KEY, Recorder, ask, send};

const JSON: &str = "application/json; charset=utf-8";
const SNIFFED: &str = "text/plain; charset=utf-8";
const DONE: &str = r#"{"code":0,"message":""}"#;

fn reply(status: u16, content_type: &str, body: &str) -> (u16, String, String) {
    (status, content_type.to_owned(), body.to_owned())
}

#[test]
fn every_push_says_done_and_reaches_whom_it_names() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    for (line, asked) in [
        (
            "POST /goim/push/keys?operation=1000&keys=a&keys=b",
            r#"keys ["a", "b"] op 1000 "{\"test\":1}""#,
        ),
        // A comma is a character of a key, and who is named twice is reached once.
        (
            "POST /goim/push/keys?keys=a,b&keys=a,b&keys=",
            r#"keys ["a,b"] op - "{\"test\":1}""#,
        ),
        (
            "POST /goim/push/mids?operation=1000&mids=123&mids=4&mids=%2B123&mids=0&mids=-7&mids=",
            r#"users ["123", "4"] op 1000 "{\"test\":1}""#,
        ),
        (
            "POST /goim/push/mids?operation=0&mids=9223372036854775807",
            r#"users ["9223372036854775807"] op - "{\"test\":1}""#,
        ),
        (
            "POST /goim/push/room?operation=1003&type=live&room=1000",
            r#"room "live://1000" [("op", "1003")] "{\"test\":1}""#,
        ),
        // Of a parameter that is there twice the first counts.
        (
            "POST /goim/push/room?operation=-3&operation=x&type=a%2Fb&room=%E4%BD%A0+1&room=2",
            r#"room "a/b://你 1" [("op", "-3")] "{\"test\":1}""#,
        ),
        (
            "POST /goim/push/all?operation=1000&speed=10",
            r#"all op 1000 "{\"test\":1}""#,
        ),
    ] {
        assert_eq!(
            ask(&goim, line, r#"{"test":1}"#),
            reply(200, JSON, DONE),
            "{line}"
        );
        assert_eq!(engine.log.take(), [asked], "{line}");
    }
}

#[test]
fn a_body_is_delivered_as_it_came() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    let line = "POST /goim/push/all?operation=1000";
    assert_eq!(
        ask(&goim, line, &b"\0\xff\r\n \""[..]),
        reply(200, JSON, DONE)
    );
    assert_eq!(ask(&goim, line, ""), reply(200, JSON, DONE));
    assert_eq!(
        engine.log.take(),
        [r#"all op 1000 "\x00\xff\r\n \"""#, r#"all op 1000 """#]
    );
}

#[test]
fn nobody_is_named_is_done_for_mids_and_an_error_for_keys() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    let silent = reply(200, JSON, r#"{"code":-400,"message":""}"#);
    assert_eq!(
        ask(&goim, "POST /goim/push/keys?operation=1000", "x"),
        silent
    );
    for line in [
        "POST /goim/push/keys?keys=",
        "POST /goim/push/mids?operation=1000",
        "POST /goim/push/mids?mids=0",
    ] {
        assert_eq!(ask(&goim, line, "x"), reply(200, JSON, DONE), "{line}");
    }
    assert!(engine.log.take().is_empty());
}

#[test]
fn parameters_that_are_missing_or_no_numbers_are_told_in_gins_words() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    let required = |field: &str| {
        format!("Key: '{field}' Error:Field validation for '{field}' failed on the 'required' tag")
    };
    let syntax = |text: &str| format!(r#"strconv.ParseInt: parsing \"{text}\": invalid syntax"#);
    let range = |text: &str| format!(r#"strconv.ParseInt: parsing \"{text}\": value out of range"#);
    for (line, message) in [
        ("POST /goim/push/keys?operation=x&keys=a", syntax("x")),
        (
            "POST /goim/push/keys?operation=2147483648&keys=a",
            range("2147483648"),
        ),
        ("POST /goim/push/mids?operation=1.5&mids=a", syntax("1.5")),
        (
            "POST /goim/push/mids?operation=1&mids=1&mids=2,3",
            syntax("2,3"),
        ),
        (
            "POST /goim/push/mids?mids=9223372036854775808",
            range("9223372036854775808"),
        ),
        (
            "POST /goim/push/room",
            [required("Op"), required("Type"), required("Room")].join(r"\n"),
        ),
        (
            "POST /goim/push/room?operation=0&type=live&room=1",
            required("Op"),
        ),
        (
            "POST /goim/push/room?operation=1&type=&room=%",
            [required("Type"), required("Room")].join(r"\n"),
        ),
        (
            "POST /goim/push/room?operation=%3Cb%3E",
            syntax(r"\u003cb\u003e"),
        ),
        ("POST /goim/push/all", required("Op")),
        ("POST /goim/push/all?speed=fast", syntax("fast")),
        (
            "POST /goim/push/all?operation=1&speed=99999999999",
            range("99999999999"),
        ),
        (
            "GET /goim/online/top",
            [required("Type"), required("Limit")].join(r"\n"),
        ),
        ("GET /goim/online/top?type=live&limit=0", required("Limit")),
        ("GET /goim/online/top?type=live&limit=many", syntax("many")),
        ("GET /goim/online/room?type=live", required("Rooms")),
        ("GET /goim/online/room?rooms=1", required("Type")),
    ] {
        let body = format!(r#"{{"code":-400,"message":"{message}"}}"#);
        assert_eq!(ask(&goim, line, "x"), reply(400, SNIFFED, &body), "{line}");
    }
    assert!(engine.log.take().is_empty(), "nothing was done");
}

#[test]
fn what_the_engine_does_not_take_is_never_called_done() {
    let busy =
        r#"{"code":-500,"message":"busy: a shard's inbox is full, nothing was done, try again"}"#;
    let stopping = r#"{"code":-500,"message":"stopping: nothing was done"}"#;
    let silent = r#"{"code":-400,"message":""}"#;
    for (error, told) in [(ApiError::Busy, busy), (ApiError::Stopping, stopping)] {
        let engine = Recorder {
            error: Some(error),
            ..Recorder::default()
        };
        let goim = engine.goim(|_| {});
        for (line, told) in [
            ("POST /goim/push/keys?keys=a", silent),
            ("POST /goim/push/mids?mids=1", told),
            ("POST /goim/push/room?operation=1&type=a&room=b", told),
            ("POST /goim/push/all?operation=1", told),
            ("GET /goim/online/top?type=a&limit=1", silent),
            ("GET /goim/online/room?type=a&rooms=1", silent),
        ] {
            assert_eq!(ask(&goim, line, "x"), reply(200, JSON, told), "{line}");
        }
    }
}

#[test]
fn an_engine_that_says_nothing_is_an_error_in_time() {
    let engine = Recorder {
        is_silent: true,
        ..Recorder::default()
    };
    let goim = engine.goim(|settings| {
        settings.api.answer_timeout = crate::config::Period(std::time::Duration::from_millis(10));
    });
    let told = r#"{"code":-500,"message":"no answer from a shard in time: it is not known whether it was done"}"#;
    assert_eq!(
        ask(&goim, "POST /goim/push/all?operation=1", "x"),
        reply(200, JSON, told)
    );
}

#[test]
fn rooms_are_listed_by_their_members() {
    let engine = Recorder {
        rooms: vec![
            ("live://1000", 5),
            ("live://30", 7),
            ("live://2000", 5),
            ("lively://1", 9),
            ("live", 11),
            ("live:chat", 11),
            ("other://1", 100),
            ("live://a<b&\"", 1),
        ],
        ..Recorder::default()
    };
    let goim = engine.goim(|_| {});
    let top = |query: &str| ask(&goim, &format!("GET /goim/online/top?{query}"), "");
    let told = r#"{"code":0,"message":"","data":[{"room_id":"1","count":9},{"room_id":"30","count":7},{"room_id":"1000","count":5},{"room_id":"2000","count":5},{"room_id":"a\u003cb\u0026\"","count":1}]}"#;
    assert_eq!(top("type=live&limit=10"), reply(200, JSON, told));
    assert_eq!(engine.log.take(), [r#"rooms Some("live*")"#]);
    let two =
        r#"{"code":0,"message":"","data":[{"room_id":"1","count":9},{"room_id":"30","count":7}]}"#;
    assert_eq!(top("type=live&limit=2"), reply(200, JSON, two));
    let none = r#"{"code":0,"message":"","data":[]}"#;
    assert_eq!(top("type=nothing&limit=2"), reply(200, JSON, none));
    // goim's process survives this by its recovery alone.
    let negative = r#"{"code":-400,"message":"limit is below 0"}"#;
    assert_eq!(top("type=live&limit=-1"), reply(400, JSON, negative));
}

#[test]
fn a_listing_keeps_the_bounds_of_the_api() {
    let engine = Recorder {
        rooms: vec![("live://1", 1), ("live://2", 2), ("live://3", 3)],
        ..Recorder::default()
    };
    let goim = engine.goim(|settings| settings.api.listing_entries_max = 2);
    let told =
        r#"{"code":0,"message":"","data":[{"room_id":"3","count":3},{"room_id":"2","count":2}]}"#;
    let line = "GET /goim/online/top?type=live&limit=100";
    assert_eq!(ask(&goim, line, ""), reply(200, JSON, told));
    let goim = engine.goim(|settings| settings.api.answer_bytes_max = 64);
    let told = r#"{"code":-400,"message":"the answer would be longer than api.answer_bytes_max (64): ask for less at once"}"#;
    assert_eq!(ask(&goim, line, ""), reply(413, JSON, told));
}

#[test]
fn counts_are_told_by_room_and_in_total() {
    let engine = Recorder {
        rooms: vec![("live://1000", 5), ("live://9", 7)],
        connections: vec![3, 4],
        ..Recorder::default()
    };
    let goim = engine.goim(|_| {});
    assert_eq!(
        ask(
            &goim,
            "GET /goim/online/room?type=live&rooms=9&rooms=1000&rooms=8&rooms=9",
            ""
        ),
        reply(
            200,
            JSON,
            r#"{"code":0,"message":"","data":{"1000":5,"8":0,"9":7}}"#
        )
    );
    assert_eq!(
        engine.log.take(),
        [r#"members ["live://9", "live://1000", "live://8", "live://9"]"#]
    );
    assert_eq!(
        ask(&goim, "GET /goim/online/room?type=live&rooms=9,1000", ""),
        reply(200, JSON, r#"{"code":0,"message":"","data":{"9,1000":0}}"#)
    );
    assert_eq!(
        ask(&goim, "GET /goim/online/total", ""),
        reply(
            200,
            JSON,
            r#"{"code":0,"message":"","data":{"conn_count":7,"ip_count":0}}"#
        )
    );
}

#[test]
fn clients_are_told_where_to_connect() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    let told = r#"{"code":0,"message":"","data":{"domain":"push-1","tcp_port":8000,"ws_port":8000,"heartbeat":240,"nodes":["push-1"],"backoff":{"max_delay":300,"base_delay":3,"factor":1.8,"jitter":0.3},"heartbeat_max":2}}"#;
    for line in [
        "GET /goim/nodes/weighted",
        "GET /goim/nodes/weighted?platform=web",
    ] {
        assert_eq!(ask(&goim, line, ""), reply(200, JSON, told), "{line}");
    }
    let goim = engine.goim(|settings| {
        let goim = &mut settings.goim;
        goim.domain = "conn.example.org".to_owned();
        goim.nodes = vec!["a.example.org".to_owned(), "b.example.org".to_owned()];
        goim.tcp_port = crate::config::Auto::Number(3101);
        goim.ws_port = crate::config::Auto::Number(0);
        goim.wss_port = crate::config::Auto::Number(443);
        goim.heartbeat_max = 3;
        goim.backoff_factor = 2.0;
        goim.backoff_jitter = 0.0;
    });
    let told = |nodes: &str| {
        let body = format!(
            r#"{{"code":0,"message":"","data":{{"domain":"conn.example.org","tcp_port":3101,"wss_port":443,"heartbeat":240,"nodes":[{nodes}],"backoff":{{"max_delay":300,"base_delay":3,"factor":2}},"heartbeat_max":3}}}}"#
        );
        reply(200, JSON, &body)
    };
    // Each client begins with another server.
    for nodes in [
        r#""a.example.org","b.example.org""#,
        r#""b.example.org","a.example.org""#,
        r#""a.example.org","b.example.org""#,
    ] {
        assert_eq!(ask(&goim, "GET /goim/nodes/weighted", ""), told(nodes));
    }
}

#[test]
fn this_process_is_the_one_instance() {
    let engine = Recorder {
        connections: vec![3, 4],
        ..Recorder::default()
    };
    let goim = engine.goim(|settings| settings.goim.nodes = vec!["a".to_owned(), "b".to_owned()]);
    let (status, _, body) = ask(&goim, "GET /goim/nodes/instances", "");
    let (before, rest) = body.split_once(r#""latest_timestamp":"#).expect("a time");
    let (time, after) = rest.split_once(',').expect("more");
    assert_eq!(status, 200);
    assert_eq!(
        before,
        r#"{"code":0,"message":"","data":[{"region":"","zone":"","env":"","appid":"goim.comet","hostname":"push-1","addrs":["tcp://push-1:8000"],"version":"","#
    );
    assert!(
        time.parse::<u64>()
            .is_ok_and(|time| time > 1_700_000_000_000_000_000),
        "{time}"
    );
    assert_eq!(
        after,
        r#""metadata":{"addrs":"a,b","conn_count":"7","ip_count":"0","offline":"false","weight":"10"}}]}"#
    );
}

#[test]
fn any_other_path_and_method_is_gins_page() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    for line in [
        "GET /goim/push/keys?keys=a",
        "PUT /goim/push/all?operation=1",
        "POST /goim/online/total",
        "DELETE /goim/nodes/weighted",
        "POST /goim/push",
        "POST /goim/push/keys/",
        "POST /goim/push/key",
        "POST /goim/Push/keys",
    ] {
        // Without a key, too: there is nothing to tell.
        for headers in [&[("X-API-Key", KEY)][..], &[]] {
            assert_eq!(
                send(&goim, line, headers, "x"),
                reply(404, "text/plain", "404 page not found"),
                "{line}"
            );
        }
    }
    assert!(engine.log.take().is_empty());
}

#[test]
fn a_key_is_needed_unless_the_operator_says_otherwise() {
    let engine = Recorder {
        connections: vec![1],
        ..Recorder::default()
    };
    let refused = reply(
        401,
        JSON,
        r#"{"code":-400,"message":"unauthorized: send a known key as X-API-Key, or as Authorization: apikey \u003ckey\u003e"}"#,
    );
    let push = "POST /goim/push/all?operation=1";
    let goim = engine.goim(|_| {});
    for line in [push, "GET /goim/online/total", "GET /goim/nodes/weighted"] {
        assert_eq!(send(&goim, line, &[], "x"), refused, "{line}");
    }
    assert_eq!(send(&goim, push, &[("X-API-Key", "wrong")], "x"), refused);
    assert!(engine.log.take().is_empty(), "nothing was done");
    let scheme = format!("apikey {KEY}");
    assert_eq!(send(&goim, push, &[("Authorization", &scheme)], "x").0, 200);
    let open = engine.goim(|settings| settings.goim.http_api_without_key = true);
    assert_eq!(send(&open, push, &[], "x"), reply(200, JSON, DONE));
    // A page in somebody's browser is not one of the operator's services.
    let origin = ("Origin", "https://example.org");
    assert_eq!(send(&open, push, &[origin], "x"), refused);
    assert_eq!(send(&open, push, &[origin, ("X-API-Key", KEY)], "x").0, 200);
}

#[test]
fn what_is_beyond_the_bounds_of_the_api_is_refused() {
    let engine = Recorder::default();
    let goim = engine.goim(|settings| {
        settings.api.payload_bytes_max = 4;
        settings.api.operations_per_request_max = 2;
    });
    assert_eq!(
        ask(&goim, "POST /goim/push/all?operation=1", "1234"),
        reply(200, JSON, DONE)
    );
    engine.log.take();
    let long =
        r#"{"code":-400,"message":"the message is 5 bytes, and api.payload_bytes_max allows 4"}"#;
    for line in [
        "POST /goim/push/keys?keys=a",
        "POST /goim/push/mids?mids=1",
        "POST /goim/push/room?operation=1&type=a&room=b",
        "POST /goim/push/all?operation=1",
    ] {
        assert_eq!(ask(&goim, line, "12345"), reply(413, JSON, long), "{line}");
    }
    let many =
        r#"{"code":-400,"message":"3 recipients, and api.operations_per_request_max allows 2"}"#;
    for line in [
        "POST /goim/push/keys?keys=a&keys=b&keys=c",
        "POST /goim/push/mids?mids=1&mids=2&mids=3",
    ] {
        assert_eq!(ask(&goim, line, "1"), reply(413, JSON, many), "{line}");
    }
    assert!(engine.log.take().is_empty());
}
