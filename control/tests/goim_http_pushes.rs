//! goim's HTTP API against a running server: requests as services of goim send them, replies to the byte.

mod server;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;

use server::{Server, fanfare};

const CONFIG: &str = "
    [api]
    body_bytes_max = 2048
    payload_bytes_max = 512
    [rooms]
    history_size = 10
    history_ttl = '5m'
    [namespaces.live]
    history_size = 10
    history_ttl = '5m'
    [goim]
    domain = 'conn.example.org'
    tcp_port = 3101
    ws_port = 3102
    wss_port = 3103
";

const JSON: &str = "application/json; charset=utf-8";
const SNIFFED: &str = "text/plain; charset=utf-8";

/// Sends bytes as they are; the status, the type and the body of the reply.
fn raw(server: &Server, request: &str) -> (u16, String, String) {
    let mut stream = server.connect();
    // A server that refuses the head may close before it has read the body.
    let _ = stream.write_all(request.as_bytes());
    let mut reply = String::new();
    let _ = stream.read_to_string(&mut reply);
    let (head, body) = reply.split_once("\r\n\r\n").expect("a whole reply");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let content_type = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-type")
            .then(|| value.to_owned())
    });
    (
        status
            .and_then(|status| status.parse().ok())
            .expect("a status"),
        content_type.unwrap_or_default(),
        body.to_owned(),
    )
}

/// A request with the key, as `curl` sends it.
fn curl(server: &Server, line: &str, body: &str) -> (u16, String, String) {
    let (api, key, len) = (&server.api, &server.key, body.len());
    raw(
        server,
        &format!(
            "{line} HTTP/1.1\r\nHost: {api}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nX-API-Key: {key}\r\n\
             Connection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len}\r\n\r\n{body}"
        ),
    )
}

fn reply(status: u16, content_type: &str, body: &str) -> (u16, String, String) {
    (status, content_type.to_owned(), body.to_owned())
}

