//! The swarm against an engine in the same process: it hears all there is, answers pings, and notices what is missing.
#![allow(missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use fanfare_bench::stamp;
use fanfare_bench::swarm::{Behaviour, Group, Language, Stage, Swarm};
use fanfare_engine::api::{Payload, Publish};
use fanfare_engine::{
    Access, Authority, Denied, Engine, EngineConfig, Goim, Grant, Limits, Namespaces, RoomOptions,
    SubscriptionGrant,
};

/// Longest that anything may take; all of it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

const MEMBERS: u32 = 300;

const LANGUAGES: [Language; 4] = [
    Language::Native,
    Language::CentrifugeJson,
    Language::Goim,
    Language::GoimWebSocket,
];

#[derive(Debug)]
struct NoTokens;

impl Authority for NoTokens {
    fn connect(&self, _: &str, _: u64) -> Result<Grant, Denied> {
        Err(Denied::Invalid)
    }

    fn subscribe(&self, _: &str, _: &str, _: &str, _: u64) -> Result<SubscriptionGrant, Denied> {
        Err(Denied::Invalid)
    }
}

/// Who has to say that it lives is asked so often, or says it so often.
const PING_INTERVAL: Duration = Duration::from_secs(3);

fn start(history_size: u32, ping_interval: Duration) -> Engine {
    start_with(history_size, ping_interval, Goim::default())
}

fn start_with(history_size: u32, ping_interval: Duration, goim: Goim) -> Engine {
    let config = EngineConfig {
        client_addrs: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        shards: 2,
        limits: Limits {
            ping_interval,
            // As long as there may be: then an answer is not late on a busy machine, and a connection that has answered
            // is asked again at once.
            pong_timeout: ping_interval - Duration::from_millis(100),
            ..Limits::default()
        },
        namespaces: Namespaces {
            default: RoomOptions {
                subscribe: Access::Everyone,
                history_size,
                ..RoomOptions::default()
            },
            named: vec![("closed".into(), RoomOptions::default())],
        },
        allow_anonymous: true,
        goim,
        ..EngineConfig::default()
    };
    Engine::start(config, Arc::new(NoTokens)).expect("the engine starts")
}

fn publish(engine: &Engine, room: &str, number: u64) {
    publish_data(engine, room, stamp::payload(number, 100).into());
}

fn publish_data(engine: &Engine, room: &str, data: Vec<u8>) {
    let (sender, answers) = channel();
    let publish = Publish {
        room: room.into(),
        payload: Payload {
            bytes: Bytes::from(data),
            is_json: true,
        },
        tags: Vec::new(),
        skip_history: false,
        idempotency_key: None,
    };
    engine.handle().publish(
        publish,
        Box::new(move |answer| sender.send(answer).expect("the test waits")),
    );
    answers
        .recv_timeout(PATIENCE)
        .expect("an answer")
        .expect("published");
}

fn group(language: Language, behaviour: Behaviour, room: &str) -> Group {
    Group {
        behaviour,
        last_number: Some(20),
        heartbeat: PING_INTERVAL,
        ..Group::anonymous(MEMBERS, language, room)
    }
}

#[test]
fn every_member_hears_everything_and_answers_pings() {
    for history_size in [0, 10] {
        let engine = start(history_size, PING_INTERVAL);
        let groups = LANGUAGES.map(|language| {
            [Behaviour::Reads, Behaviour::OneByteAtATime]
                .map(|behaviour| group(language, behaviour, "all"))
        });
        let groups = groups.as_flattened().to_vec();
        let swarm = Swarm::start(engine.client_addrs()[0], groups).expect("threads");
        let members = u64::from(MEMBERS) * 8;
        swarm
            .wait_until("all members", PATIENCE, |swarm| {
                swarm.total().joined == members
            })
            .expect("everyone joins");
        for number in 1..=20 {
            publish(&engine, "all", number);
        }
        // Two pings each: a connection is asked again only after it has answered.
        swarm
            .wait_until("publications and pongs", PATIENCE, |swarm| {
                let total = swarm.total();
                total.settled == members && total.pongs >= 2 * members
            })
            .expect("they hear");
        assert_eq!(swarm.total().ended, 0);
        let reports = swarm.finish().expect("no crew failed").groups;
        assert_eq!(reports.len(), 8);
        for report in reports.as_slice().concat() {
            assert!(report.ledger.is_faithful(), "{report:?}");
            assert_eq!(
                (
                    report.ledger.received,
                    report.ledger.first,
                    report.ledger.last
                ),
                (20, 1, 20),
                "{report:?}"
            );
            assert_eq!((report.stage, report.ending), (Stage::Joined, None));
        }
    }
}

#[test]
fn a_member_that_never_reads_sleeps_until_it_is_woken() {
    let engine = start(10, Duration::from_secs(600));
    let groups = [Behaviour::NeverReads, Behaviour::Reads]
        .map(|behaviour| LANGUAGES.map(|language| group(language, behaviour, "all")));
    let groups = groups.as_flattened().to_vec();
    let swarm = Swarm::start(engine.client_addrs()[0], groups).expect("threads");
    let members = u64::from(MEMBERS) * 4;
    swarm
        .wait_until("all members, and sleep", PATIENCE, |swarm| {
            swarm.total().joined == 2 * members && swarm.total().asleep == members
        })
        .expect("half of them sleep");
    publish(&engine, "all", 1);
    let heard_by = |swarm: &Swarm, behaviour| swarm.counts(behaviour).publications;
    swarm
        .wait_until("publications", PATIENCE, |swarm| {
            heard_by(swarm, Behaviour::Reads) == members
        })
        .expect("who reads hears");
    assert_eq!(heard_by(&swarm, Behaviour::NeverReads), 0);
    swarm.wake_sleepers();
    swarm
        .wait_until("publications", PATIENCE, |swarm| {
            heard_by(swarm, Behaviour::NeverReads) == members
        })
        .expect("who is woken hears what was sent meanwhile");
    for report in swarm.finish().expect("no crew failed").groups.concat() {
        assert_eq!(report.ledger.received, 1, "{report:?}");
        assert!(report.ledger.is_faithful(), "{report:?}");
    }
}

