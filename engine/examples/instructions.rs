//! Does one thing many times, so that its instructions can be counted: `instructions SCENARIO REPETITIONS`.
//!
//! The difference between two runs is the cost of the repetitions between them; what starting up costs cancels out.
//! Without arguments it prints the scenarios, each with how many units a repetition makes, and of what.
//! `bench/tests/instruction_counts.rs` runs it under callgrind.

use std::hint::black_box;
use std::process::ExitCode;

use bytes::Bytes;
use fanfare_engine::api::{ApiError, Payload, Publish, Published};
use fanfare_engine::bench::{Client, Dialect, HISTORY, LaneRef, Rig};
use fanfare_wire::centrifuge::json;
use fanfare_wire::{native, ws};

/// The payload of the published benchmark of goim.
const PAYLOAD: &str = r#"{"test":1}"#;

/// Requests that a shard finds when it wakes, where it is busy: then a turn's own cost is shared by many.
const AT_ONCE: u32 = 64;

/// Repetitions that are not counted: queues and histories grow to the size that they keep.
const WARM_UP: u32 = 8;

/// A thing to repeat.
struct Scenario {
    name: &'static str,
    /// What it makes, and how many of them at once.
    per: &'static str,
    units: u32,
    prepare: fn() -> Box<dyn FnMut()>,
}

const SCENARIOS: [Scenario; 14] = [
    Scenario {
        name: "sweep-one-room-of-15000",
        per: "delivery",
        units: 15_000,
        prepare: || sweep(1, 15_000),
    },
    Scenario {
        name: "sweep-150-rooms-of-100",
        per: "delivery",
        units: 15_000,
        prepare: || sweep(150, 100),
    },
    Scenario {
        name: "append-and-sweep-a-room-of-1",
        per: "delivery",
        units: 1,
        prepare: || sweep(1, 1),
    },
    Scenario {
        name: "publish-with-history",
        per: "publication",
        units: AT_ONCE,
        prepare: || publish(&[]),
    },
    Scenario {
        name: "publish-to-members-on-another-shard",
        per: "publication",
        units: AT_ONCE,
        prepare: || publish(&[(Dialect::Native, 1), (Dialect::Centrifuge, 1)]),
    },
    Scenario {
        name: "publish-to-10-members-of-one-dialect",
        per: "publication",
        units: AT_ONCE,
        prepare: || publish(&[(Dialect::Native, 10)]),
    },
    Scenario {
        name: "publish-to-10-members-of-two-dialects",
        per: "publication",
        units: AT_ONCE,
        prepare: || publish(&[(Dialect::Native, 5), (Dialect::Centrifuge, 5)]),
    },
    Scenario {
        name: "publish-to-1000-members-of-one-dialect",
        per: "publication",
        units: AT_ONCE,
        prepare: || publish(&[(Dialect::Native, 1_000)]),
    },
    Scenario {
        name: "publish-to-1000-members-of-two-dialects",
        per: "publication",
        units: AT_ONCE,
        prepare: || publish(&[(Dialect::Native, 500), (Dialect::Centrifuge, 500)]),
    },
    Scenario {
        name: "publish-on-a-native-connection",
        per: "publication",
        units: AT_ONCE,
        prepare: ingest,
    },
    Scenario {
        name: "join-and-leave",
        per: "join and leave",
        units: AT_ONCE,
        prepare: join_and_leave,
    },
    Scenario {
        name: "hop-between-shards",
        per: "message",
        units: AT_ONCE,
        prepare: hop,
    },
    Scenario {
        name: "decode-a-native-publish",
        per: "frame",
        units: 1,
        prepare: decode_native,
    },
    Scenario {
        name: "decode-a-centrifuge-publish",
        per: "frame",
        units: 1,
        prepare: decode_web_socket,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        for Scenario {
            name, per, units, ..
        } in &SCENARIOS
        {
            println!("{name} {units} {per}");
        }
        return ExitCode::SUCCESS;
    }
    let [name, repetitions] = &arguments[..] else {
        eprintln!("usage: instructions [SCENARIO REPETITIONS]");
        return ExitCode::from(2);
    };
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let (Some(scenario), Ok(repetitions)) = (scenario, repetitions.parse::<u32>()) else {
        eprintln!("no scenario {name}, or no number of times: {repetitions}");
        return ExitCode::from(2);
    };
    let mut repeat = (scenario.prepare)();
    for _ in 0..WARM_UP + repetitions {
        repeat();
    }
    ExitCode::SUCCESS
}