#[test]
fn a_push_to_a_room_is_a_publication_with_the_operation_as_a_tag() {
    let server = Server::start(CONFIG);
    let push = "POST /goim/push/room?operation=1003&type=live&room=1000";
    let done = reply(200, JSON, r#"{"code":0,"message":""}"#);
    assert_eq!(curl(&server, push, r#"{"test": 1.0}"#), done);
    assert_eq!(curl(&server, push, "no JSON"), done);
    let push = "POST /1/push/room?rid=1&ensure=1";
    assert_eq!(
        curl(&server, push, "7"),
        reply(200, SNIFFED, r#"{"ret":1}"#)
    );
    let history = |room: &str| {
        let asked = format!(r#"{{"channel":"{room}","limit":-1}}"#);
        server.call("history", &asked).body
    };
    let live = history("live://1000");
    assert!(
        live.starts_with(
            r#"{"result":{"publications":[{"offset":1,"data":{"test": 1.0},"tags":{"op":"1003"}},{"offset":2,"b64data":"bm8gSlNPTg==","tags":{"op":"1003"}}],"#
        ),
        "{live}"
    );
    let v1 = history("1");
    assert!(v1.contains(r#""tags":{"op":"5"}"#), "{v1}");
}

#[test]
fn clients_of_other_protocols_hear_it() {
    let server = Server::start("[namespaces.live]\n");
    let tail = server.tail(&["live://1000", "--count", "2"]);
    let push = "POST /goim/push/room?operation=1000&type=live&room=1000";
    assert_eq!(curl(&server, push, r#"{"test":1}"#).0, 200);
    assert_eq!(curl(&server, push, "text").0, 200);
    let (code, lines) = tail.finish();
    assert_eq!(code, Some(0));
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], r#"{"test":1}"#);
}

#[test]
fn pushes_outside_of_rooms_are_done_though_nobody_is_there() {
    let server = Server::start(CONFIG);
    let v2 = reply(200, JSON, r#"{"code":0,"message":""}"#);
    for line in [
        "POST /goim/push/mids?operation=1000&mids=123&mids=456",
        "POST /goim/push/all?operation=1000&speed=10",
    ] {
        assert_eq!(curl(&server, line, "x"), v2, "{line}");
    }
    let v1 = reply(200, SNIFFED, r#"{"ret":1}"#);
    for (line, body) in [
        ("POST /1/push?uid=0", r#"{"test":1}"#),
        ("POST /1/pushs", r#"{"u":[1,2,3,4,5],"m":{"test":1}}"#),
        ("POST /1/push/all", r#"{"test": 1}"#),
        ("POST /1/server/del?server=1", ""),
    ] {
        assert_eq!(curl(&server, line, body), v1, "{line}");
    }
}

#[test]
fn a_room_that_cannot_be_is_an_error() {
    let server = Server::start(CONFIG);
    assert_eq!(
        curl(
            &server,
            "POST /goim/push/room?operation=1&type=nowhere&room=1",
            "x"
        ),
        reply(
            200,
            JSON,
            r#"{"code":-500,"message":"unknown channel: its namespace is not configured"}"#
        )
    );
    let long = format!(
        "POST /goim/push/room?operation=1&type=live&room={}",
        "x".repeat(300)
    );
    let (status, _, body) = curl(&server, &long, "x");
    assert_eq!(status, 200);
    assert!(
        body.starts_with(r#"{"code":-500,"message":"bad request"#),
        "{body}"
    );
}

#[test]
fn members_are_counted() {
    let server = Server::start("[namespaces.live]\n");
    let _first = server.tail(&["live://1000"]);
    let _second = server.tail(&["live://1000"]);
    let _third = server.tail(&["live://2000"]);
    let _v1 = server.tail(&["7"]);
    for (line, content_type, told) in [
        (
            "GET /goim/online/top?type=live&limit=10",
            JSON,
            r#"{"code":0,"message":"","data":[{"room_id":"1000","count":2},{"room_id":"2000","count":1}]}"#,
        ),
        (
            "GET /goim/online/room?type=live&rooms=2000&rooms=1000&rooms=3000",
            JSON,
            r#"{"code":0,"message":"","data":{"1000":2,"2000":1,"3000":0}}"#,
        ),
        (
            "GET /goim/online/total",
            JSON,
            r#"{"code":0,"message":"","data":{"conn_count":4,"ip_count":0}}"#,
        ),
        (
            "GET /1/count?type=room",
            SNIFFED,
            r#"{"data":[{"RoomId":7,"Count":1}],"ret":1}"#,
        ),
        (
            "GET /1/count?type=server",
            SNIFFED,
            r#"{"data":[{"Server":1,"Count":4}],"ret":1}"#,
        ),
    ] {
        assert_eq!(
            curl(&server, line, ""),
            reply(200, content_type, told),
            "{line}"
        );
    }
}

#[test]
fn clients_are_told_what_is_configured() {
    let server = Server::start(CONFIG);
    let told = r#"{"code":0,"message":"","data":{"domain":"conn.example.org","tcp_port":3101,"ws_port":3102,"wss_port":3103,"heartbeat":240,"nodes":["conn.example.org"],"backoff":{"max_delay":300,"base_delay":3,"factor":1.8,"jitter":0.3},"heartbeat_max":2}}"#;
    assert_eq!(
        curl(&server, "GET /goim/nodes/weighted?platform=web", ""),
        reply(200, JSON, told)
    );
    let (status, _, instances) = curl(&server, "GET /goim/nodes/instances", "");
    assert_eq!(status, 200);
    assert!(
        instances.contains(r#""addrs":["tcp://conn.example.org:3101"]"#)
            && instances.contains(r#""metadata":{"addrs":"conn.example.org","conn_count":"0","#),
        "{instances}"
    );
}

#[test]
fn what_is_not_understood_is_answered_as_goim_does() {
    let server = Server::start(CONFIG);
    for (line, told) in [
        (
            "POST /goim/push/room?operation=0&type=live",
            reply(
                400,
                SNIFFED,
                r#"{"code":-400,"message":"Key: 'Op' Error:Field validation for 'Op' failed on the 'required' tag\nKey: 'Room' Error:Field validation for 'Room' failed on the 'required' tag"}"#,
            ),
        ),
        (
            "POST /goim/push/keys?operation=x",
            reply(
                400,
                SNIFFED,
                r#"{"code":-400,"message":"strconv.ParseInt: parsing \"x\": invalid syntax"}"#,
            ),
        ),
        (
            "GET /goim/push/all?operation=1",
            reply(404, "text/plain", "404 page not found"),
        ),
        (
            "POST /goim/nothing",
            reply(404, "text/plain", "404 page not found"),
        ),
        (
            "POST /1/push?uid=x",
            reply(200, SNIFFED, r#"{"ret":65535}"#),
        ),
        (
            "GET /1/push?uid=1",
            reply(405, SNIFFED, "Method Not Allowed\n"),
        ),
        (
            "POST /1/nothing",
            reply(404, SNIFFED, "404 page not found\n"),
        ),
    ] {
        assert_eq!(curl(&server, line, ""), told, "{line}");
    }
}

#[test]
fn a_body_beyond_the_bounds_is_refused_and_delivered_to_nobody() {
    let server = Server::start(CONFIG);
    let push = "POST /goim/push/room?operation=1&type=live&room=1";
    let long = r#"{"code":-400,"message":"the message is 513 bytes, and api.payload_bytes_max allows 512"}"#;
    let longer = r#"{"code":-400,"message":"the body is longer than api.body_bytes_max (2048)"}"#;
    assert_eq!(
        curl(&server, push, &"x".repeat(513)),
        reply(413, JSON, long)
    );
    assert_eq!(
        curl(&server, push, &"x".repeat(2049)),
        reply(413, JSON, longer)
    );
    let failed = reply(413, SNIFFED, r#"{"ret":65535}"#);
    assert_eq!(
        curl(&server, "POST /1/push/room?rid=1", &"x".repeat(2049)),
        failed
    );
    // One that only says how long it is, and one that does not.
    let (api, key) = (&server.api, &server.key);
    let head =
        format!("{push} HTTP/1.1\r\nHost: {api}\r\nX-API-Key: {key}\r\nConnection: close\r\n");
    let declared = format!("{head}Content-Length: 999999999999\r\n\r\nx");
    assert_eq!(raw(&server, &declared), reply(413, JSON, longer));
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(3)
    );
    assert_eq!(raw(&server, &chunked), reply(413, JSON, longer));
    for room in ["live://1", "1"] {
        let history = server.call("history", &format!(r#"{{"channel":"{room}","limit":-1}}"#));
        assert!(
            history.body.contains(r#""publications":[]"#),
            "{}",
            history.body
        );
    }
}

#[test]
fn a_head_that_is_too_long_ends_at_the_listener() {
    let server = Server::start(CONFIG);
    let keys = "&keys=0123456789".repeat(4_000);
    let mut stream = server.connect();
    let _ = write!(
        stream,
        "POST /goim/push/keys?operation=1{keys} HTTP/1.1\r\n\r\n"
    );
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    assert_eq!(server.call("info", "").status, 200);
}

#[test]
fn a_key_is_needed() {
    let server = Server::start(CONFIG);
    let (api, push) = (&server.api, "POST /goim/push/all?operation=1 HTTP/1.1");
    let request =
        format!("{push}\r\nHost: {api}\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
    let refused = r#"{"code":-400,"message":"unauthorized: send a known key as X-API-Key, or as Authorization: apikey \u003ckey\u003e"}"#;
    assert_eq!(raw(&server, &request), reply(401, JSON, refused));
    assert_eq!(server.http("POST", "/1/push/all", &[], "x").status, 401);
}

#[test]
fn without_a_key_only_when_configured_and_only_goims_paths() {
    let server = Server::start("[goim]\nhttp_api_without_key = true\n");
    let all = "/goim/push/all?operation=1";
    assert_eq!(
        server.http("POST", all, &[], "x").body,
        r#"{"code":0,"message":""}"#
    );
    assert_eq!(
        server.http("POST", "/1/push/all", &[], "x").body,
        r#"{"ret":1}"#
    );
    let page = [("Origin", "https://example.org")];
    assert_eq!(server.http("POST", all, &page, "x").status, 401);
    assert_eq!(server.http("POST", "/api/info", &[], "").status, 401);
}

#[test]
fn requests_are_counted_by_what_became_of_them() {
    let server = Server::start(CONFIG);
    curl(&server, "POST /goim/push/all?operation=1", "x");
    curl(
        &server,
        "POST /goim/push/room?operation=1&type=nowhere&room=1",
        "x",
    );
    curl(&server, "POST /1/push?uid=x", "x");
    curl(&server, "POST /goim/whatever", "x");
    let metrics = server.http("GET", "/metrics", &[], "").body;
    for line in [
        r#"fanfare_api_requests_total{method="goim_push_all",status="200"} 1"#,
        r#"fanfare_api_requests_total{method="goim_push_room",status="404"} 1"#,
        r#"fanfare_api_requests_total{method="goim_v1_push",status="400"} 1"#,
        r#"fanfare_api_operations_total{method="goim_unknown",status="404"} 1"#,
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}

#[test]
fn it_can_be_turned_off() {
    let server = Server::start("[goim]\nenabled = false\nhttp_api_without_key = true\n");
    for (verb, path) in [
        ("POST", "/goim/push/all?operation=1"),
        ("POST", "/1/push/all"),
    ] {
        let answer = server.http(verb, path, &[("X-API-Key", &server.key)], "x");
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.body.starts_with(r#"{"error":{"code":104,"#),
            "{}",
            answer.body
        );
    }
}

#[test]
fn what_is_left_open_is_said_at_every_start() {
    for (key, warning) in [
        (
            "http_api_without_key",
            "goim.http_api_without_key is set: whoever reaches",
        ),
        (
            "trust_clients",
            "goim.trust_clients is set: clients of goim may claim",
        ),
    ] {
        let dir = tempfile::TempDir::new().expect("a directory");
        let text = format!("[goim]\n{key} = true\n");
        std::fs::write(dir.path().join("fanfare.toml"), text).expect("a file");
        let mut child = fanfare(dir.path())
            .env("FANFARE__CLIENT__ADDRESSES", "127.0.0.1:0")
            .env("FANFARE__API__ADDRESS", "127.0.0.1:0")
            .env("FANFARE__ENGINE__SHARDS", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let warned = log
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains("WARN") && line.contains(warning));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        assert!(warned, "{key}");
    }
}
