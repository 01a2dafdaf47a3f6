//! The codecs on bytes in memory: what a shard spends per frame besides the kernel's part.
//!
//! A publication is encoded once per room and dialect; a frame of a client is decoded once. Throughput is in bytes of
//! payload, so that the copies show beside the fixed part.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare_bench::stamp;
use fanfare_wire::centrifuge::{Data, Publication, json};
use fanfare_wire::{native, ws};

/// A chat message, a game state, and the largest that a client may send.
const PAYLOAD_BYTES: [usize; 3] = [64, 1_024, 65_536];

const LIMITS: ws::Limits = ws::Limits {
    message_bytes_max: 1 << 20,
    fragments_max: 16,
};

fn encode_a_publication(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode a publication");
    for bytes in PAYLOAD_BYTES {
        let payload = stamp::payload(17, bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        let mut out = Vec::with_capacity(2 * bytes);
        group.bench_function(BenchmarkId::new("native", bytes), |bencher| {
            bencher.iter(|| {
                out.clear();
                native::write_publication(
                    &mut out,
                    7,
                    black_box(17),
                    black_box(payload.as_bytes()),
                );
                out.len()
            });
        });
        let publication = Publication {
            delta: false,
            data: Data::Json(payload.as_bytes()),
            info: None,
            offset: 17,
            tags: &[],
            time_unix_ms: 0,
        };
        group.bench_function(BenchmarkId::new("centrifuge json", bytes), |bencher| {
            bencher.iter(|| {
                out.clear();
                ws::write_frame_with(&mut out, ws::Opcode::Text, |out| {
                    json::write_publication_push(out, "room", black_box(&publication));
                });
                out.len()
            });
        });
    }
    group.finish();
}

fn decode_what_a_client_sends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode a publish of a client");
    for bytes in PAYLOAD_BYTES {
        let payload = stamp::payload(17, bytes);
        group.throughput(Throughput::Bytes(bytes as u64));

        let mut frame = Vec::new();
        let publish = native::Publish {
            request: 1,
            room: "room",
            data: payload.as_bytes(),
        };
        native::write_publish(&mut frame, &publish);
        group.bench_function(BenchmarkId::new("native", bytes), |bencher| {
            bencher.iter(|| {
                // All of it is wanted, or what nobody looks at is not decoded.
                let decoded = black_box(native::decode_client(black_box(&frame), 1 << 20));
                matches!(decoded, Ok(Some((native::ClientFrame::Publish(_), _))))
            });
        });

        let command = format!(r#"{{"id":1,"publish":{{"channel":"room","data":{payload}}}}}"#);
        group.bench_function(BenchmarkId::new("centrifuge json", bytes), |bencher| {
            bencher.iter(|| {
                json::commands(black_box(&command))
                    .filter(Result::is_ok)
                    .count()
            });
        });
    }
    group.finish();
}

fn read_a_web_socket_message(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read a WebSocket message");
    for bytes in PAYLOAD_BYTES {
        let payload = stamp::payload(17, bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        for (name, opcode) in [
            ("unmask binary", ws::Opcode::Binary),
            ("unmask and check text", ws::Opcode::Text),
        ] {
            let mut frame = Vec::new();
            ws::write_masked_frame(&mut frame, opcode, payload.as_bytes(), [1, 2, 3, 4]);
            group.bench_function(BenchmarkId::new(name, bytes), |bencher| {
                // Unmasked in place, so every run needs a masked one: the copy is not measured.
                bencher.iter_batched_ref(
                    || frame.clone(),
                    |frame| {
                        let mut decoder = ws::Decoder::new(ws::Role::Server);
                        let read = decoder.next(black_box(frame), &LIMITS);
                        matches!(read, Ok((_, Some(_))))
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(
    benches,
    encode_a_publication,
    decode_what_a_client_sends,
    read_a_web_socket_message
);
criterion_main!(benches);
