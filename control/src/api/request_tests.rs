use super::*;
use crate::config::Settings;

fn parse(method: &str, body: &str) -> Result<Request, u16> {
    let mut limits = ApiLimits::new(&Settings::default());
    limits.operations_max = 3;
    limits.listing_entries_max = 100;
    let method = Method::parse(method).ok_or(104_u16)?;
    Request::parse(method, body, &limits).map_err(|refusal| refusal.code)
}

fn publish(body: &str) -> Result<Publish, u16> {
    match parse("publish", body)? {
        Request::Publish(publish) => Ok(publish),
        other => panic!("not a publication: {other:?}"),
    }
}

#[test]
fn a_publication_takes_all_of_its_options() {
    let publish = publish(
        r#"{"channel":"news","data":{"a": 1.0},"tags":{"k":"v"},"skip_history":true,"idempotency_key":"i","delta":true}"#,
    )
    .expect("a publication");
    assert_eq!(&*publish.room, "news");
    assert_eq!(publish.payload.bytes, r#"{"a": 1.0}"#);
    assert!(publish.payload.is_json && publish.skip_history);
    assert_eq!(publish.tags, [("k".into(), "v".into())]);
    assert_eq!(publish.idempotency_key.as_deref(), Some("i"));
}

#[test]
fn null_is_data_and_nothing_is_not() {
    assert_eq!(
        publish(r#"{"channel":"c","data":null}"#).map(|publish| publish.payload.bytes),
        Ok("null".into())
    );
    assert_eq!(publish(r#"{"channel":"c"}"#).map(|_| ()), Err(107));
}

#[test]
fn names_are_required() {
    for (method, body) in [
        ("publish", r#"{"data":1}"#),
        ("publish", r#"{"channel":"","data":1}"#),
        ("broadcast", r#"{"data":1}"#),
        ("broadcast", r#"{"channels":[],"data":1}"#),
        ("subscribe", r#"{"channel":"c"}"#),
        ("subscribe", r#"{"user":"u"}"#),
        ("unsubscribe", r#"{"user":"u"}"#),
        ("disconnect", "{}"),
        ("presence", "{}"),
        ("presence_stats", ""),
        ("history", "{}"),
        ("history_remove", "{}"),
        ("push_user", r#"{"data":1}"#),
        ("push_connection", r#"{"data":1}"#),
        ("push_all", "{}"),
    ] {
        assert_eq!(parse(method, body).map(|_| ()), Err(107), "{method} {body}");
    }
}

#[test]
fn a_body_that_is_not_json_of_the_right_shape_is_refused() {
    for body in [
        "{",
        "[]",
        "null",
        "5",
        r#"{"channel":5,"data":1}"#,
        r#"{"channel":"c","data":1}x"#,
    ] {
        assert_eq!(parse("publish", body).map(|_| ()), Err(107), "{body}");
    }
}

#[test]
fn a_method_without_required_fields_needs_no_body() {
    assert!(matches!(parse("info", ""), Ok(Request::Info)));
    assert!(matches!(
        parse("channels", " \n"),
        Ok(Request::Channels { pattern: None })
    ));
    assert!(matches!(
        parse("channels", r#"{"pattern":"chat:*"}"#),
        Ok(Request::Channels { pattern: Some(_) })
    ));
}

#[test]
fn every_method_in_the_table_is_known_and_no_other() {
    for method in Method::ALL.map(Method::as_str) {
        assert_eq!(parse(method, "5").map(|_| ()), Err(107), "{method}");
    }
    for method in ["", "Publish", "unknown", "rpc", "refresh", "publish/"] {
        assert_eq!(parse(method, "{}").map(|_| ()), Err(104), "{method}");
    }
}

#[test]
fn every_method_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
    let document = std::fs::read_to_string(path).expect("the document");
    for method in Method::ALL.map(Method::as_str) {
        assert!(
            document.contains(&format!("\n## {method}\n")),
            "{method} has no section"
        );
        assert!(
            document.contains(&format!("$ curl $API/{method} ")),
            "{method} has no example"
        );
    }
}

#[test]
fn an_unknown_field_is_ignored_and_an_unsupported_one_refused() {
    assert!(publish(r#"{"channel":"c","data":1,"of_tomorrow":true}"#).is_ok());
    for (method, body) in [
        ("publish", r#"{"channel":"c","data":1,"version":3}"#),
        ("publish", r#"{"channel":"c","data":1,"version_epoch":"e"}"#),
        ("subscribe", r#"{"user":"u","channel":"c","expire_at":5}"#),
        ("subscribe", r#"{"user":"u","channel":"c","info":{}}"#),
        ("subscribe", r#"{"user":"u","channel":"c","data":{}}"#),
        (
            "subscribe",
            r#"{"user":"u","channel":"c","recover_since":{}}"#,
        ),
        ("subscribe", r#"{"user":"u","channel":"c","override":{}}"#),
        ("subscribe", r#"{"user":"u","channel":"c","session":"s"}"#),
        ("disconnect", r#"{"user":"u","session":"s"}"#),
    ] {
        assert_eq!(parse(method, body).map(|_| ()), Err(108), "{body}");
    }
    // SDKs send what they do not use as empty.
    assert!(
        parse(
            "subscribe",
            r#"{"user":"u","channel":"c","session":"","client":"","info":null,"expire_at":0}"#
        )
        .is_ok()
    );
}

#[test]
fn a_broadcast_has_a_bound() {
    assert!(parse("broadcast", r#"{"channels":["a","b","c"],"data":1}"#).is_ok());
    assert_eq!(
        parse("broadcast", r#"{"channels":["a","b","c","d"],"data":1}"#).map(|_| ()),
        Err(106)
    );
}

#[test]
fn a_batch_counts_what_its_broadcasts_do() {
    let publish = r#"{"publish":{"channel":"c","data":1}}"#;
    let broadcast = r#"{"broadcast":{"channels":["a","b","c"],"data":1}}"#;
    assert!(
        parse(
            "batch",
            &format!(r#"{{"commands":[{publish},{publish},{publish}]}}"#)
        )
        .is_ok()
    );
    let four = format!(r#"{{"commands":[{publish},{publish},{publish},{publish}]}}"#);
    assert_eq!(parse("batch", &four).map(|_| ()), Err(106));
    assert_eq!(
        parse(
            "batch",
            &format!(r#"{{"commands":[{publish},{broadcast}]}}"#)
        )
        .map(|_| ()),
        Err(106)
    );
}

#[test]
fn a_bad_command_of_a_batch_fails_alone() {
    let body =
        r#"{"commands":[{"publish":{"channel":"c","data":1}},{"batch":{"commands":[]}},{}]}"#;
    let Ok(Request::Batch {
        commands,
        is_parallel: false,
    }) = parse("batch", body)
    else {
        panic!("not a batch");
    };
    let codes: Vec<Option<u16>> = commands
        .iter()
        .map(|command| command.request.as_ref().err().map(|refusal| refusal.code))
        .collect();
    assert_eq!(codes, [None, Some(107), Some(107)]);
    assert_eq!(commands[0].method, Some(Method::Publish));
}

#[test]
fn a_disconnect_has_a_code_that_clients_understand() {
    let disconnect = |body: &str| match parse("disconnect", body) {
        Ok(Request::Disconnect { code, reason, who }) => Ok((code, reason, who.except.len())),
        Ok(other) => panic!("not a disconnect: {other:?}"),
        Err(code) => Err(code),
    };
    assert_eq!(
        disconnect(r#"{"user":"u"}"#).map(|(code, ..)| code),
        Ok(3503)
    );
    let body = r#"{"user":"u","disconnect":{"code":4000,"reason":"bye"},"whitelist":["0123456789abcdef0123456789abcdef"]}"#;
    assert_eq!(disconnect(body), Ok((4000, "bye".into(), 1)));
    for code in ["0", "1000", "2999", "5000", "-1", "70000"] {
        assert_eq!(
            disconnect(&format!(r#"{{"user":"u","disconnect":{{"code":{code}}}}}"#)),
            Err(107),
            "{code}"
        );
    }
    let long = "x".repeat(124);
    assert_eq!(
        disconnect(&format!(
            r#"{{"user":"u","disconnect":{{"code":4000,"reason":"{long}"}}}}"#
        )),
        Err(107)
    );
    assert_eq!(disconnect(r#"{"user":"u","whitelist":["me"]}"#), Err(107));
}

#[test]
fn a_history_query_is_capped() {
    let history = |body: &str| match parse("history", body) {
        Ok(Request::History(query)) => Ok(query),
        Ok(other) => panic!("not a history query: {other:?}"),
        Err(code) => Err(code),
    };
    let limit = |body: &str| history(body).map(|query| query.limit);
    assert_eq!(limit(r#"{"channel":"c"}"#), Ok(Some(0)));
    assert_eq!(limit(r#"{"channel":"c","limit":7}"#), Ok(Some(7)));
    assert_eq!(limit(r#"{"channel":"c","limit":-1}"#), Ok(Some(100)));
    assert_eq!(
        limit(r#"{"channel":"c","limit":5000000000}"#),
        Ok(Some(100))
    );
    let query = history(r#"{"channel":"c","since":{"offset":3,"epoch":"171"},"reverse":true}"#)
        .expect("a query");
    assert_eq!(
        query.since,
        Some(Position {
            epoch: 171,
            offset: 3
        })
    );
    assert!(query.reverse);
    assert_eq!(
        limit(r#"{"channel":"c","since":{"offset":3,"epoch":"of another server"}}"#),
        Err(112)
    );
}

#[test]
fn a_client_is_32_digits() {
    let push = |client: &str| {
        parse(
            "push_connection",
            &format!(r#"{{"client":"{client}","data":1}}"#),
        )
        .map(|_| ())
    };
    assert_eq!(push("0123456789abcdef0123456789ABCDEF"), Ok(()));
    for wrong in [
        "",
        "5",
        "+123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdefa",
    ] {
        assert_eq!(push(wrong), Err(107), "{wrong:?}");
    }
}

#[test]
fn tags_and_keys_have_bounds() {
    let long = "x".repeat(257);
    assert_eq!(
        publish(&format!(
            r#"{{"channel":"c","data":1,"tags":{{"k":"{long}"}}}}"#
        ))
        .map(|_| ()),
        Err(106)
    );
    assert_eq!(
        publish(&format!(
            r#"{{"channel":"c","data":1,"idempotency_key":"{long}"}}"#
        ))
        .map(|_| ()),
        Err(106)
    );
    let many: Vec<String> = (0..33).map(|n| format!(r#""{n}":"""#)).collect();
    assert_eq!(
        publish(&format!(
            r#"{{"channel":"c","data":1,"tags":{{{}}}}}"#,
            many.join(",")
        ))
        .map(|_| ()),
        Err(106)
    );
}

#[test]
fn a_header_gives_an_idempotency_key_where_the_body_has_none() {
    let key_of = |body: &str| {
        let mut request = parse("publish", body).expect("a publication");
        request.set_idempotency_key("header").expect("short enough");
        match request {
            Request::Publish(publish) => publish.idempotency_key,
            other => panic!("not a publication: {other:?}"),
        }
    };
    assert_eq!(
        key_of(r#"{"channel":"c","data":1}"#).as_deref(),
        Some("header")
    );
    assert_eq!(
        key_of(r#"{"channel":"c","data":1,"idempotency_key":"body"}"#).as_deref(),
        Some("body")
    );
}

#[test]
fn null_is_as_good_as_nothing() {
    for (method, body) in [
        (
            "publish",
            r#"{"channel":"c","data":1,"b64data":null,"skip_history":null,"tags":null,"idempotency_key":null,"version":null}"#,
        ),
        ("broadcast", r#"{"channels":["c"],"channel":null,"data":1}"#),
        ("batch", r#"{"commands":[],"parallel":null}"#),
        (
            "subscribe",
            r#"{"user":"u","channel":"c","client":null,"expire_at":null,"info":null}"#,
        ),
        (
            "disconnect",
            r#"{"user":"u","whitelist":null,"disconnect":null}"#,
        ),
        (
            "disconnect",
            r#"{"user":"u","disconnect":{"code":3000,"reason":null}}"#,
        ),
        (
            "history",
            r#"{"channel":"c","limit":null,"since":null,"reverse":null}"#,
        ),
        ("channels", r#"{"pattern":null}"#),
    ] {
        assert_eq!(parse(method, body).map(|_| ()), Ok(()), "{method} {body}");
    }
}

#[test]
fn a_position_without_an_epoch_is_of_any() {
    for since in [
        r#"{"offset":3}"#,
        r#"{"offset":3,"epoch":""}"#,
        r#"{"offset":3,"epoch":null}"#,
    ] {
        let Ok(Request::History(query)) =
            parse("history", &format!(r#"{{"channel":"c","since":{since}}}"#))
        else {
            panic!("a query for {since}");
        };
        assert_eq!(
            query.since,
            Some(Position {
                epoch: 0,
                offset: 3
            })
        );
    }
}

#[test]
fn an_idempotency_key_in_the_head_is_for_publications_alone() {
    let mut request = parse("publish", r#"{"channel":"c","data":1}"#).expect("a publication");
    assert_eq!(request.set_idempotency_key("k"), Ok(()));
    for (method, body) in [("batch", r#"{"commands":[]}"#), ("info", "")] {
        let mut request = parse(method, body).expect("a request");
        let refused = request.set_idempotency_key("k");
        assert_eq!(
            refused.map_err(|refusal| refusal.code),
            Err(107),
            "{method}"
        );
    }
}
