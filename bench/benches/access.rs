//! Reading a message where it lies against parsing it: the reason for rkyv in the native protocol.
//!
//! The same publication, as the archive of the native protocol with checked access, and as JSON by `serde_json` with
//! everything borrowed that can be. Both end with the offset, the room and a slice of the payload, and neither
//! looks into the payload, but for JSON that has to find its end.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare_bench::stamp;
use fanfare_wire::native::{self, ServerFrame};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Serialize, Deserialize)]
struct Message<'a> {
    offset: u64,
    room: u32,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn read_a_publication(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read a publication");
    for bytes in [64, 1_024, 65_536] {
        let payload = stamp::payload(17, bytes);
        group.throughput(Throughput::Bytes(bytes as u64));

        let mut frame = Vec::new();
        native::write_publication(&mut frame, 7, 17, payload.as_bytes());
        group.bench_function(BenchmarkId::new("rkyv, checked access", bytes), |bencher| {
            bencher.iter(|| match native::decode_server(black_box(&frame), 1 << 20) {
                Ok(Some((ServerFrame::Publication(read), _))) => {
                    (read.offset, read.room, read.data.len())
                }
                _ => unreachable!("a publication was written"),
            });
        });

        let data: &RawValue = serde_json::from_str(&payload).expect("payloads are JSON");
        let message = Message {
            offset: 17,
            room: 7,
            data,
        };
        let text = serde_json::to_vec(&message).expect("plain fields");
        group.bench_function(BenchmarkId::new("serde_json, borrowed", bytes), |bencher| {
            bencher.iter(|| {
                let read: Message<'_> =
                    serde_json::from_slice(black_box(&text)).expect("it was written by serde_json");
                (read.offset, read.room, read.data.get().len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, read_a_publication);
criterion_main!(benches);
