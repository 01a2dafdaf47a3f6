//! What a backend may answer, and what becomes of it.

use fanfare_engine::backend::{
    ConnectAsk, Connected, Extension, PublishDecision, Refreshed, Refused, Subscribed,
};
use fanfare_engine::{Capability, Grant, Rights, SubscriptionGrant};

use super::support::{FakeBackend, Shard, binary, json};
use crate::backend::answer::Reader;
use crate::backend::{Event, Outcome};

/// A shard whose backend says this to everything; it lives as long as the shard is in use.
struct Said {
    shard: Shard,
    _backend: FakeBackend,
}

fn said(body: &str) -> Said {
    said_with(200, body, "")
}

fn said_with(status: u16, body: &str, more: &str) -> Said {
    let backend = FakeBackend::saying(status, body.to_owned());
    Said {
        shard: Shard::new(&backend.url(), more),
        _backend: backend,
    }
}

fn connected(body: &str) -> Result<Connected, Refused> {
    said(body).shard.connect(ConnectAsk::default())
}

fn subscribed(body: &str) -> Result<Subscribed, Refused> {
    said(body).shard.subscribe("", b"")
}

fn decided(body: &str) -> Result<PublishDecision, Refused> {
    said(body).shard.publish(b"1")
}

fn error(code: u16, message: &str, is_temporary: bool) -> Refused {
    Refused::Error {
        code,
        message: message.into(),
        is_temporary,
    }
}

fn disconnect(code: u16, reason: &str) -> Refused {
    Refused::Disconnect {
        code,
        reason: reason.into(),
    }
}

