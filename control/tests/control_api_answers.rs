//! The control API over HTTP.

mod server;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use server::Server;

const CONFIG: &str = "
    [api]
    body_bytes_max = 2048
    payload_bytes_max = 512
    listing_entries_max = 2
    [rooms]
    history_size = 10
    history_ttl = '5m'
    presence = true
    [namespaces.plain]
";

#[test]
fn a_key_is_needed_for_the_api_alone() {
    let server = Server::start(CONFIG);
    let info = |headers: &[(&str, &str)]| server.http("POST", "/api/info", headers, "");
    let answer = info(&[]);
    assert_eq!(answer.status, 401);
    assert!(
        answer.body.starts_with(r#"{"error":{"code":101,"#),
        "{}",
        answer.body
    );
    assert_eq!(info(&[("X-API-Key", "wrong")]).status, 401);
    assert_eq!(info(&[("X-API-Key", "")]).status, 401);
    assert_eq!(
        info(&[("Authorization", &format!("Bearer {}", server.key))]).status,
        401
    );
    // Not even the mode of errors is open to strangers.
    assert_eq!(info(&[("X-Fanfare-Error-Mode", "200")]).status, 401);
    assert_eq!(info(&[("X-API-Key", &server.key)]).status, 200);
    assert_eq!(
        info(&[("Authorization", &format!("apikey {}", server.key))]).status,
        200
    );
    for path in ["/metrics", "/live", "/ready", "/version"] {
        assert_eq!(server.http("GET", path, &[], "").status, 200, "{path}");
    }
}

#[test]
fn every_configured_key_is_accepted() {
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let server = Server::start(&format!("[api]\nkeys = [{a:?}, {b:?}]\n"));
    for key in [&a, &b] {
        assert_eq!(
            server
                .http("POST", "/api/info", &[("X-API-Key", key)], "")
                .status,
            200
        );
    }
}

#[test]
fn errors_are_statuses_unless_asked_otherwise() {
    let server = Server::start(CONFIG);
    let publish = |mode: &[(&str, &str)], body: &str| {
        let mut headers = vec![("X-API-Key", server.key.as_str())];
        headers.extend_from_slice(mode);
        server.http("POST", "/api/publish", &headers, body)
    };
    let unknown = r#"{"channel":"nowhere:1","data":1}"#;
    let answer = publish(&[], unknown);
    assert_eq!(answer.status, 404);
    assert!(
        answer.body.starts_with(r#"{"error":{"code":102,"#),
        "{}",
        answer.body
    );
    assert!(
        answer.head.contains("content-type: application/json"),
        "{}",
        answer.head
    );
    for header in ["X-Fanfare-Error-Mode", "X-Centrifugo-Error-Mode"] {
        let answer = publish(&[(header, "200")], unknown);
        assert_eq!(answer.status, 200);
        assert!(
            answer.body.starts_with(r#"{"error":{"code":102,"#),
            "{}",
            answer.body
        );
        assert_eq!(publish(&[(header, "transport")], unknown).status, 404);
        assert_eq!(publish(&[(header, "maybe")], unknown).status, 400);
    }
    assert_eq!(publish(&[], "{").status, 400);
    assert_eq!(publish(&[], r#"{"channel":"a"}"#).status, 400);
    assert_eq!(server.call("nonsense", "{}").status, 404);
    for (verb, path, status) in [("GET", "/api/info", 405), ("GET", "/", 404)] {
        let answer = server.http(verb, path, &[("X-API-Key", &server.key)], "");
        assert_eq!(answer.status, status, "{path}");
        assert!(
            answer.body.starts_with(r#"{"error":{"code":104,"#),
            "{}",
            answer.body
        );
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let server = Server::start(CONFIG);
    let publish = |bytes: usize| {
        let data = "x".repeat(bytes);
        server.call("publish", &format!(r#"{{"channel":"a","data":"{data}"}}"#))
    };
    assert_eq!(publish(510).status, 200);
    let answer = publish(511);
    assert_eq!(answer.status, 413);
    assert!(
        answer.body.contains(r#""code":106"#) && answer.body.contains("api.payload_bytes_max"),
        "{}",
        answer.body
    );
    let answer = publish(3_000);
    assert_eq!(answer.status, 413);
    assert!(
        answer.body.contains("api.body_bytes_max"),
        "{}",
        answer.body
    );
    let long_name = "x".repeat(256);
    assert_eq!(
        server
            .call(
                "publish",
                &format!(r#"{{"channel":"{long_name}","data":1}}"#)
            )
            .status,
        400
    );
}

#[test]
fn a_publication_is_numbered_and_kept() {
    let server = Server::start(CONFIG);
    let first = server.call(
        "publish",
        r#"{"channel":"a","data":{"n":1.0},"tags":{"k":"v"}}"#,
    );
    assert_eq!(first.status, 200);
    assert!(
        first.body.starts_with(r#"{"result":{"offset":1,"epoch":""#),
        "{}",
        first.body
    );
    assert!(
        first.body.contains(r#""members":{"total":0,"#),
        "{}",
        first.body
    );
    server.call("publish", r#"{"channel":"a","b64data":"AP8="}"#);
    server.call("publish", r#"{"channel":"a","data":3,"skip_history":true}"#);
    let history = server.call("history", r#"{"channel":"a","limit":-1}"#).body;
    assert!(
        history.contains(r#"{"offset":1,"data":{"n":1.0},"tags":{"k":"v"}}"#),
        "{history}"
    );
    assert!(
        history.contains(r#"{"offset":2,"b64data":"AP8="}"#),
        "{history}"
    );
    assert_eq!(
        server.call("history_remove", r#"{"channel":"a"}"#).body,
        r#"{"result":{}}"#
    );
    let history = server.call("history", r#"{"channel":"a","limit":-1}"#).body;
    assert!(history.contains(r#""publications":[]"#), "{history}");
}

#[test]
fn an_epoch_of_another_server_is_unrecoverable() {
    let server = Server::start(CONFIG);
    server.call("publish", r#"{"channel":"a","data":1}"#);
    let answer = server.call(
        "history",
        r#"{"channel":"a","limit":5,"since":{"offset":0,"epoch":"xyz"}}"#,
    );
    assert_eq!(answer.status, 416);
    assert!(answer.body.contains(r#""code":112"#), "{}", answer.body);
}

#[test]
fn what_a_namespace_does_not_keep_is_not_available() {
    let server = Server::start(CONFIG);
    for method in ["history", "presence", "presence_stats"] {
        let answer = server.call(method, r#"{"channel":"plain:1"}"#);
        assert_eq!(answer.status, 400, "{method}");
        assert!(
            answer.body.contains(r#""code":108"#),
            "{method}: {}",
            answer.body
        );
    }
}

#[test]
fn an_idempotency_key_comes_in_the_body_or_the_head() {
    let server = Server::start(CONFIG);
    let body = r#"{"channel":"a","data":1,"idempotency_key":"k"}"#;
    let first = server.call("publish", body).body;
    let second = server.call("publish", body).body;
    assert!(
        first.contains(r#""duplicate":false"#) && second.contains(r#""duplicate":true"#),
        "{second}"
    );
    let headers = [("X-API-Key", server.key.as_str()), ("Idempotency-Key", "k")];
    let third = server
        .http(
            "POST",
            "/api/publish",
            &headers,
            r#"{"channel":"a","data":1}"#,
        )
        .body;
    assert!(third.contains(r#""duplicate":true"#), "{third}");
}

#[test]
fn a_broadcast_fails_room_by_room() {
    let server = Server::start(CONFIG);
    let answer = server.call(
        "broadcast",
        r#"{"channels":["a","nowhere:1","b"],"data":1}"#,
    );
    assert_eq!(answer.status, 200);
    let kinds: Vec<&str> = answer
        .body
        .split(r#"{""#)
        .filter_map(|part| {
            ["result", "error"]
                .into_iter()
                .find(|kind| part.starts_with(kind))
        })
        .collect();
    assert_eq!(
        kinds,
        ["result", "result", "error", "result"],
        "{}",
        answer.body
    );
}

#[test]
fn a_batch_answers_in_order() {
    let server = Server::start(CONFIG);
    for parallel in [false, true] {
        let body = format!(
            r#"{{"commands":[{{"publish":{{"channel":"r{parallel}","data":1}}}},{{"nonsense":{{}}}},
                {{"publish":{{"channel":"r{parallel}","data":2}}}},{{"presence_stats":{{"channel":"a"}}}}],
                "parallel":{parallel}}}"#
        );
        let answer = server.call("batch", &body).body;
        let order: Vec<usize> = [
            r#"{"publish":{"offset":1,"#,
            r#"{"error":{"code":104,"#,
            r#"{"publish":{"offset":2,"#,
            r#"{"presence_stats":{"#,
        ]
        .iter()
        .map(|part| {
            answer
                .find(part)
                .unwrap_or_else(|| panic!("no {part} in {answer}"))
        })
        .collect();
        assert!(order.is_sorted(), "{answer}");
    }
}

#[test]
fn connections_can_be_found_moved_pushed_to_and_ended() {
    let server = Server::start(CONFIG);
    let mut tail = server.tail(&["demo"]);
    let presence = server.call("presence", r#"{"channel":"demo"}"#).body;
    assert!(presence.contains(r#""user":"fanfare-tail""#), "{presence}");
    let client = presence
        .split(r#""client":""#)
        .nth(1)
        .and_then(|rest| rest.get(..32))
        .expect("a client");
    assert_eq!(
        server.call("presence_stats", r#"{"channel":"demo"}"#).body,
        r#"{"result":{"num_clients":1,"num_users":1}}"#
    );
    assert_eq!(
        server.call("channels", "").body,
        r#"{"result":{"channels":{"demo":{"num_clients":1}}}}"#
    );
    assert_eq!(
        server.call("channels", r#"{"pattern":"x*"}"#).body,
        r#"{"result":{"channels":{}}}"#
    );
    let info = server.call("info", "").body;
    assert!(info.contains(r#""num_clients":1,"num_users":1"#), "{info}");

    let connections = |method: &str, body: &str| server.call(method, body).body;
    let (one, none) = (
        r#"{"result":{"connections":1}}"#,
        r#"{"result":{"connections":0}}"#,
    );
    assert_eq!(
        connections("push_user", r#"{"user":"fanfare-tail","data":1}"#),
        one
    );
    assert_eq!(
        connections("push_user", r#"{"user":"nobody","data":1}"#),
        none
    );
    assert_eq!(
        connections(
            "push_connection",
            &format!(r#"{{"client":"{client}","data":1}}"#)
        ),
        one
    );
    assert_eq!(
        connections(
            "push_connection",
            &format!(r#"{{"client":"{}","data":1}}"#, "f".repeat(32))
        ),
        none
    );
    assert_eq!(connections("push_all", r#"{"data":1}"#), one);
    assert_eq!(
        connections("subscribe", r#"{"user":"fanfare-tail","channel":"news"}"#),
        one
    );
    assert_eq!(
        connections("unsubscribe", r#"{"user":"fanfare-tail","channel":"news"}"#),
        one
    );
    let spared = format!(r#"{{"user":"fanfare-tail","whitelist":["{client}"]}}"#);
    assert_eq!(connections("disconnect", &spared), none);
    let body = r#"{"user":"fanfare-tail","disconnect":{"code":4000,"reason":"enough"}}"#;
    assert_eq!(connections("disconnect", body), one);
    assert_eq!(tail.said(), "fanfare: disconnected: enough (4000)");
    let (code, lines) = tail.finish();
    assert_eq!((code, lines.len()), (Some(1), 3));
}

#[test]
fn a_long_listing_is_refused_not_cut() {
    let server = Server::start(CONFIG);
    let _tails = [
        server.tail(&["a"]),
        server.tail(&["a"]),
        server.tail(&["a"]),
    ];
    let answer = server.call("presence", r#"{"channel":"a"}"#);
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("3 entries"), "{}", answer.body);
}

#[test]
fn metrics_are_told_by_shard() {
    let server = Server::start(CONFIG);
    server.call("publish", r#"{"channel":"a","data":1}"#);
    let mut text = String::new();
    server::eventually("the count of a publication", || {
        text = server.http("GET", "/metrics", &[], "").body;
        let counted = text
            .lines()
            .filter_map(|line| line.strip_prefix("fanfare_publications_total{shard="));
        counted
            .filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok())
            .sum::<u64>()
            == 1
    });
    for line in [
        r#"fanfare_connections{shard="0"} 0"#,
        r#"fanfare_connections{shard="1"} 0"#,
        r#"fanfare_api_requests_total{method="publish",status="200"} 1"#,
        "# TYPE process_resident_memory_bytes gauge",
        "# EOF",
    ] {
        assert!(
            text.lines().any(|known| known == line),
            "no {line} in:\n{text}"
        );
    }
    assert!(text.contains(&format!(
        "fanfare_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    )));
}

#[test]
fn a_batch_ends_where_its_answer_would_be_too_long() {
    let server = Server::start(
        "[api]\npayload_bytes_max = 262144\nbody_bytes_max = 1048576\nanswer_bytes_max = 1048576\n\
         [rooms]\nhistory_size = 10\nhistory_ttl = '5m'\n",
    );
    let data = "x".repeat(250_000);
    for _ in 0..3 {
        let body = format!(r#"{{"channel":"a","data":"{data}"}}"#);
        assert_eq!(server.call("publish", &body).status, 200);
    }
    for parallel in [false, true] {
        let history = r#"{"history":{"channel":"a","limit":-1}}"#;
        let publish = r#"{"publish":{"channel":"b","data":1}}"#;
        let commands = [history, history, publish].join(",");
        let body = format!(r#"{{"commands":[{commands}],"parallel":{parallel}}}"#);
        let answer = server.call("batch", &body).body;
        assert!(answer.len() < 1_050_000, "{} bytes", answer.len());
        // The first is whole, the second refused or cut, and the third is short enough.
        assert_eq!(answer.matches(&data).count(), 3);
        assert!(answer.contains("api.answer_bytes_max"), "a refusal");
        assert!(answer.contains(r#"{"publish":{"offset":"#), "a publication");
    }
}

#[test]
fn half_requests_do_not_hold_the_port() {
    let server = Server::start("[api]\nconnections_max = 8\nhead_timeout = '1s'\n");
    let mut held: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for stream in &mut held {
        stream
            .write_all(b"GET /live HTTP/1.1\r\nX: ")
            .expect("half a head");
    }
    // The patience of the client is shorter than what a port that is held for ever takes.
    let began = Instant::now();
    assert_eq!(server.http("GET", "/live", &[], "").status, 200);
    assert!(began.elapsed() < Duration::from_secs(5));
    // Silence between two requests ends in the same way.
    let mut idle = server.connect();
    idle.write_all(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("a request");
    let mut text = String::new();
    idle.read_to_string(&mut text).expect("it is closed");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[test]
fn operations_are_counted_by_themselves() {
    let server = Server::start(CONFIG);
    let body = r#"{"commands":[{"publish":{"channel":"a","data":1}},{"nonsense":{}},
        {"broadcast":{"channels":["a","nowhere:1"],"data":1}}]}"#;
    assert_eq!(server.call("batch", body).status, 200);
    let text = server.http("GET", "/metrics", &[], "").body;
    for line in [
        r#"fanfare_api_requests_total{method="batch",status="200"} 1"#,
        r#"fanfare_api_operations_total{method="publish",status="200"} 1"#,
        r#"fanfare_api_operations_total{method="unknown",status="404"} 1"#,
        r#"fanfare_api_operations_total{method="broadcast",status="200"} 1"#,
        r#"fanfare_api_operations_total{method="broadcast",status="404"} 1"#,
    ] {
        assert!(
            text.lines().any(|known| known == line),
            "no {line} in:\n{text}"
        );
    }
    assert!(
        !text.contains(r#"operations_total{method="batch""#),
        "{text}"
    );
}
