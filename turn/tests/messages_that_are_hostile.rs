//! Bytes that are no messages, and messages that have been tampered with.
#![allow(missing_docs)]

use fanfare_turn::stun::{
    AttributeType, Class, Integrity, Key, Malformed, Message, Method, PasswordAlgorithm, Writer,
};

const LIFETIME: [u8; 4] = [0, 0, 0, 60];

fn key() -> Key {
    Key::long_term(PasswordAlgorithm::Md5, b"ann", b"example.org", b"pass")
}

/// A signed request for an allocation of a minute.
fn request(integrity: Integrity, has_fingerprint: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, Class::Request, Method::ALLOCATE, [1; 12]);
    writer
        .attribute(AttributeType::USERNAME, b"ann")
        .attribute(AttributeType::LIFETIME, &LIFETIME)
        .integrity(integrity, &key());
    if has_fingerprint {
        writer.fingerprint();
    }
    out
}

/// The message with these bytes behind it, and with the length of both in its header.
fn with_tail(mut message: Vec<u8>, tail: &[u8]) -> Vec<u8> {
    message.extend_from_slice(tail);
    let length = u16::try_from(message.len() - 20).expect("a short message");
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

fn attribute(kind: AttributeType, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out, Class::Request, Method::BINDING, [0; 12]).attribute(kind, value);
    out.split_off(20)
}

#[test]
fn headers_that_are_none() {
    let good = request(Integrity::Sha1, true);
    assert!(Message::parse(&good).is_ok());
    for length in 0..good.len() {
        assert_eq!(
            Message::parse(&good[..length]).err(),
            Some(Malformed::Header)
        );
    }
    // A byte more than the header says; a datagram of another protocol; the cookie of none.
    let changed = |at: usize, to: u8| {
        let mut changed = good.clone();
        changed[at] = to;
        changed
    };
    let longer = [&good[..], &[0]].concat();
    let by_four = [&good[..], &[0; 4]].concat();
    for bad in [
        longer,
        by_four,
        changed(0, 0x40),
        changed(0, 0x80),
        changed(0, 0xc0),
        changed(4, 0x20),
    ] {
        assert_eq!(Message::parse(&bad).err(), Some(Malformed::Header));
    }
    // A length that is no multiple of four.
    let odd = with_tail(good.clone(), &[0, 0, 0]);
    assert_eq!(Message::parse(&odd).err(), Some(Malformed::Header));
}

#[test]
fn attributes_that_run_past_the_end() {
    let base = || {
        let mut out = Vec::new();
        Writer::new(&mut out, Class::Request, Method::ALLOCATE, [1; 12])
            .attribute(AttributeType::LIFETIME, &LIFETIME);
        out
    };
    for (length, rest) in [(1, 0), (4, 0), (5, 4), (0xffff, 8), (0xfffd, 8), (9, 8)] {
        let mut tail = vec![0x80, 0x22];
        tail.extend_from_slice(&u16::to_be_bytes(length));
        tail.resize(4 + rest, 0);
        let bad = with_tail(base(), &tail);
        assert_eq!(
            Message::parse(&bad).err(),
            Some(Malformed::Attribute),
            "{length} in {rest}"
        );
    }
    let empty = with_tail(base(), &[0x80, 0x22, 0, 0]);
    let message = Message::parse(&empty).expect("an empty attribute is one");
    assert_eq!(message.first(AttributeType::SOFTWARE), Some(&[][..]));
}

#[test]
fn as_many_attributes_as_make_sense() {
    let many = |count: usize| {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, Method::ALLOCATE, [1; 12]);
        for at in 0..count {
            let number = u8::try_from(at % 256).expect("below 256");
            writer.attribute(AttributeType::LIFETIME, &[0, 0, 0, number]);
        }
        out
    };
    let most = many(128);
    let message = Message::parse(&most).expect("as many as there may be");
    assert_eq!(message.attributes().count(), 128);
    // Of attributes that are there twice, the first counts.
    assert_eq!(
        message.first(AttributeType::LIFETIME),
        Some(&[0, 0, 0, 0][..])
    );
    for count in [129, 1_000, 8_000] {
        assert_eq!(
            Message::parse(&many(count)).err(),
            Some(Malformed::TooManyAttributes)
        );
    }
}

#[test]
fn a_fingerprint_is_right_and_at_the_end() {
    let good = request(Integrity::Sha1, true);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        // Or it is not one of FINGERPRINT any more.
        let has_fingerprint = Message::parse(&bad).is_ok_and(|it| it.has_fingerprint());
        assert!(!has_fingerprint, "byte {at}");
    }
    let tail = attribute(AttributeType::SOFTWARE, b"more");
    let bad = with_tail(request(Integrity::Sha1, true), &tail);
    assert_eq!(Message::parse(&bad).err(), Some(Malformed::Fingerprint));
}

#[test]
fn what_is_appended_behind_the_signature_has_no_effect() {
    for integrity in [Integrity::Sha1, Integrity::Sha256] {
        for (kind, value) in [
            (AttributeType::LIFETIME, &[0, 0, 0x0e, 0x10][..]),
            (AttributeType::XOR_PEER_ADDRESS, &[0, 1, 2, 3, 4, 5, 6, 7]),
            (AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]),
        ] {
            let appended = with_tail(request(integrity, false), &attribute(kind, value));
            let message = Message::parse(&appended).expect("a message");
            assert!(message.is_signed_with(&key()));
            assert_eq!(message.first(AttributeType::LIFETIME), Some(&LIFETIME[..]));
            assert_eq!(message.attributes().count(), 2);
        }
    }
}

#[test]
fn no_byte_of_what_is_signed_can_be_changed() {
    for integrity in [Integrity::Sha1, Integrity::Sha256] {
        let good = request(integrity, false);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let is_signed = Message::parse(&bad).is_ok_and(|it| it.is_signed_with(&key()));
                assert!(!is_signed, "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn a_signature_of_sha256_may_be_cut_off_but_not_below_half() {
    let whole = request(Integrity::Sha256, false);
    for length in 0..=40 {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, Method::ALLOCATE, [1; 12]);
        writer
            .attribute(AttributeType::USERNAME, b"ann")
            .attribute(AttributeType::LIFETIME, &LIFETIME);
        // What is signed has the length of what the signature is cut to.
        let padded = usize::next_multiple_of(length, 4);
        let mut cut = signature_for(&out, padded).to_vec();
        cut.resize(length, 0);
        let message = with_tail(
            out,
            &attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &cut),
        );
        let is_signed = Message::parse(&message)
            .expect("a message")
            .is_signed_with(&key());
        assert_eq!(
            is_signed,
            [16, 20, 24, 28, 32].contains(&length),
            "{length} bytes"
        );
    }
    assert!(
        Message::parse(&whole)
            .expect("a message")
            .is_signed_with(&key())
    );
}

/// HMAC-SHA256 of a message to which a signature of so many bytes is added, by another implementation.
fn signature_for(message: &[u8], length: usize) -> [u8; 32] {
    use hmac::{Hmac, KeyInit, Mac};
    use md5::Digest;
    let key = md5::Md5::digest(b"ann:example.org:pass");
    let mut mac = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(&key).expect("a key");
    let total = u16::try_from(message.len() - 20 + 4 + length).expect("a short message");
    mac.update(&message[..2]);
    mac.update(&total.to_be_bytes());
    mac.update(&message[4..]);
    mac.finalize().into_bytes().into()
}
