use fanfare_engine::api::ApiError;

use super::recorder::{KEY, Recorder, ask, send};

const SNIFFED: &str = "text/plain; charset=utf-8";
const DONE: &str = r#"{"ret":1}"#;
const FAILED: &str = r#"{"ret":65535}"#;

fn reply(status: u16, body: &str) -> (u16, String, String) {
    (status, SNIFFED.to_owned(), body.to_owned())
}

#[test]
fn every_push_says_done_and_is_operation_5() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    for (line, body, asked) in [
        (
            "POST /1/push?uid=0",
            r#"{"test":1}"#,
            r#"users ["0"] op 5 "{\"test\":1}""#,
        ),
        (
            "POST /1/push?uid=-7&uid=8",
            "\n text",
            r#"users ["-7"] op 5 "\n text""#,
        ),
        (
            "POST /1/pushs",
            r#"{"u":[1,2,3,2],"m":{"test": 1.0}}"#,
            r#"users ["1", "2", "3"] op 5 "{\"test\": 1.0}""#,
        ),
        (
            "POST /1/pushs",
            r#"{"M": null, "other": [], "U":[4]}"#,
            r#"users ["4"] op 5 "null""#,
        ),
        ("POST /1/pushs", r#"{"u":[4]}"#, r#"users ["4"] op 5 """#),
        (
            "POST /1/push/room?rid=1",
            r#"{"test": 1}"#,
            r#"room "1" [("op", "5")] "{\"test\": 1}""#,
        ),
        (
            "POST /1/push/room?rid=12&ensure=1",
            "x",
            r#"room "12" [("op", "5")] "x""#,
        ),
        ("POST /1/push/all", "x", r#"all op 5 "x""#),
        ("POST /1/push/all?anything=1", "", r#"all op 5 """#),
    ] {
        assert_eq!(ask(&goim, line, body), reply(200, DONE), "{line} {body}");
        assert_eq!(engine.log.take(), [asked], "{line} {body}");
    }
}

#[test]
fn what_is_not_understood_is_an_internal_error() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    for (line, body) in [
        ("POST /1/push", "x"),
        ("POST /1/push?uid=", "x"),
        ("POST /1/push?uid=anna", "x"),
        ("POST /1/push?uid=1,2", "x"),
        ("POST /1/push?uid=9223372036854775808", "x"),
        ("POST /1/push/room", "x"),
        ("POST /1/push/room?rid=x", "x"),
        ("POST /1/push/room?rid=4294967297", "x"),
        ("POST /1/pushs", ""),
        ("POST /1/pushs", "[]"),
        ("POST /1/pushs", "[1,[1]]"),
        ("POST /1/pushs", r#"{"u":"1,2,3","m":1}"#),
        ("POST /1/pushs", r#"{"u":[1.5],"m":1}"#),
        ("POST /1/pushs", r#"{"u":[1],"m":{]}"#),
        ("POST /1/server/del", ""),
        ("POST /1/server/del?server=2147483648", ""),
    ] {
        assert_eq!(ask(&goim, line, body), reply(200, FAILED), "{line} {body}");
    }
    assert!(engine.log.take().is_empty(), "nothing was done");
}

#[test]
fn nobody_is_named_is_done() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    for body in [r#"{"m":1}"#, r#"{"u":[],"m":1}"#, r#"{"u":null}"#] {
        assert_eq!(
            ask(&goim, "POST /1/pushs", body),
            reply(200, DONE),
            "{body}"
        );
    }
    assert!(engine.log.take().is_empty());
}

#[test]
fn what_the_engine_does_not_take_is_never_called_done() {
    for error in [ApiError::Busy, ApiError::Stopping, ApiError::UnknownRoom] {
        let engine = Recorder {
            error: Some(error),
            ..Recorder::default()
        };
        let goim = engine.goim(|_| {});
        for (line, body) in [
            ("POST /1/push?uid=1", "x"),
            ("POST /1/pushs", r#"{"u":[1],"m":1}"#),
            ("POST /1/push/room?rid=1", "x"),
            ("POST /1/push/all", "x"),
            ("GET /1/count?type=room", ""),
        ] {
            assert_eq!(ask(&goim, line, body), reply(200, FAILED), "{line}");
        }
    }
}

#[test]
fn a_server_is_forgotten_without_anything_to_forget() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    assert_eq!(
        ask(&goim, "POST /1/server/del?server=1", ""),
        reply(200, DONE)
    );
    assert!(engine.log.take().is_empty());
}

#[test]
fn rooms_and_servers_are_counted() {
    let engine = Recorder {
        rooms: vec![
            ("12", 3),
            ("2", 5),
            ("live://1", 7),
            ("012", 1),
            ("2147483648", 1),
            ("x", 1),
        ],
        connections: vec![3, 4],
        ..Recorder::default()
    };
    let goim = engine.goim(|_| {});
    for (line, told) in [
        (
            "GET /1/count?type=room",
            r#"{"data":[{"RoomId":2,"Count":5},{"RoomId":12,"Count":3}],"ret":1}"#,
        ),
        (
            "GET /1/count?type=server",
            r#"{"data":[{"Server":1,"Count":7}],"ret":1}"#,
        ),
        ("GET /1/count?type=user", DONE),
        ("GET /1/count", DONE),
    ] {
        assert_eq!(ask(&goim, line, ""), reply(200, told), "{line}");
    }
    let none = Recorder::default().goim(|_| {});
    assert_eq!(
        ask(&none, "GET /1/count?type=room", ""),
        reply(200, r#"{"data":[],"ret":1}"#)
    );
    let bounded = engine.goim(|settings| settings.api.listing_entries_max = 1);
    assert_eq!(
        ask(&bounded, "GET /1/count?type=room", ""),
        reply(413, FAILED)
    );
}

#[test]
fn other_methods_and_paths_are_gos_pages() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    for headers in [&[("X-API-Key", KEY)][..], &[]] {
        for line in [
            "GET /1/push?uid=1",
            "PUT /1/pushs",
            "DELETE /1/push/room?rid=1",
            "HEAD /1/push/all",
            "GET /1/server/del?server=1",
            "POST /1/count?type=room",
        ] {
            assert_eq!(
                send(&goim, line, headers, "x"),
                reply(405, "Method Not Allowed\n"),
                "{line}"
            );
        }
        for line in ["POST /1/pushes", "POST /1/push/", "GET /1/nothing"] {
            assert_eq!(
                send(&goim, line, headers, "x"),
                reply(404, "404 page not found\n"),
                "{line}"
            );
        }
    }
    assert!(engine.log.take().is_empty());
}

#[test]
fn a_key_is_needed_unless_the_operator_says_otherwise() {
    let engine = Recorder::default();
    let goim = engine.goim(|_| {});
    for line in [
        "POST /1/push/all",
        "GET /1/count",
        "POST /1/server/del?server=1",
    ] {
        assert_eq!(send(&goim, line, &[], "x"), reply(401, FAILED), "{line}");
    }
    assert!(engine.log.take().is_empty(), "nothing was done");
    let open = engine.goim(|settings| settings.goim.http_api_without_key = true);
    assert_eq!(send(&open, "POST /1/push/all", &[], "x"), reply(200, DONE));
}

#[test]
fn what_is_beyond_the_bounds_of_the_api_is_refused() {
    let engine = Recorder::default();
    let goim = engine.goim(|settings| {
        settings.api.payload_bytes_max = 4;
        settings.api.operations_per_request_max = 2;
    });
    for (line, body) in [
        ("POST /1/push?uid=1", "12345"),
        ("POST /1/push/room?rid=1", "12345"),
        ("POST /1/push/all", "12345"),
        ("POST /1/pushs", r#"{"u":[1],"m":12345}"#),
        ("POST /1/pushs", r#"{"u":[1,2,3],"m":1}"#),
    ] {
        assert_eq!(ask(&goim, line, body), reply(413, FAILED), "{line} {body}");
    }
    assert!(engine.log.take().is_empty());
}
