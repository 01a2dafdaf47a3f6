//! One publication to all members of a room on one shard, without a kernel: the frame is appended to the lane, and the
//! sweep plans and hands over one send per member.
//!
//! What a delivery costs here is what the engine adds to the kernel's 5 µs. Throughput is in deliveries.
#![allow(missing_docs)]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare_engine::bench::{Dialect, LaneRef, Rig};
use fanfare_wire::native;

/// Rooms, and members of each.
const ROOMS: [(u32, u32); 4] = [(1, 1), (1, 100), (1, 15_000), (150, 100)];

fn append_and_sweep(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append and sweep");
    let mut frame = Vec::new();
    native::write_publication(&mut frame, 7, 17, br#"{"test":1}"#);
    let frame = Bytes::from(frame);
    for (rooms, members) in ROOMS {
        let mut rig = Rig::new(1, rooms * members);
        let mut lanes: Vec<LaneRef> = Vec::new();
        for number in 0..rooms {
            let room = format!("room-{number}");
            rig.crowd(0, Dialect::Native, &room, members);
            lanes.extend(rig.lane(0, &room, Dialect::Native));
        }
        group.throughput(Throughput::Elements(u64::from(rooms * members)));
        let id = BenchmarkId::new(format!("rooms: {rooms}, members of each"), members);
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                for &lane in &lanes {
                    rig.append(lane, &frame);
                }
                rig.run(0);
                rig.sent(0)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append_and_sweep);
criterion_main!(benches);
