//! The sample messages of RFC 5769 and of RFC 8489 appendix B.1 (with its errata), read and written.
#![allow(missing_docs)]

use fanfare_turn::stun::{
    AttributeType, Class, Integrity, Key, Message, Method, PasswordAlgorithm, TransactionId,
    Writer, userhash,
};

const USER: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
const REALM: &[u8] = b"example.org";
/// What "The\u{AD}M\u{AA}tr\u{2168}" is prepared to.
const PASSWORD: &[u8] = b"TheMatrIX";
const SHORT_TERM_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const PRIORITY: AttributeType = AttributeType(0x0024);
const ICE_CONTROLLED: AttributeType = AttributeType(0x8029);

const REQUEST: &str = "\
    000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff\
    80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249\
    c1b571a280280004e57a3bcf";
const RESPONSE_IPV4: &str = "\
    0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643\
    000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
const RESPONSE_IPV6: &str = "\
    010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9fa\
    a5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
const LONG_TERM: &str = "\
    000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b900000015001c\
    662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f72670000080014\
    f67024656dd64a3e02b8e0712e85c9a28ca89666";
const LONG_TERM_SHA256: &str = "\
    000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b2\
    05c46e41407f1704001500296f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c3946535476\
    79363473410000000014000b6578616d706c652e6f726700001d000400020000001c0020b5c7bf005b6c52a21c51c5e8\
    92f81924136296cb927c43149309278cc6518e65";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
        .collect()
}

fn transaction(of: &[u8]) -> TransactionId {
    of[8..20].try_into().expect("12 bytes")
}

/// The same, with what the writer puts into the padding, and signed anew as the vector is.
fn rewritten(vector: &[u8], key: &Key) -> Vec<u8> {
    let message = Message::parse(vector).expect("a message");
    let mut out = Vec::new();
    let mut writer = Writer::new(
        &mut out,
        message.class(),
        message.method(),
        transaction(vector),
    );
    for attribute in message.attributes() {
        match message.address(attribute.value) {
            Some(address) if attribute.kind == AttributeType::XOR_MAPPED_ADDRESS => {
                writer.xor_address(attribute.kind, address);
            }
            _ => {
                writer.attribute(attribute.kind, attribute.value);
            }
        }
    }
    writer.integrity(message.integrity().expect("it is signed"), key);
    if message.has_fingerprint() {
        writer.fingerprint();
    }
    out
}

