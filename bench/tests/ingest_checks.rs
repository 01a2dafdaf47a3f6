//! Publishers against an engine in the same process, and against servers that answer wrongly.
#![allow(missing_docs)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fanfare_bench::ingest::{Account, Ingest, IngestError, Misplaced, Plan, Way};
use fanfare_engine::{
    Authority, Denied, Engine, EngineConfig, Grant, Namespaces, RoomOptions, SubscriptionGrant,
};
use fanfare_wire::native::{self, ClientFrame};

/// Longest that anything may take; all of it takes a second.
const PATIENCE: Duration = Duration::from_secs(30);

const KEY: &str = "key";

#[derive(Debug)]
struct Services;

impl Authority for Services {
    fn connect(&self, token: &str, _: u64) -> Result<Grant, Denied> {
        let grant = Grant {
            is_service: true,
            ..Grant::default()
        };
        (token == KEY).then_some(grant).ok_or(Denied::Invalid)
    }

    fn subscribe(&self, _: &str, _: &str, _: &str, _: u64) -> Result<SubscriptionGrant, Denied> {
        Err(Denied::Invalid)
    }
}

fn plan(way: Way, target: SocketAddr, rooms: usize, links: usize) -> Plan {
    Plan {
        way,
        target,
        key: KEY.to_owned(),
        rooms: (0..rooms).map(|room| format!("r{room}").into()).collect(),
        payload_bytes: 10,
        links,
        threads: 2,
    }
}

/// Publishes until so much is answered, or something goes wrong.
fn publish(plan: &Plan, at_least: u64) -> Result<Account, IngestError> {
    let ingest = Ingest::start(plan)?;
    let began = Instant::now();
    while ingest.acknowledged() < at_least && !ingest.has_stopped() {
        assert!(began.elapsed() < PATIENCE, "{ingest:?}");
        thread::sleep(Duration::from_millis(1));
    }
    ingest.finish()
}

#[test]
fn everything_is_answered_once_and_in_its_place() {
    let config = EngineConfig {
        client_addrs: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        shards: 2,
        namespaces: Namespaces {
            default: RoomOptions {
                history_size: 10,
                ..RoomOptions::default()
            },
            named: Vec::new(),
        },
        ..EngineConfig::default()
    };
    let engine = Engine::start(config, Arc::new(Services)).expect("the engine starts");
    let target = engine.client_addrs()[0];
    let mut before = 0;
    for (rooms, links, window) in [(7, 3, 64), (1, 1, 1), (600, 2, 4_096)] {
        let plan = plan(Way::Native { window }, target, rooms, links);
        let account = publish(&plan, 5_000).expect("all is well");
        assert!(account.acknowledged >= 5_000);
        assert_eq!(account.rooms.iter().sum::<u64>(), account.acknowledged);
        assert_eq!(account.rooms.len(), rooms);
        assert_eq!(account.members_reached, 0);
        let counters = engine.handle().counters();
        let ordered: u64 = counters.iter().map(|shard| shard.publications).sum();
        assert_eq!(ordered - before, account.acknowledged);
        before = ordered;
    }
    let stranger = Plan {
        key: "another".to_owned(),
        ..plan(Way::Native { window: 1 }, target, 1, 1)
    };
    let refused = publish(&stranger, 1);
    assert!(
        matches!(refused, Err(IngestError::Closed(_))),
        "{refused:?}"
    );
}

/// A server of one native connection, which answers each publication with these acks.
fn liar(answer: fn(request: u32, offset: u64) -> Vec<(u32, u64)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a publisher");
        // It ends when the publisher does.
        let _ = lie(stream, answer);
    });
    address
}

fn lie(mut stream: TcpStream, answer: fn(u32, u64) -> Vec<(u32, u64)>) -> std::io::Result<()> {
    let (mut input, mut offset) = (Vec::new(), 0);
    let mut buffer = [0; 4096];
    loop {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(());
        }
        input.extend_from_slice(&buffer[..bytes]);
        let (mut out, mut at) = (Vec::new(), 0);
        while let Some((frame, bytes)) =
            native::decode_client(&input[at..], 1 << 16).expect("a publisher's frames")
        {
            at += bytes;
            match frame {
                ClientFrame::Hello(_) => native::write_welcome(
                    &mut out,
                    &native::Welcome {
                        client: "0",
                        ping_interval_ms: 0,
                        pong_timeout_ms: 0,
                        archive_bytes_max: 1 << 16,
                    },
                ),
                ClientFrame::Publish(publish) => {
                    offset += 1;
                    for (request, offset) in answer(publish.request, offset) {
                        let ack = native::Ack {
                            request,
                            epoch: 1,
                            offset,
                            members: 0,
                        };
                        native::write_ack(&mut out, &ack);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        input.drain(..at);
        stream.write_all(&out)?;
    }
}

#[test]
fn a_server_that_answers_wrongly_gives_no_figure() {
    let run = |answer| publish(&plan(Way::Native { window: 8 }, liar(answer), 1, 1), 1_000);
    let honest = run(|request, offset| vec![(request, offset)]);
    assert!(honest.is_ok(), "{honest:?}");
    let twice = run(|request, offset| vec![(request, offset); 1 + usize::from(offset == 5)]);
    assert!(
        matches!(twice, Err(IngestError::Misplaced(Misplaced::Unasked(_)))),
        "{twice:?}"
    );
    let skips = run(|request, offset| vec![(request, offset + u64::from(offset >= 7))]);
    assert!(
        matches!(
            skips,
            Err(IngestError::Misplaced(Misplaced::Offset {
                offset: 8,
                expected: 7,
                ..
            }))
        ),
        "{skips:?}"
    );
    let nonsense = run(|request, offset| vec![(request + 1_000, offset)]);
    assert!(
        matches!(nonsense, Err(IngestError::Misplaced(Misplaced::Unasked(_)))),
        "{nonsense:?}"
    );
}
