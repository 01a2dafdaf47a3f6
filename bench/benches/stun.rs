//! Messages of STUN: read and checked, refused, answered; beside a library that does the same.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fanfare_turn::nonce::{Features, Nonces};
use fanfare_turn::stun::{
    AttributeType, Class, Integrity, Key, Message, Method, PasswordAlgorithm, Writer,
};
use stun_types::message::{LongTermKeyCredentials, Message as Theirs, MessageIntegrityCredentials};

/// A signed request for an allocation, as browsers send it, with this cookie.
fn request(cookie: u8) -> Vec<u8> {
    let client = "192.0.2.1:5000".parse().expect("an address");
    let nonce = Nonces::new([7; 32]).make(client, 1_700_000_000, Features::default());
    let mut out = Vec::new();
    Writer::new(&mut out, Class::Request, Method::ALLOCATE, [7; 12])
        .attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .attribute(AttributeType::USERNAME, b"1700003600:bob")
        .attribute(AttributeType::REALM, b"example.org")
        .attribute(AttributeType::NONCE, &nonce)
        .integrity(Integrity::Sha1, &key());
    out[4] = cookie;
    out
}

fn key() -> Key {
    Key::long_term(
        PasswordAlgorithm::Md5,
        b"1700003600:bob",
        b"example.org",
        b"pass",
    )
}

fn read(c: &mut Criterion) {
    let good = request(0x21);
    let mut cut = good.clone();
    // An attribute that runs past the end.
    cut[22..24].copy_from_slice(&[0xff, 0xff]);
    let mut group = c.benchmark_group("read");
    for (name, bytes) in [("a request", &good), ("what is no message", &cut)] {
        group.bench_function(format!("{name}, ours"), |b| {
            b.iter(|| Message::parse(black_box(bytes)).is_ok());
        });
        group.bench_function(format!("{name}, stun-types"), |b| {
            b.iter(|| Theirs::from_bytes(black_box(bytes)).is_ok());
        });
    }
    group.finish();
}

fn check(c: &mut Criterion) {
    let good = request(0x21);
    let (ours, key) = (Message::parse(&good).expect("a message"), key());
    let theirs = Theirs::from_bytes(&good).expect("a message");
    let credentials = MessageIntegrityCredentials::LongTerm(LongTermKeyCredentials::new(
        "1700003600:bob".to_owned(),
        "pass".to_owned(),
        "example.org".to_owned(),
    ));
    let their_key = credentials.make_key(stun_types::message::IntegrityAlgorithm::Sha1);
    assert!(ours.is_signed_with(&key));
    assert!(theirs.validate_integrity_with_key(&their_key).is_ok());
    let mut group = c.benchmark_group("check a signature");
    group.bench_function("ours", |b| b.iter(|| ours.is_signed_with(black_box(&key))));
    group.bench_function("stun-types", |b| {
        b.iter(|| {
            theirs
                .validate_integrity_with_key(black_box(&their_key))
                .is_ok()
        });
    });
    group.finish();
}

fn challenge(c: &mut Criterion) {
    let nonces = Nonces::new([7; 32]);
    let client = "192.0.2.1:5000".parse().expect("an address");
    let mut out = Vec::new();
    c.bench_function("answer a stranger with 401", |b| {
        b.iter(|| {
            out.clear();
            let nonce = nonces.make(black_box(client), 1_700_000_000, Features::default());
            Writer::new(&mut out, Class::Error, Method::ALLOCATE, [7; 12])
                .error(401)
                .attribute(AttributeType::REALM, b"example.org")
                .attribute(AttributeType::NONCE, &nonce);
            out.len()
        });
    });
}

criterion_group!(benches, read, check, challenge);
criterion_main!(benches);