#[test]
fn a_connection_is_granted_all_that_the_answer_says() {
    let body = r#"{"result":{
        "user":"42","expire_at":1700000000,"info":{"name":
        "Bob"},"data":{"hello":1},
        "channels":["news","a","news"],
        "subs":{"a":{},"room":{"expire_at":7,"info":{"x":1},"data":[1],"allow":["pub","hst"]},
                "bin":{"b64info":"eyJ5IjoyfQ==","b64data":"AP8="}},
        "caps":[{"channels":["chat:*"],"match":"wildcard","allow":["sub","prs"]}],
        "meta":{"k":"v"},"labels":{"a":"b"},"unheard_of":[]}}"#;
    let said = said_with(200, body, "include_connection_meta = true\n");
    let rights = |subscribe, publish, presence, history| Rights {
        subscribe,
        publish,
        presence,
        history,
    };
    let subscription = |expires_at, info: Option<&str>, rights, data| Subscribed {
        grant: SubscriptionGrant {
            expires_at,
            info: info.map(Into::into),
            rights,
        },
        data,
    };
    assert_eq!(
        said.shard.connect(ConnectAsk::default()),
        Ok(Connected {
            grant: Some(Grant {
                room_data: Vec::new(),
                user: "42".into(),
                expires_at: Some(1_700_000_000),
                info: Some("{\"name\":         \"Bob\"}".into()),
                capabilities: vec![Capability {
                    rooms: vec!["chat:*".into()],
                    rights: rights(true, false, true, false),
                }],
                // Not "a", which has terms of its own.
                rooms: vec!["news".into()],
                is_service: false,
            }),
            data: json(r#"{"hello":1}"#),
            subscriptions: vec![
                ("a".into(), Subscribed::default()),
                (
                    "bin".into(),
                    subscription(
                        None,
                        Some(r#"{"y":2}"#),
                        Rights::default(),
                        binary(b"\0\xff")
                    )
                ),
                (
                    "room".into(),
                    subscription(
                        Some(7),
                        Some(r#"{"x":1}"#),
                        rights(false, true, false, true),
                        json("[1]")
                    )
                ),
            ],
            meta: Some(r#"{"k":"v"}"#.into()),
        })
    );
}

#[test]
fn a_backend_may_let_a_client_in_without_a_name() {
    let grant = connected(r#"{"result":{}}"#).expect("yes").grant;
    assert_eq!(grant, Some(Grant::default()));
    let grant = connected(r#"{"result":{"user":""}}"#).expect("yes").grant;
    assert_eq!(grant, Some(Grant::default()));
}

#[test]
fn a_backend_may_leave_open_who_a_client_is() {
    for body in ["{}", r#"{"result":null}"#] {
        assert_eq!(connected(body), Ok(Connected::default()), "{body}");
    }
}

#[test]
fn null_stands_for_nothing() {
    let body = r#"{"error":null,"disconnect":null,"result":{"user":null,"expire_at":null,"info":null,
        "b64info":null,"b64data":null,"channels":null,"subs":null,"meta":null,"caps":null}}"#;
    let grant = connected(body).expect("yes").grant;
    assert_eq!(grant, Some(Grant::default()));
}

#[test]
fn meta_is_not_kept_where_it_is_not_wanted() {
    let connected = connected(r#"{"result":{"user":"a","meta":{"k":1}}}"#).expect("yes");
    assert_eq!(connected.meta, None);
}

#[test]
fn a_connection_is_refreshed() {
    let refresh = |body: &str| said(body).shard.refresh();
    assert_eq!(
        refresh(r#"{"result":{"expire_at":99,"b64info":"e30="}}"#),
        Ok(Refreshed::Extended(Extension {
            expires_at: Some(99),
            info: Some("{}".into()),
            ..Extension::default()
        }))
    );
    let caps = r#"{"result":{"expire_at":0,"caps":[{"channels":["a"],"allow":["sub"]}]}}"#;
    let Ok(Refreshed::Extended(extension)) = refresh(caps) else {
        panic!("it is extended");
    };
    assert_eq!(extension.expires_at, None);
    assert_eq!(extension.capabilities.map(|caps| caps.len()), Some(1));
    // Without a result Centrifugo takes it for expired.
    for body in [r#"{"result":{"expired":true,"expire_at":99}}"#, "{}"] {
        assert_eq!(refresh(body), Ok(Refreshed::Expired), "{body}");
    }
}

#[test]
fn a_subscription_is_refreshed() {
    let refresh = |body: &str| said(body).shard.sub_refresh();
    assert_eq!(
        refresh(r#"{"result":{"expire_at":99,"info":[1]}}"#),
        Ok(Refreshed::Extended(Extension {
            expires_at: Some(99),
            info: Some("[1]".into()),
            ..Extension::default()
        }))
    );
    assert_eq!(
        refresh(r#"{"result":{"expired":true}}"#),
        Ok(Refreshed::Expired)
    );
}

#[test]
fn a_call_is_answered() {
    let called = |body: &str| said(body).shard.rpc(b"1");
    assert_eq!(
        called("{\"result\":{\"data\":{\"a\":\n1.0}}}"),
        Ok(json("{\"a\": 1.0}"))
    );
    assert_eq!(
        called(r#"{"result":{"b64data":"AAEC/w=="}}"#),
        Ok(binary(b"\0\x01\x02\xff"))
    );
    assert_eq!(called(r#"{"result":{"data":null}}"#), Ok(json("null")));
    // Centrifugo's order where both are there.
    assert_eq!(
        called(r#"{"result":{"data":1,"b64data":"Mg=="}}"#),
        Ok(binary(b"2"))
    );
    for body in ["{}", r#"{"result":{}}"#, r#"{"result":{"b64data":""}}"#] {
        assert_eq!(called(body), Ok(None), "{body}");
    }
}

#[test]
fn a_message_is_taken_by_any_2xx() {
    for (status, body) in [
        (200, "{}"),
        (200, ""),
        (200, "OK"),
        (202, r#"{"result":{}}"#),
        (204, ""),
    ] {
        let said = said_with(status, body, "");
        assert_eq!(said.shard.send(b"1"), Ok(()), "{status} {body}");
    }
    for status in [300, 400, 500] {
        let said = said_with(status, "{}", "");
        assert_eq!(said.shard.send(b"1"), Err(Refused::Unreachable), "{status}");
    }
    let body = r#"{"disconnect":{"code":4501,"reason":"flood"}}"#;
    assert_eq!(
        said_with(202, body, "").shard.send(b"1"),
        Err(disconnect(4_501, "flood"))
    );
}

#[test]
fn a_subscription_is_granted() {
    assert_eq!(
        subscribed(
            r#"{"result":{"expire_at":5,"info":1,"data":{"a":1},"allow":["sub","pub","prs","hst"]}}"#
        ),
        Ok(Subscribed {
            grant: SubscriptionGrant {
                expires_at: Some(5),
                info: Some("1".into()),
                rights: Rights {
                    subscribe: true,
                    publish: true,
                    presence: true,
                    history: true,
                },
            },
            data: json(r#"{"a":1}"#),
        })
    );
    for body in ["{}", r#"{"result":{}}"#] {
        assert_eq!(subscribed(body), Ok(Subscribed::default()), "{body}");
    }
}

#[test]
fn a_publication_is_let_through_or_changed() {
    for body in ["{}", r#"{"result":{}}"#] {
        assert_eq!(decided(body), Ok(PublishDecision::default()), "{body}");
    }
    assert_eq!(
        decided(
            r#"{"result":{"data":{"by":"me"},"skip_history":true,"tags":{"b":"2","a":"1"},
                "idempotency_key":"k","delta":true}}"#
        ),
        Ok(PublishDecision {
            data: json(r#"{"by":"me"}"#),
            skip_history: true,
            tags: vec![("a".into(), "1".into()), ("b".into(), "2".into())],
            idempotency_key: Some("k".into()),
        })
    );
    let data = |body| decided(body).expect("yes").data;
    assert_eq!(data(r#"{"result":{"b64data":"AP8="}}"#), binary(b"\0\xff"));
    // Here Centrifugo's order is the other one.
    assert_eq!(data(r#"{"result":{"data":1,"b64data":"Mg=="}}"#), json("1"));
}

#[test]
fn a_user_of_the_relay_has_a_password_or_is_none() {
    let user = |body: &str| Reader::turn_user(body.as_bytes()).ok();
    let known = |password: &str, expire_at| Some(Some((password.to_owned(), expire_at)));
    assert_eq!(
        user(r#"{"result":{"password":"p","expire_at":5}}"#),
        known("p", 5)
    );
    assert_eq!(user(r#"{"result":{"password":""}}"#), known("", 0));
    assert_eq!(
        user(r#"{"result":{"password":"p","expire_at":-5}}"#),
        known("p", 0)
    );
    for nobody in [
        "{}",
        r#"{"result":{}}"#,
        r#"{"error":{"code":404}}"#,
        r#"{"disconnect":{"code":4500},"result":{"password":"p"}}"#,
    ] {
        assert_eq!(user(nobody), Some(None), "{nobody}");
    }
    for wrong in ["", "[]", r#"{"result":{"password":1}}"#] {
        assert_eq!(user(wrong), None, "{wrong}");
    }
}

#[test]
fn every_event_can_be_refused_with_an_error() {
    let body = r#"{"error":{"code":1001,"message":"no \"more\"\n","temporary":true}}"#;
    let said = said(body);
    let refused = error(1_001, "no \"more\"\n", true);
    let shard = &said.shard;
    assert_eq!(shard.connect(ConnectAsk::default()), Err(refused.clone()));
    assert_eq!(shard.refresh(), Err(refused.clone()));
    assert_eq!(shard.rpc(b"1"), Err(refused.clone()));
    assert_eq!(shard.send(b"1"), Err(refused.clone()));
    assert_eq!(shard.subscribe("", b""), Err(refused.clone()));
    assert_eq!(shard.publish(b"1"), Err(refused.clone()));
    assert_eq!(shard.sub_refresh(), Err(refused));
    // The relay asks for itself.
    let of_clients = Event::ALL
        .into_iter()
        .filter(|it| !matches!(it, Event::TurnUser | Event::TurnAllocation));
    for event in of_clients {
        assert_eq!(shard.ended(event, Outcome::Refused), 1, "{event:?}");
        assert_eq!(shard.counters().under_way(event), 0, "{event:?}");
    }
}

#[test]
fn every_event_can_be_refused_with_a_disconnect() {
    let said = said(r#"{"disconnect":{"code":4999,"reason":"go away"}}"#);
    let refused = disconnect(4_999, "go away");
    let shard = &said.shard;
    assert_eq!(shard.connect(ConnectAsk::default()), Err(refused.clone()));
    assert_eq!(shard.refresh(), Err(refused.clone()));
    assert_eq!(shard.rpc(b"1"), Err(refused.clone()));
    assert_eq!(shard.send(b"1"), Err(refused.clone()));
    assert_eq!(shard.subscribe("", b""), Err(refused.clone()));
    assert_eq!(shard.publish(b"1"), Err(refused.clone()));
    assert_eq!(shard.sub_refresh(), Err(refused));
}

#[test]
fn a_disconnect_counts_before_an_error_and_an_error_before_a_result() {
    let both = r#"{"result":{"data":1},"error":{"code":400},"disconnect":{"code":4000}}"#;
    assert_eq!(said(both).shard.rpc(b"1"), Err(disconnect(4_000, "")));
    let error_first = r#"{"result":{"data":1},"error":{"code":400}}"#;
    assert_eq!(
        said(error_first).shard.rpc(b"1"),
        Err(error(400, "", false))
    );
}

#[test]
fn a_status_means_what_the_configuration_says() {
    let more = "status_to_code_transforms = [\n\
        { status_code = 403, to_error = { code = 103, message = 'permission denied' } },\n\
        { status_code = 404, to_disconnect = { code = 4504, reason = 'not found' } },\n\
        { status_code = 429, to_error = { code = 111, message = 'slow down', temporary = true } },\n\
        { status_code = 302, to_error = { code = 1302 } },\n\
        ]\n";
    for (status, refused) in [
        (403, error(103, "permission denied", false)),
        (404, disconnect(4_504, "not found")),
        (429, error(111, "slow down", true)),
        (302, error(1_302, "", false)),
        (500, Refused::Unreachable),
        (201, Refused::Unreachable),
    ] {
        let said = said_with(status, r#"{"result":{"data":1}}"#, more);
        assert_eq!(said.shard.rpc(b"1"), Err(refused), "{status}");
    }
}

#[test]
fn answers_that_could_not_be_kept_are_not_believed() {
    let long = "x".repeat(70_000);
    let many: Vec<String> = (0..33).map(|n| format!("\"{n}\":\"\"")).collect();
    for body in [
        format!(r#"{{"result":{{"data":"{long}"}}}}"#),
        format!(r#"{{"result":{{"tags":{{"a":"{}"}}}}}}"#, "x".repeat(257)),
        format!(r#"{{"result":{{"tags":{{{}}}}}}}"#, many.join(",")),
        format!(
            r#"{{"result":{{"idempotency_key":"{}"}}}}"#,
            "x".repeat(257)
        ),
        r#"{"result":{"version":5}}"#.to_owned(),
        r#"{"result":{"version_epoch":"e"}}"#.to_owned(),
        r#"{"result":{"b64data":"!"}}"#.to_owned(),
    ] {
        assert_eq!(decided(&body), Err(Refused::Unreachable), "{:.80}", body);
    }
    for body in [
        r#"{"result":{"override":{"presence":{"value":false}}}}"#.to_owned(),
        r#"{"result":{"server_tags_filter":{"op":"eq"}}}"#.to_owned(),
        r#"{"result":{"allow":["everything"]}}"#.to_owned(),
        format!(r#"{{"result":{{"info":"{long}"}}}}"#),
        r#"{"result":{"b64info":"bm90IGpzb24="}}"#.to_owned(),
    ] {
        assert_eq!(subscribed(&body), Err(Refused::Unreachable), "{:.80}", body);
    }
    for body in [
        format!(r#"{{"result":{{"user":"{}"}}}}"#, "u".repeat(256)),
        r#"{"result":{"caps":[{"channels":["*"],"allow":["sub"]}]}}"#.to_owned(),
        r#"{"result":{"caps":[{"channels":["a"],"match":"regex","allow":["sub"]}]}}"#.to_owned(),
    ] {
        assert_eq!(connected(&body), Err(Refused::Unreachable), "{:.80}", body);
    }
}

#[test]
fn codes_that_no_client_knows_are_not_passed_on() {
    for body in [
        r#"{"error":{"code":0}}"#,
        r#"{"error":{}}"#,
        r#"{"error":{"code":2000}}"#,
        r#"{"error":{"code":-1}}"#,
        r#"{"error":{"code":66000}}"#,
        r#"{"disconnect":{"code":1000}}"#,
        r#"{"disconnect":{"code":5000}}"#,
        r#"{"disconnect":{}}"#,
    ] {
        assert_eq!(
            said(body).shard.rpc(b"1"),
            Err(Refused::Unreachable),
            "{body}"
        );
    }
}
