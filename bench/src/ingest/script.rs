//! Requests that are encoded once, and of which only the numbers change.

use crate::stamp;

/// A stretch of bytes that is sent again and again, with numbers in it that are written over before.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<Line>,
}

/// One publication in a script.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Where the payload begins.
    pub(super) payload_at: usize,
    pub(super) payload_bytes: usize,
}

/// Longest payload with the number in it, as stamps have it.
const SHORT_BYTES: usize = 10;

/// The payload of the `nth` publication in a room, counted from 1.
pub(super) fn payload(nth: u64, bytes: usize) -> Vec<u8> {
    if bytes <= SHORT_BYTES {
        stamp::short(nth).to_vec()
    } else {
        stamp::payload(nth, bytes).into_bytes()
    }
}

impl Line {
    /// Writes the number into the payload.
    pub(super) fn stamp(&self, bytes: &mut [u8], nth: u64) {
        let place = &mut bytes[self.payload_at..self.payload_at + self.payload_bytes];
        if self.payload_bytes == SHORT_BYTES {
            place.copy_from_slice(&stamp::short(nth));
        } else {
            place.copy_from_slice(stamp::payload(nth, self.payload_bytes).as_bytes());
        }
    }
}
