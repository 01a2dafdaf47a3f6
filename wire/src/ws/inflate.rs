//! Decompressing what was received, RFC 7692 section 7.2.2.

use super::error::Error;
use std::fmt;
use zlib_rs::{Inflate, InflateFlush, Status};

/// The largest there is, so a client may use any (RFC 7692 section 7.1.2.2).
const WINDOW_BITS: u8 = 15;

/// The end of the flush that a message is sent without (section 7.2.2), then an empty block marked as the last. A stream that is
/// cut off, or has something behind its end, takes them for something else: it does not end here, or not without output.
const TAIL: [u8; 9] = [0x00, 0x00, 0xFF, 0xFF, 0x01, 0x00, 0x00, 0xFF, 0xFF];

/// JSON is three to five times the size of what it was compressed to; if it is more, the space is doubled.
const EXPECTED_RATIO: usize = 4;

/// Decompresses messages, each on its own: 48 KiB, taken with the first of them.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Inflate>,
}

impl Inflater {
    /// Takes no memory yet.
    pub const fn new() -> Self {
        Self { stream: None }
    }

    /// What the payload of a message inflates to.
    ///
    /// Holds at most `bytes_max` and one byte more, whatever the payload comes to. Time is bounded by the two lengths: what makes
    /// the most work without giving output, empty blocks with codes of their own, takes 45 ns for each byte of `deflated`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidDeflate`], or [`Error::MessageTooBig`] once `bytes_max` is passed.
    pub(super) fn inflate(&mut self, deflated: &[u8], bytes_max: u32) -> Result<Vec<u8>, Error> {
        let stream = match &mut self.stream {
            Some(stream) => {
                stream.reset(false);
                stream
            }
            None => self.stream.insert(Inflate::new(false, WINDOW_BITS)),
        };
        let mut output = Output::new(deflated.len().saturating_mul(EXPECTED_RATIO), bytes_max);
        feed(stream, deflated, &mut output)?;
        let inflated_bytes = output.filled;
        let is_at_end = feed(stream, &TAIL, &mut output)?;
        if !is_at_end || output.filled > inflated_bytes {
            return Err(Error::InvalidDeflate);
        }
        Ok(output.into_bytes())
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

/// Inflates all of `input`, until no output waits for room. Says whether it ends with a block marked as the last.
///
/// Such a block may also come earlier; the next then begins at the next byte (RFC 7692 section 7.2.1).
fn feed(stream: &mut Inflate, input: &[u8], output: &mut Output) -> Result<bool, Error> {
    let mut rest = input;
    while !rest.is_empty() || output.is_full() {
        let room = output.room()?;
        let (read_before, written_before) = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress(rest, room, InflateFlush::NoFlush)
            .map_err(|_| Error::InvalidDeflate)?;
        let read = moved(read_before, stream.total_in());
        let written = moved(written_before, stream.total_out());
        rest = rest.get(read..).unwrap_or_default();
        output.filled += written;
        match status {
            Status::StreamEnd if rest.is_empty() => return Ok(true),
            Status::StreamEnd => stream.reset(false),
            // There was input and room, so a stream that moves no further is none.
            Status::Ok | Status::BufError if read == 0 && written == 0 && !rest.is_empty() => {
                return Err(Error::InvalidDeflate);
            }
            Status::Ok | Status::BufError => {}
        }
    }
    Ok(false)
}

/// Bytes of one buffer, so they fit.
fn moved(total_before: u64, total: u64) -> usize {
    usize::try_from(total - total_before).unwrap_or(usize::MAX)
}

/// Grows up to a limit.
struct Output {
    /// Zeros from `filled` on.
    bytes: Vec<u8>,
    filled: usize,
    bytes_max: u32,
}

impl Output {
    fn new(expected_bytes: usize, bytes_max: u32) -> Self {
        let mut output = Self {
            bytes: Vec::new(),
            filled: 0,
            bytes_max,
        };
        output.grow(expected_bytes);
        output
    }

    fn is_full(&self) -> bool {
        self.filled == self.bytes.len()
    }

    /// Where to write next: one byte at least. A message of the greatest length allowed leaves one, to see that it ends there.
    fn room(&mut self) -> Result<&mut [u8], Error> {
        if self.is_full() {
            let max_bytes = self.bytes_max;
            if self.filled > usize::try_from(max_bytes).unwrap_or(usize::MAX) {
                return Err(Error::MessageTooBig { max_bytes });
            }
            self.grow(self.filled.saturating_mul(2));
        }
        Ok(&mut self.bytes[self.filled..])
    }

    /// To `wanted_bytes` or as far as the limit lets it, and by one byte at least.
    fn grow(&mut self, wanted_bytes: usize) {
        let bytes_max = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let target = wanted_bytes
            .max(self.bytes.len() + 1)
            .min(bytes_max.saturating_add(1));
        self.bytes.reserve_exact(target - self.bytes.len());
        self.bytes.resize(target, 0);
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.filled);
        self.bytes
    }
}
