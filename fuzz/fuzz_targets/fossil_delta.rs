//! Any bytes as a delta: applied or refused. Any two documents: their delta makes the second from the first, is shorter, and
//! is text if the second is.

#![no_main]

use fanfare_wire::fossil::{self, Scratch};
use libfuzzer_sys::fuzz_target;

const TARGET_BYTES_MAX: usize = 1 << 16;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (source, other) = input;
    if let Ok(target) = fossil::apply_delta(source, other, TARGET_BYTES_MAX) {
        assert!(target.len() <= TARGET_BYTES_MAX);
        compare(source, &target);
    }
    compare(source, other);
    compare(source, &[other, source, other].concat());
});

fn compare(source: &[u8], target: &[u8]) {
    let mut delta = Vec::new();
    if !fossil::write_delta(&mut delta, source, target, &mut Scratch::new()) {
        assert!(delta.is_empty());
        return;
    }
    assert!(delta.len() < target.len());
    let made = fossil::apply_delta(source, &delta, target.len());
    assert_eq!(made.as_deref(), Ok(target));
    assert!(std::str::from_utf8(target).is_err() || std::str::from_utf8(&delta).is_ok());
}
