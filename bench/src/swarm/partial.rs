//! Frames of a stream that comes in any pieces.

use super::dialect::ProtocolError;

/// Least that is taken from the input towards a frame whose beginning is kept.
const STEP_BYTES_MIN: usize = 256;

/// The beginning of a frame, while there is only that: 8 bytes and no heap for a connection between two frames.
#[derive(Debug, Default)]
pub(super) struct Partial {
    kept: Option<Box<Vec<u8>>>,
}

impl Partial {
    /// Hands `decode` the stream, frame by frame; it returns how many bytes the frame at the start of its argument takes,
    /// or `None` when that is not complete.
    ///
    /// Frames that lie whole in `input` are read there. One that began earlier is copied once, and what follows it is not.
    pub(super) fn feed(
        &mut self,
        mut input: &[u8],
        mut decode: impl FnMut(&[u8]) -> Result<Option<usize>, ProtocolError>,
    ) -> Result<(), ProtocolError> {
        if let Some(mut kept) = self.kept.take() {
            loop {
                let before = kept.len();
                // As much again each time: what is decoded in vain adds up to no more than the frame, and a few bytes
                // more than the frame needs are copied at most.
                let step = input.len().min(before.max(STEP_BYTES_MIN));
                kept.extend_from_slice(&input[..step]);
                if let Some(taken) = decode(&kept)? {
                    // It was not complete before, so it ends in what was added.
                    input = &input[taken.saturating_sub(before)..];
                    break;
                }
                input = &input[step..];
                if input.is_empty() {
                    self.kept = Some(kept);
                    return Ok(());
                }
            }
        }
        while !input.is_empty() {
            let Some(taken) = decode(input)? else {
                self.kept = Some(Box::new(input.to_vec()));
                return Ok(());
            };
            input = &input[taken..];
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of a length byte and so many bytes.
    fn decode(bytes: &[u8], frames: &mut Vec<Vec<u8>>) -> Option<usize> {
        let end = 1 + usize::from(*bytes.first()?);
        frames.push(bytes.get(1..end)?.to_vec());
        Some(end)
    }

    #[test]
    fn frames_do_not_depend_on_how_the_bytes_are_cut() {
        let expected: Vec<Vec<u8>> = [0_u8, 1, 255, 3, 254, 0]
            .map(|length| vec![length; usize::from(length)])
            .into();
        let mut stream = Vec::new();
        for frame in &expected {
            stream.push(u8::try_from(frame.len()).expect("below 256"));
            stream.extend_from_slice(frame);
        }
        for step in 1..=stream.len() {
            let (mut partial, mut frames) = (Partial::default(), Vec::new());
            for piece in stream.chunks(step) {
                partial
                    .feed(piece, |bytes| Ok(decode(bytes, &mut frames)))
                    .expect("decode does not fail");
            }
            assert_eq!(frames, expected, "by {step}");
            assert!(partial.is_empty());
        }
    }
}
