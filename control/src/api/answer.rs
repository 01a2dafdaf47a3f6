//! The text of an answer: written once, within a bound, and sent as it is.

use std::io;

use serde::Serialize;

use super::errors::Refusal;

const OPEN: &[u8] = br#"{"result":"#;

/// What there is room for from the start: the answer to a publication, which nearly all are.
const USUAL_BYTES: usize = 256;

/// A result as JSON, in the envelope it is sent in, so that it is not copied once more.
#[derive(Debug)]
pub(super) struct Answer(Vec<u8>);

/// Takes so many bytes and no more.
#[derive(Debug)]
pub(crate) struct Bounded<'a> {
    bytes: &'a mut Vec<u8>,
    left: usize,
}

impl<'a> Bounded<'a> {
    /// Writes to the end of what there is.
    pub(crate) fn new(bytes: &'a mut Vec<u8>, bytes_max: usize) -> Self {
        Self {
            bytes,
            left: bytes_max,
        }
    }
}

impl Answer {
    /// Writes a result. `None` when it is longer than so many bytes.
    pub(super) fn within(
        result: &impl Serialize,
        bytes_max: usize,
    ) -> Result<Option<Self>, Refusal> {
        let mut bytes = open();
        let out = Bounded::new(&mut bytes, bytes_max);
        match serde_json::to_writer(out, result) {
            Ok(()) => Ok(Some(Self(bytes))),
            Err(error) if error.is_io() => Ok(None),
            Err(_) => Err(Refusal::INTERNAL),
        }
    }

    /// An answer whose result is still to be written.
    pub(super) fn begin() -> Self {
        Self(open())
    }

    /// Where to write the result.
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The result alone.
    pub(super) fn result(&self) -> &[u8] {
        &self.0[OPEN.len()..]
    }

    /// `{"result": …}`.
    pub(super) fn into_body(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

fn open() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.extend_from_slice(OPEN);
    bytes
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(text.len())
            .ok_or(io::ErrorKind::FileTooLarge)?;
        self.bytes.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_written_within_its_bound_or_not_at_all() {
        let answer = Answer::within(&[1, 2], 5).expect("JSON").expect("it fits");
        assert_eq!(answer.result(), b"[1,2]");
        assert_eq!(answer.into_body(), br#"{"result":[1,2]}"#);
        assert!(Answer::within(&[1, 2], 4).expect("JSON").is_none());
    }
}
