//! Publications at a room's home: ordered, kept in the history, encoded once per encoding, forwarded.
//!
//! Requests come 64 at once, as on a busy shard. Where there are members, what their shard does is measured with it,
//! and there the 64 leave in one send. Throughput is in publications.
#![allow(missing_docs)]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanfare_engine::api::{Payload, Publish};
use fanfare_engine::bench::{Dialect, HISTORY, Rig};

const AT_ONCE: u32 = 64;

const PAYLOAD: &str = r#"{"test":1}"#;

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish with history");
    group.throughput(Throughput::Elements(u64::from(AT_ONCE)));
    let members: [(&str, &[(usize, Dialect)]); 3] = [
        ("handle, no members", &[]),
        ("handle, a member here", &[(0, Dialect::Native)]),
        (
            "handle, two encodings on another shard",
            &[(1, Dialect::Native), (1, Dialect::Centrifuge)],
        ),
    ];
    for (name, members) in members {
        let mut rig = Rig::new(2, 8);
        let room = rig.room_at(0, HISTORY);
        for &(shard, dialect) in members {
            rig.crowd(shard, dialect, &room, 1);
        }
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for _ in 0..AT_ONCE {
                    rig.handle().publish(publication(&room), Box::new(|_| ()));
                }
                rig.settle();
            });
        });
    }

    let mut rig = Rig::new(1, 8);
    let service = rig.connect_service(0);
    let room = rig.room_at(0, HISTORY);
    let frames = Dialect::Native
        .publish(&room, PAYLOAD)
        .repeat(AT_ONCE as usize);
    group.bench_function("native connection, acknowledged, no members", |bencher| {
        bencher.iter(|| {
            rig.receive(service, &frames);
            rig.run(0);
        });
    });
    group.finish();
}

fn publication(room: &str) -> Publish {
    Publish {
        room: room.into(),
        payload: Payload {
            bytes: Bytes::from_static(PAYLOAD.as_bytes()),
            is_json: true,
        },
        tags: Vec::new(),
        skip_history: false,
        idempotency_key: None,
    }
}

criterion_group!(benches, publish);
criterion_main!(benches);
