//! The decoder.

use super::checksum::checksum;
use super::number;

/// Why a delta does not make a target of this source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// The delta ends before its checksum.
    #[error("the delta ends before its checksum")]
    Truncated,
    /// What stands here is neither a number nor the sign that has to follow one.
    #[error("the delta has a byte at {at} that cannot stand there")]
    Malformed {
        /// Its offset in the delta.
        at: usize,
    },
    /// Sizes, offsets and checksums have 32 bits.
    #[error("the number that ends at {at} of the delta has more than 32 bits")]
    NumberTooBig {
        /// The offset in the delta of the digit that is too much.
        at: usize,
    },
    /// The target is larger than the caller allows.
    #[error("the delta declares a target of {bytes} bytes; at most {bytes_max} are allowed")]
    TargetTooBig {
        /// The size it declares.
        bytes: usize,
        /// The size that was allowed.
        bytes_max: usize,
    },
    /// A copy reaches past the end of the source, so the delta was made from another.
    #[error("the delta copies past the end of the source; it was made from another")]
    PastSource,
    /// The commands make more or less than the declared size.
    #[error("the delta does not make the {bytes} bytes it declares")]
    WrongSize {
        /// The size it declares.
        bytes: usize,
    },
    /// What the commands make has another checksum, so the delta was made from another source or damaged.
    #[error("the target's checksum differs; the delta was made from another source or damaged")]
    WrongChecksum,
}

/// Makes the target from the source it was compared with.
///
/// The delta may come from anyone: memory is bounded by `out_bytes_max`, time by that and the delta's length. The checksum
/// tells accidents, not intent.
///
/// Stricter than the format's reference, which stops at the checksum: nothing may follow it, and no number may be missing or
/// wrap.
///
/// # Errors
///
/// [`DeltaError`] if the delta is malformed, declares more than `out_bytes_max`, or does not fit the source.
pub fn apply_delta(
    source: &[u8],
    delta: &[u8],
    out_bytes_max: usize,
) -> Result<Vec<u8>, DeltaError> {
    let mut reader = Reader { delta, at: 0 };
    let bytes = reader.number()? as usize;
    reader.sign(b'\n')?;
    if bytes > out_bytes_max {
        return Err(DeltaError::TargetTooBig {
            bytes,
            bytes_max: out_bytes_max,
        });
    }
    // Most deltas copy every byte of the source at most once; a declared size alone is no reason to take memory.
    let mut target = Vec::with_capacity(bytes.min(source.len() + delta.len()));
    loop {
        let number = reader.number()?;
        let piece = match reader.byte()? {
            b'@' => {
                let offset = reader.number()? as usize;
                reader.sign(b',')?;
                source
                    .get(offset..)
                    .and_then(|source| source.get(..number as usize))
                    .ok_or(DeltaError::PastSource)?
            }
            b':' => reader.literal(number as usize)?,
            b';' => {
                reader.end()?;
                return checked(target, bytes, number);
            }
            _ => return Err(DeltaError::Malformed { at: reader.at - 1 }),
        };
        if piece.len() > bytes - target.len() {
            return Err(DeltaError::WrongSize { bytes });
        }
        target.extend_from_slice(piece);
    }
}

fn checked(target: Vec<u8>, bytes: usize, sum: u32) -> Result<Vec<u8>, DeltaError> {
    if target.len() != bytes {
        return Err(DeltaError::WrongSize { bytes });
    }
    if checksum(&target) != sum {
        return Err(DeltaError::WrongChecksum);
    }
    Ok(target)
}

struct Reader<'a> {
    delta: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// One digit or more.
    fn number(&mut self) -> Result<u32, DeltaError> {
        let start = self.at;
        let mut value = 0_u32;
        while let Some(digit) = self.delta.get(self.at).copied().and_then(number::digit) {
            value = value
                .checked_mul(64)
                .ok_or(DeltaError::NumberTooBig { at: self.at })?
                | digit;
            self.at += 1;
        }
        match self.delta.get(self.at) {
            None => Err(DeltaError::Truncated),
            Some(_) if self.at == start => Err(DeltaError::Malformed { at: start }),
            Some(_) => Ok(value),
        }
    }

    fn byte(&mut self) -> Result<u8, DeltaError> {
        let byte = *self.delta.get(self.at).ok_or(DeltaError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn sign(&mut self, sign: u8) -> Result<(), DeltaError> {
        if self.byte()? != sign {
            return Err(DeltaError::Malformed { at: self.at - 1 });
        }
        Ok(())
    }

    fn literal(&mut self, bytes: usize) -> Result<&'a [u8], DeltaError> {
        let literal = self.delta[self.at..]
            .get(..bytes)
            .ok_or(DeltaError::Truncated)?;
        self.at += bytes;
        Ok(literal)
    }

    fn end(&self) -> Result<(), DeltaError> {
        if self.at < self.delta.len() {
            return Err(DeltaError::Malformed { at: self.at });
        }
        Ok(())
    }
}