#[test]
fn a_request_of_the_short_term_mechanism() {
    let vector = bytes(REQUEST);
    let message = Message::parse(&vector).expect("a message");
    assert_eq!(
        (message.class(), message.method()),
        (Class::Request, Method::BINDING)
    );
    assert!(message.has_fingerprint());
    let kinds: Vec<_> = message.attributes().map(|it| it.kind).collect();
    let expected = [
        AttributeType::SOFTWARE,
        PRIORITY,
        ICE_CONTROLLED,
        AttributeType::USERNAME,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(
        message.first(AttributeType::SOFTWARE),
        Some(&b"STUN test client"[..])
    );
    assert_eq!(
        message.first(AttributeType::USERNAME),
        Some(&b"evtj:h6vY"[..])
    );
    assert_eq!(message.first(PRIORITY), Some(&[0x6e, 0, 1, 0xff][..]));
    let key = Key::short_term(SHORT_TERM_PASSWORD).expect("a password of ordinary length");
    assert_eq!(message.integrity(), Some(Integrity::Sha1));
    // The padding is of spaces, and signed.
    assert!(message.is_signed_with(&key));
    assert!(!message.is_signed_with(&Key::short_term(b"VOkJxbRl1RmTxUk/WvJxBT").expect("a key")));
    let again = rewritten(&vector, &key);
    assert!(
        Message::parse(&again)
            .expect("a message")
            .is_signed_with(&key)
    );
    let differ: Vec<_> = (0..vector.len())
        .filter(|at| vector[*at] != again[*at])
        .collect();
    assert!(
        differ
            .iter()
            .all(|at| (73..76).contains(at) || (80..100).contains(at) || *at >= 104)
    );
}

#[test]
fn responses_with_an_address_of_each_family() {
    let key = Key::short_term(SHORT_TERM_PASSWORD).expect("a password of ordinary length");
    for (hex, address) in [
        (RESPONSE_IPV4, "192.0.2.1:32853"),
        (
            RESPONSE_IPV6,
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ),
    ] {
        let vector = bytes(hex);
        let message = Message::parse(&vector).expect("a message");
        assert_eq!(
            (message.class(), message.method()),
            (Class::Success, Method::BINDING)
        );
        let value = message
            .first(AttributeType::XOR_MAPPED_ADDRESS)
            .expect("there is one");
        assert_eq!(
            message.address(value),
            Some(address.parse().expect("an address"))
        );
        assert_eq!(
            message.first(AttributeType::SOFTWARE),
            Some(&b"test vector"[..])
        );
        assert!(message.has_fingerprint() && message.is_signed_with(&key));
        assert_eq!(
            Message::parse(&rewritten(&vector, &key)).map(|it| it.is_signed_with(&key)),
            Ok(true)
        );
    }
}

#[test]
fn a_request_of_the_long_term_mechanism() {
    let vector = bytes(LONG_TERM);
    let message = Message::parse(&vector).expect("a message");
    assert!(!message.has_fingerprint());
    assert_eq!(
        message.first(AttributeType::USERNAME),
        Some(USER.as_bytes())
    );
    assert_eq!(message.first(AttributeType::REALM), Some(REALM));
    assert_eq!(
        message.first(AttributeType::NONCE),
        Some(&b"f//499k954d6OL34oL9FSTvy64sA"[..])
    );
    let key = |password| Key::long_term(PasswordAlgorithm::Md5, USER.as_bytes(), REALM, password);
    assert!(message.is_signed_with(&key(PASSWORD)));
    assert!(!message.is_signed_with(&key(b"TheMatrix")));
    assert_eq!(rewritten(&vector, &key(PASSWORD)), vector);
}

#[test]
fn a_request_with_a_hash_in_place_of_the_user_name() {
    let vector = bytes(LONG_TERM_SHA256);
    let message = Message::parse(&vector).expect("a message");
    let hash = userhash(USER.as_bytes(), REALM);
    assert_eq!(message.first(AttributeType::USERHASH), Some(&hash[..]));
    assert_eq!(
        message.first(AttributeType::PASSWORD_ALGORITHM),
        Some(&[0, 2, 0, 0][..])
    );
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
    let key = Key::long_term(PasswordAlgorithm::Sha256, USER.as_bytes(), REALM, PASSWORD);
    assert!(message.is_signed_with(&key));
    assert_eq!(rewritten(&vector, &key), vector);
}

/// How a message is signed and how a key is made are chosen apart: a client of SHA-256 signatures may have a key of MD5.
#[test]
fn the_same_request_with_a_key_of_md5() {
    let key = Key::long_term(PasswordAlgorithm::Md5, USER.as_bytes(), REALM, PASSWORD);
    let vector = bytes(LONG_TERM_SHA256);
    let message = Message::parse(&vector).expect("a message");
    let mut out = Vec::new();
    let mut writer = Writer::new(
        &mut out,
        Class::Request,
        Method::BINDING,
        transaction(&vector),
    );
    let kept = |kind| kind != AttributeType::PASSWORD_ALGORITHM;
    for attribute in message.attributes().filter(|it| kept(it.kind)) {
        writer.attribute(attribute.kind, attribute.value);
    }
    writer.integrity(Integrity::Sha256, &key);
    assert_eq!(out.len(), 156);
    let signature = &out[out.len() - 32..];
    assert!(signature.starts_with(&bytes("fd8c2738")) && signature.ends_with(&bytes("b955ba")));
    assert!(
        Message::parse(&out)
            .expect("a message")
            .is_signed_with(&key)
    );
}