#[test]
fn a_refused_member_says_why_and_a_publication_that_is_not_there_is_missed() {
    let engine = start(10, Duration::from_secs(600));
    let groups = vec![
        group(Language::Native, Behaviour::Reads, "closed:room"),
        group(Language::CentrifugeJson, Behaviour::Reads, "open"),
    ];
    let swarm = Swarm::start(engine.client_addrs()[0], groups).expect("threads");
    let members = u64::from(MEMBERS);
    swarm
        .wait_until("the open room", PATIENCE, |swarm| {
            swarm.total().joined == members && swarm.total().connected == 2 * members
        })
        .expect("half of them join");
    publish(&engine, "open", 1);
    // The second publication claims to be the third.
    publish(&engine, "open", 3);
    swarm
        .wait_until("publications", PATIENCE, |swarm| {
            swarm.total().publications >= members
        })
        .expect("they hear");
    publish(&engine, "open", 3);
    swarm
        .wait_until("publications", PATIENCE, |swarm| {
            swarm.total().publications >= 2 * members
        })
        .expect("they hear");
    let reports = swarm.finish().expect("no crew failed").groups;
    for report in &reports[0] {
        assert_eq!(report.stage, Stage::Refused(103), "{report:?}");
    }
    for report in &reports[1] {
        let ledger = report.ledger;
        assert_eq!(
            (ledger.received, ledger.corrupted, ledger.lost),
            (2, 1, 1),
            "{report:?}"
        );
        assert!(!ledger.is_faithful());
    }
}

#[test]
fn members_of_goim_go_by_the_numbers_in_payloads() {
    let engine = start(0, Duration::from_secs(600));
    let languages = [Language::Goim, Language::GoimWebSocket];
    let groups = languages.map(|language| group(language, Behaviour::Reads, "open"));
    let swarm = Swarm::start(engine.client_addrs()[0], groups.into()).expect("threads");
    let members = u64::from(MEMBERS) * 2;
    swarm
        .wait_until("all members", PATIENCE, |swarm| {
            swarm.total().joined == members
        })
        .expect("everyone joins");
    // One is missing, one comes twice, and one is of somebody else.
    for data in [
        stamp::short(1).to_vec(),
        stamp::short(3).to_vec(),
        stamp::short(3).to_vec(),
        br#"{"test":1}"#.to_vec(),
        stamp::payload(4, 100).into(),
    ] {
        publish_data(&engine, "open", data);
    }
    swarm
        .wait_until("publications", PATIENCE, |swarm| {
            swarm.total().publications >= 5 * members
        })
        .expect("they hear");
    for report in swarm.finish().expect("no crew failed").groups.concat() {
        let it = report.ledger;
        assert_eq!(
            (it.received, it.lost, it.duplicated, it.corrupted, it.last),
            (5, 1, 1, 1, 4),
            "{report:?}"
        );
        assert!(!it.is_faithful());
    }
}

#[test]
fn members_of_goim_that_beat_too_rarely_are_gone() {
    let goim = Goim {
        heartbeat_timeout: Duration::from_secs(2),
        ..Goim::default()
    };
    let engine = start_with(0, Duration::from_secs(1), goim);
    let groups = [500, 600_000].map(|heartbeat_ms| {
        [Language::Goim, Language::GoimWebSocket].map(|language| Group {
            heartbeat: Duration::from_millis(heartbeat_ms),
            ..group(language, Behaviour::Reads, "all")
        })
    });
    let groups = groups.as_flattened().to_vec();
    let swarm = Swarm::start(engine.client_addrs()[0], groups).expect("threads");
    let members = u64::from(MEMBERS) * 2;
    swarm
        .wait_until(
            "the silent to be gone, and the others to beat",
            PATIENCE,
            |swarm| {
                let total = swarm.total();
                total.ended == members && total.pongs >= 8 * members
            },
        )
        .expect("half of them stay");
    let reports = swarm.finish().expect("no crew failed").groups;
    let (often, rarely) = reports.split_at(2);
    for report in often.concat() {
        assert_eq!((report.stage, report.ending), (Stage::Joined, None));
    }
    for report in rarely.concat() {
        assert!(report.ending.is_some(), "{report:?}");
    }
}

#[test]
fn members_of_goim_that_may_not_be_in_their_room_are_not() {
    let engine = start(0, Duration::from_secs(600));
    let languages = [Language::Goim, Language::GoimWebSocket];
    let groups = languages.map(|language| group(language, Behaviour::Reads, "closed:room"));
    let swarm = Swarm::start(engine.client_addrs()[0], groups.into()).expect("threads");
    swarm
        .wait_until("the end of all", PATIENCE, |swarm| {
            swarm.total().ended == u64::from(MEMBERS) * 2
        })
        .expect("they are closed");
    for report in swarm.finish().expect("no crew failed").groups.concat() {
        assert_ne!(report.stage, Stage::Joined, "{report:?}");
    }
}
