//! `tests/golden/fossil/cases.tsv`: pairs of documents, the deltas a reference encoder makes of them, and ours, which the
//! decoders of two Centrifuge SDKs have applied (`peers.mjs` and `peers.py` beside it say how, and how to make the file).
//!
//! `FANFARE_BLESS=1` writes our deltas anew, which is only right together with another check by those decoders.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_wire::fossil::{self, DeltaError, Scratch};

struct Case {
    name: String,
    source: Vec<u8>,
    target: Vec<u8>,
    reference: Vec<u8>,
    ours: Option<Vec<u8>>,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fossil/cases.tsv")
}

fn cases() -> Vec<Case> {
    let text = fs::read_to_string(path()).unwrap();
    let cases: Vec<_> = text.lines().map(case).collect();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    cases
}

fn case(line: &str) -> Case {
    let fields: Vec<_> = line.split('\t').collect();
    let [name, source, target, reference, ours] = fields[..] else {
        panic!("a line has five fields: {line}");
    };
    let bytes = |field: &str| STANDARD.decode(field).unwrap();
    Case {
        name: name.to_owned(),
        source: bytes(source),
        target: bytes(target),
        reference: bytes(reference),
        ours: (ours != "-").then(|| bytes(ours)),
    }
}

/// Our delta, or `None` if it would be no shorter than the target.
fn delta(case: &Case) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let is_shorter = fossil::write_delta(
        &mut out,
        &case.source,
        &case.target,
        &mut Scratch::default(),
    );
    is_shorter.then_some(out)
}

#[test]
fn a_reference_encoders_deltas_make_their_targets() {
    for case in cases() {
        let made = fossil::apply_delta(&case.source, &case.reference, case.target.len());
        assert_eq!(made.as_ref(), Ok(&case.target), "{}", case.name);
    }
}

#[test]
fn our_deltas_are_those_the_sdks_have_applied() {
    if std::env::var_os("FANFARE_BLESS").is_some() {
        bless();
    }
    for case in cases() {
        let ours = delta(&case);
        assert_eq!(ours, case.ours, "{}", case.name);
        if let Some(ours) = ours {
            let made = fossil::apply_delta(&case.source, &ours, case.target.len());
            assert_eq!(made.as_ref(), Ok(&case.target), "{}", case.name);
        }
    }
}

/// What is sent for a case is the delta or, where it is no shorter, the target. The reference may split characters, which
/// saves it a few bytes; smaller blocks save us more, a tenth in sum.
#[test]
fn our_deltas_are_no_longer_than_the_references() {
    let mut ours_bytes = 0;
    let mut reference_bytes = 0;
    for case in cases() {
        let whole = case.target.len();
        let ours = delta(&case).map_or(whole, |delta| delta.len());
        let reference = case.reference.len().min(whole);
        assert!(ours <= reference + 10, "{}: {ours}, {reference}", case.name);
        ours_bytes += ours;
        reference_bytes += reference;
    }
    assert!(
        ours_bytes <= reference_bytes * 9 / 10,
        "{ours_bytes}, {reference_bytes}"
    );
}

/// Section 4.2 of Fossil's delta_format.wiki prints a delta and what each of its commands says, not the documents.
#[test]
fn the_example_of_the_specification_is_understood() {
    let commands =
        "1Xb\n4E@0,2:thFN@4C,6:scenda1B@Jd,6:scenda5x@Kt,6:pieces79@Qt,F: Example: eskil~E@Y0,";
    let source: Vec<u8> = (0..6222_u32)
        .flat_map(u32::to_le_bytes)
        .take(6222)
        .collect();
    let target = [
        &source[..270],
        b"th",
        &source[268..][..983],
        b"scenda",
        &source[1256..][..75],
        b"scenda",
        &source[1336..][..380],
        b"pieces",
        &source[1720..][..457],
        b" Example: eskil",
        &source[2176..][..4046],
    ]
    .concat();
    assert_eq!(target.len(), 6246);

    // The documents it was made from had the checksum it ends with; these have another.
    let theirs = format!("{commands}2zMM3E;");
    let made = fossil::apply_delta(&source, theirs.as_bytes(), 6246);
    assert_eq!(made, Err(DeltaError::WrongChecksum));
    let made = fossil::apply_delta(&source[..6221], theirs.as_bytes(), 6246);
    assert_eq!(made, Err(DeltaError::PastSource));

    let mut ours = Vec::new();
    assert!(fossil::write_delta(
        &mut ours,
        &source,
        &target,
        &mut Scratch::new()
    ));
    let checksum = ours.rsplit(|&byte| byte == b',').next().unwrap();
    let repaired = [commands.as_bytes(), checksum].concat();
    let made = fossil::apply_delta(&source, &repaired, 6246);
    assert_eq!(made, Ok(target));
}

fn bless() {
    let mut text = String::new();
    for case in cases() {
        let ours = delta(&case).map_or_else(|| "-".to_owned(), |ours| STANDARD.encode(ours));
        let [source, target, reference] =
            [case.source, case.target, case.reference].map(|bytes| STANDARD.encode(bytes));
        writeln!(
            text,
            "{}\t{source}\t{target}\t{reference}\t{ours}",
            case.name
        )
        .unwrap();
    }
    fs::write(path(), text).unwrap();
}
