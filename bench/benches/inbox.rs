//! A frame from one shard to another, where no lane waits for it: what the way costs, and the wake-up's decision.
//!
//! Both shards turn on one thread, so this has the instructions of a hop and not the cache lines that travel between
//! cores. A turn's own cost is shared by the frames that are sent at once. Throughput is in frames.
#![allow(missing_docs)]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare_engine::bench::Rig;

fn hop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hop between shards");
    let frame = Bytes::from(vec![7; 64]);
    for at_once in [1, 64, 1_024] {
        let mut rig = Rig::new(2, 1);
        group.throughput(Throughput::Elements(at_once));
        group.bench_function(BenchmarkId::new("frames at once", at_once), |bencher| {
            bencher.iter(|| {
                for _ in 0..at_once {
                    rig.hop(0, 1, &frame);
                }
                rig.run(0);
                rig.run(1);
                rig.sent(0)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hop);
criterion_main!(benches);
