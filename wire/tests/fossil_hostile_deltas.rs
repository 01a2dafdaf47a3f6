//! Whatever a delta says, it makes a target of the size it declares and with its checksum, or an error.

use fanfare_wire::fossil::{self, DeltaError, Scratch};
use proptest::prelude::*;
use proptest::sample::Index;

const SOURCE: &[u8] = b"{\"goal\":1,\"by\":\"home\",\"minute\":12}";

const TARGET_BYTES_MAX: usize = 1000;

fn apply(delta: &[u8]) -> Result<Vec<u8>, DeltaError> {
    fossil::apply_delta(SOURCE, delta, TARGET_BYTES_MAX)
}

#[test]
fn every_fault_has_its_error() {
    use DeltaError::{
        Malformed, NumberTooBig, PastSource, TargetTooBig, Truncated, WrongChecksum, WrongSize,
    };
    let cases: &[(&[u8], DeltaError)] = &[
        (b"", Truncated),
        (b"4", Truncated),
        (b"4\n", Truncated),
        (b"4\n4", Truncated),
        (b"4\n4@", Truncated),
        (b"4\n4@0", Truncated),
        (b"4\n4@0,", Truncated),
        (b"4\n4:abc", Truncated),
        (b"4\n4:abcd", Truncated),
        (b"4\n4:abcd1", Truncated),
        (b"\n", Malformed { at: 0 }),
        (b"4,", Malformed { at: 1 }),
        (b"-4\n", Malformed { at: 0 }),
        (b"\xB4\n", Malformed { at: 0 }),
        (b"4\n@0,", Malformed { at: 2 }),
        (b"4\n4@,", Malformed { at: 4 }),
        (b"4\n4@0;", Malformed { at: 5 }),
        (b"4\n4?", Malformed { at: 3 }),
        (b"0\n0;\n", Malformed { at: 4 }),
        // 2^32 and more, where the reference wraps.
        (b"400000\n", NumberTooBig { at: 5 }),
        (b"0\n0@~~~~~~~~~~~~,", NumberTooBig { at: 9 }),
        (
            b"3~~~~~\n",
            TargetTooBig {
                bytes: (1 << 32) - 1,
                bytes_max: 1000,
            },
        ),
        (
            b"Fe\n",
            TargetTooBig {
                bytes: 1001,
                bytes_max: 1000,
            },
        ),
        (b"4\n1@3~~~~~,", PastSource),
        (b"4\n3~~~~~@1,", PastSource),
        (b"Y\nY@1,", PastSource),
        (b"3\n4@0,", WrongSize { bytes: 3 }),
        (b"3\n4:abcd", WrongSize { bytes: 3 }),
        (b"5\n4:abcd1aOXa3;", WrongSize { bytes: 5 }),
        (b"4\n4:abcd0;", WrongChecksum),
    ];
    for (delta, error) in cases {
        let text = delta.escape_ascii();
        assert_eq!(apply(delta), Err(*error), "{text}");
    }
}

#[test]
fn what_is_unusual_but_sound_is_applied() {
    assert_eq!(apply(b"0\n0;").as_deref(), Ok(&b""[..]));
    assert_eq!(apply(b"0\n0@0,0:0@Y,0;").as_deref(), Ok(&b""[..]));
    assert_eq!(
        apply(b"0000000000000004\n4:\0\0\0\x010001;").as_deref(),
        Ok(&b"\0\0\0\x01"[..])
    );
}

/// 1,000 bytes from a delta of 200: the declared size is checked before anything is copied, and not exceeded after.
#[test]
fn copies_cannot_pass_the_declared_size() {
    let bomb = [b"Fd\n".as_slice(), &b"X@0,".repeat(50)].concat();
    assert_eq!(apply(&bomb), Err(DeltaError::WrongSize { bytes: 1000 }));
}

fn applies_or_fails(delta: &[u8]) {
    if let Ok(target) = apply(delta) {
        assert!(target.len() <= TARGET_BYTES_MAX);
        assert_eq!(delta.last(), Some(&b';'));
        let mut again = Vec::new();
        if fossil::write_delta(&mut again, SOURCE, &target, &mut Scratch::new()) {
            assert_eq!(apply(&again), Ok(target));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(delta: Vec<u8>) {
        applies_or_fails(&delta);
    }

    #[test]
    fn commands_in_any_order(delta in "[0-4]{1,3}\n([0-9A-Z]{0,2}[@:;,\n]|0@0,|3:abc){0,12}[0-9]{0,6};") {
        applies_or_fails(delta.as_bytes());
    }

    #[test]
    fn a_damaged_delta(at in any::<Index>(), to: u8) {
        let target = SOURCE.repeat(3);
        let mut delta = Vec::new();
        prop_assert!(fossil::write_delta(&mut delta, SOURCE, &target, &mut Scratch::new()));
        let at = at.index(delta.len());
        delta[at] = to;
        applies_or_fails(&delta);
    }

    #[test]
    fn another_source(other in prop::collection::vec(any::<u8>(), 0..100)) {
        let target = [SOURCE, SOURCE].concat();
        let mut delta = Vec::new();
        prop_assert!(fossil::write_delta(&mut delta, SOURCE, &target, &mut Scratch::new()));
        if let Ok(made) = fossil::apply_delta(&other, &delta, TARGET_BYTES_MAX) {
            prop_assert_eq!(made.len(), target.len());
        }
    }
}
