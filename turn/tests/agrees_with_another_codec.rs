//! What a message says, compared with what `stun-types` reads in it.
#![allow(missing_docs)]

use fanfare_turn::stun::{
    AttributeType, Class, HEADER_BYTES, Integrity, Key, Malformed, Message, Method,
    PasswordAlgorithm, Writer,
};
use proptest::prelude::*;
use stun_types::attribute::Attribute;
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message as Theirs, MessageClass,
    MessageIntegrityCredentials,
};

/// What integrity and fingerprint begin with: behind it nothing is said any more.
const ENDS: [AttributeType; 3] = [
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::FINGERPRINT,
];

#[derive(Debug, Clone)]
struct Made {
    attributes: Vec<(u16, Vec<u8>)>,
    /// In which order it is signed, and whether it has a fingerprint.
    signatures: Vec<Integrity>,
    has_fingerprint: bool,
    /// Appended behind, as an attribute of the message.
    tail: Option<(u16, Vec<u8>)>,
    /// Bytes that are changed in the end.
    changes: Vec<(prop::sample::Index, u8)>,
}

fn made() -> impl Strategy<Value = Made> {
    let kind = prop_oneof![
        Just(0x0006_u16),
        Just(0x0008),
        Just(0x000d),
        Just(0x0012),
        Just(0x0014),
        Just(0x0015),
        Just(0x001c),
        Just(0x8028),
        any::<u16>()
    ];
    let attribute = (kind, prop::collection::vec(any::<u8>(), 0..40));
    let integrity = prop_oneof![Just(Integrity::Sha1), Just(Integrity::Sha256)];
    (
        prop::collection::vec(attribute.clone(), 0..8),
        prop::collection::vec(integrity, 0..3),
        any::<bool>(),
        prop::option::of(attribute),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    )
        .prop_map(
            |(attributes, signatures, has_fingerprint, tail, changes)| Made {
                attributes,
                signatures,
                has_fingerprint,
                tail,
                changes,
            },
        )
}

fn key(integrity: Integrity) -> Key {
    // Theirs has no other pairs of signature and key.
    let algorithm = match integrity {
        Integrity::Sha1 => PasswordAlgorithm::Md5,
        Integrity::Sha256 => PasswordAlgorithm::Sha256,
    };
    Key::long_term(algorithm, b"ann", b"example.org", b"pass")
}

fn bytes(made: &Made) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, Class::Request, Method::ALLOCATE, [5; 12]);
    for (kind, value) in &made.attributes {
        writer.attribute(AttributeType(*kind), value);
    }
    for integrity in &made.signatures {
        writer.integrity(*integrity, &key(*integrity));
    }
    if made.has_fingerprint {
        writer.fingerprint();
    }
    if let Some((kind, value)) = &made.tail {
        writer.attribute(AttributeType(*kind), value);
    }
    for (at, to) in &made.changes {
        let at = at.index(out.len());
        out[at] = *to;
    }
    out
}

fn compare(bytes: &[u8]) -> Result<(), TestCaseError> {
    let ours = Message::parse(bytes);
    let theirs = Theirs::from_bytes(bytes);
    let (ours, theirs) = match (ours, theirs) {
        (Err(_), Err(_)) => return Ok(()),
        // Where we are stricter: theirs reads what is behind the declared length, and ends at a FINGERPRINT that is not
        // the end.
        (Err(Malformed::Header), Ok(_)) => {
            let declared = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
            prop_assert!(declared + HEADER_BYTES != bytes.len() || declared % 4 != 0);
            return Ok(());
        }
        (Err(Malformed::Fingerprint), Ok(_)) => return Ok(()),
        // It does not look at what follows the first attribute that is out of place behind a signature.
        (Err(Malformed::Attribute), Ok(theirs)) => {
            let has_end = theirs
                .iter_attributes()
                .any(|(_, it)| ENDS.contains(&AttributeType(it.get_type().value())));
            prop_assert!(has_end);
            return Ok(());
        }
        (Ok(_), Err(error)) => {
            // Theirs checks the length of signatures as it reads; here such a one is not anybody's.
            let message =
                Message::parse(bytes).map_err(|it| TestCaseError::fail(it.to_string()))?;
            prop_assert!(!message.is_signed_with(&key(Integrity::Sha1)), "{error}");
            return Ok(());
        }
        (Err(error), Ok(_)) => return Err(TestCaseError::fail(format!("only ours: {error}"))),
        (Ok(ours), Ok(theirs)) => (ours, theirs),
    };
    let class = match theirs.class() {
        MessageClass::Request => Class::Request,
        MessageClass::Indication => Class::Indication,
        MessageClass::Success => Class::Success,
        MessageClass::Error => Class::Error,
    };
    prop_assert_eq!(ours.class(), class);
    prop_assert_eq!(ours.method().number(), theirs.method().value());
    prop_assert_eq!(
        u128::from(theirs.transaction_id()).to_be_bytes()[4..].to_vec(),
        ours.transaction().to_vec()
    );
    let said: Vec<_> = theirs
        .iter_attributes()
        .map(|(_, it)| (it.get_type().value(), it.value.to_vec()))
        .take_while(|(kind, _)| !ENDS.contains(&AttributeType(*kind)))
        .collect();
    let read: Vec<_> = ours
        .attributes()
        .map(|it| (it.kind.0, it.value.to_vec()))
        .collect();
    prop_assert_eq!(read, said);
    // With something else between two signatures theirs stops looking for the second; RFC 8489 section 14.5 says to ignore
    // what is between.
    let ends: Vec<_> = theirs
        .iter_attributes()
        .map(|(_, it)| AttributeType(it.get_type().value()))
        .skip_while(|kind| !ENDS.contains(kind))
        .collect();
    let counts_what_theirs_does_not = ours.integrity().is_some_and(|integrity| {
        let kind = match integrity {
            Integrity::Sha1 => AttributeType::MESSAGE_INTEGRITY,
            Integrity::Sha256 => AttributeType::MESSAGE_INTEGRITY_SHA256,
        };
        !ends.contains(&kind)
    });
    if counts_what_theirs_does_not {
        return Ok(());
    }
    let credentials = MessageIntegrityCredentials::LongTerm(LongTermKeyCredentials::new(
        "ann".to_owned(),
        "pass".to_owned(),
        "example.org".to_owned(),
    ));
    let by_them = theirs
        .validate_integrity(&credentials)
        .ok()
        .map(|it| match it {
            IntegrityAlgorithm::Sha1 => Integrity::Sha1,
            IntegrityAlgorithm::Sha256 => Integrity::Sha256,
        });
    let by_us = ours
        .integrity()
        .filter(|integrity| ours.is_signed_with(&key(*integrity)));
    prop_assert_eq!(by_us, by_them);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_say_the_same(made in made()) {
        compare(&bytes(&made))?;
    }

    #[test]
    fn any_bytes_are_read_alike(
        mut bytes in prop::collection::vec(prop_oneof![0..9_u8, Just(0x80), Just(0x28), any::<u8>()], 20..100),
        has_header in prop::bool::weighted(0.9),
    ) {
        if has_header {
            bytes.truncate(bytes.len() / 4 * 4);
            let length = u8::try_from(bytes.len() - HEADER_BYTES).expect("a short message");
            bytes[..8].copy_from_slice(&[0, 1, 0, length, 0x21, 0x12, 0xa4, 0x42]);
        }
        compare(&bytes)?;
    }
}