fn sweep(rooms: u32, members: u32) -> Box<dyn FnMut()> {
    let mut rig = Rig::new(1, rooms * members);
    let mut lanes: Vec<LaneRef> = Vec::new();
    for number in 0..rooms {
        let room = format!("room-{number}");
        rig.crowd(0, Dialect::Native, &room, members);
        lanes.extend(rig.lane(0, &room, Dialect::Native));
    }
    let mut frame = Vec::new();
    native::write_publication(&mut frame, 7, 17, PAYLOAD.as_bytes());
    let frame = Bytes::from(frame);
    Box::new(move || {
        let before = rig.sent(0).sends;
        for &lane in &lanes {
            rig.append(lane, &frame);
        }
        rig.run(0);
        assert_eq!(rig.sent(0).sends - before, u64::from(rooms * members));
    })
}

/// Members are on another shard than the room's home, and get what is published at once in one send.
fn publish(members: &[(Dialect, u32)]) -> Box<dyn FnMut()> {
    let mut rig = Rig::new(2, 1_000);
    let room = rig.room_at(0, HISTORY);
    for &(dialect, count) in members {
        rig.crowd(1, dialect, &room, count);
    }
    let bytes = Bytes::from_static(PAYLOAD.as_bytes());
    Box::new(move || {
        for _ in 0..AT_ONCE {
            let payload = Payload {
                bytes: bytes.clone(),
                is_json: true,
            };
            let publish = Publish {
                room: room.as_str().into(),
                payload,
                tags: Vec::new(),
                skip_history: false,
                idempotency_key: None,
            };
            let reply = |result: Result<Published, ApiError>| assert!(result.is_ok());
            rig.handle().publish(publish, Box::new(reply));
        }
        rig.settle();
    })
}

fn ingest() -> Box<dyn FnMut()> {
    let mut rig = Rig::new(1, 1);
    let service = rig.connect_service(0);
    let room = rig.room_at(0, HISTORY);
    let input = Dialect::Native
        .publish(&room, PAYLOAD)
        .repeat(AT_ONCE as usize);
    Box::new(move || {
        rig.receive(service, &input);
        rig.run(0);
    })
}

fn join_and_leave() -> Box<dyn FnMut()> {
    let mut rig = Rig::new(1, 100 + AT_ONCE);
    rig.crowd(0, Dialect::Native, "room", 100);
    let clients: Vec<Client> = (0..AT_ONCE)
        .map(|_| rig.connect(0, Dialect::Native))
        .collect();
    let (join, leave) = (Dialect::Native.join("room"), Dialect::Native.leave("room"));
    Box::new(move || {
        for bytes in [&join, &leave] {
            let before = rig.sent(0).sends;
            for &client in &clients {
                rig.receive(client, bytes);
            }
            rig.run(0);
            assert_eq!(rig.sent(0).sends - before, u64::from(AT_ONCE), "answers");
        }
    })
}

fn hop() -> Box<dyn FnMut()> {
    let mut rig = Rig::new(2, 1);
    let frame = Bytes::from(vec![7; 64]);
    Box::new(move || {
        for _ in 0..AT_ONCE {
            rig.hop(0, 1, &frame);
        }
        rig.run(0);
        rig.run(1);
    })
}

fn decode_native() -> Box<dyn FnMut()> {
    let frame = Dialect::Native.publish("room", PAYLOAD);
    Box::new(move || {
        let decoded = native::decode_client(black_box(&frame), 1 << 16);
        assert!(matches!(
            black_box(decoded),
            Ok(Some((native::ClientFrame::Publish(_), _)))
        ));
    })
}

fn decode_web_socket() -> Box<dyn FnMut()> {
    let limits = ws::Limits {
        message_bytes_max: 1 << 16,
        fragments_max: 16,
    };
    let masked = Dialect::Centrifuge.publish("room", PAYLOAD);
    let mut frame = masked.clone();
    let mut decoder = ws::Decoder::new(ws::Role::Server);
    Box::new(move || {
        // It is unmasked in place.
        frame.copy_from_slice(&masked);
        let Ok((_, Some(ws::Event::Text(text)))) = decoder.next(black_box(&mut frame), &limits)
        else {
            unreachable!("a text message was written");
        };
        assert_eq!(json::commands(text).filter(Result::is_ok).count(), 1);
    })
}
