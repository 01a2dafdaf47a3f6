//! The encoder.

use super::checksum::checksum;
use super::index::{BLOCK_BYTES, Block, Index, Scratch};
use super::{DOCUMENT_BYTES_MAX, number};

/// How many places of the source that may have a block are tried. Tables of similar rows gain from more than one; with more
/// than 4 their deltas take longer and shrink by less than one in a hundred.
const CANDIDATES_MAX: usize = 4;

/// A copy this long is taken at once. Before a shorter one is, the next places are tried for a better: that makes the deltas
/// of rows that moved, and of tables where every row changed, a tenth shorter.
const COPY_BYTES_GOOD: usize = 32;

/// Bound of the search, in steps for each byte of the target; a step tries one place or compares 8 bytes there.
///
/// Documents that are alike take less than one, documents that have nothing in common less than two. A pair made so that
/// everything collides reaches the bound; what the search has not come to by then is sent as it is. So the time of a delta
/// grows with the length of the target and no faster.
const STEPS_PER_BYTE_MAX: usize = 4;

/// Longest character of UTF-8 less its first byte.
const CONTINUATION_BYTES_MAX: usize = 3;

/// Appends the delta that makes `target` from `source`, if it is shorter than `target`. Otherwise leaves `out` as it was and
/// gives `false`: send the target whole.
///
/// If `target` is UTF-8, so is the delta. Written as a JSON string it is no longer than the target written as one: the line
/// feed is the only byte to be escaped that the target may not have.
///
/// Takes time in proportion to the lengths, whatever the bytes are. Allocates only what `out` and `scratch` grow by.
/// Documents longer than [`DOCUMENT_BYTES_MAX`] get no delta.
#[must_use = "without a delta the target has to be sent whole"]
pub fn write_delta(out: &mut Vec<u8>, source: &[u8], target: &[u8], scratch: &mut Scratch) -> bool {
    if source.len().max(target.len()) > DOCUMENT_BYTES_MAX {
        return false;
    }
    let start = out.len();
    Writer::new(out, source, target).write(scratch);
    let is_shorter = out.len() - start < target.len();
    if !is_shorter {
        out.truncate(start);
    }
    is_shorter
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    source: &'a [u8],
    target: &'a [u8],
    /// How much of the target the commands so far make. Always a character's boundary.
    written_bytes: usize,
    /// Where in the source the last copy ended.
    source_next: usize,
    steps: usize,
}

/// `bytes` of the target that are found in the source.
#[derive(Debug, Clone, Copy)]
struct Copy {
    source_at: usize,
    target_at: usize,
    bytes: usize,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut Vec<u8>, source: &'a [u8], target: &'a [u8]) -> Self {
        Self {
            out,
            source,
            target,
            written_bytes: 0,
            source_next: 0,
            steps: 0,
        }
    }

    fn write(&mut self, scratch: &mut Scratch) {
        self.number(self.target.len());
        self.out.push(b'\n');
        // Publications in a row mostly begin and end alike; often no more than this is needed.
        if let Some(beginning) = self.common_beginning() {
            self.copy(beginning);
        }
        let end = self.common_end();
        let search_end = end.map_or(self.target.len(), |end| end.target_at);
        if search_end - self.written_bytes >= BLOCK_BYTES && self.source.len() >= BLOCK_BYTES {
            self.search(scratch.fill(self.source), search_end);
        }
        if let Some(end) = end {
            self.copy(end);
        }
        self.literal(self.target.len());
        number::write(self.out, checksum(self.target));
        self.out.push(b';');
    }

    fn common_beginning(&self) -> Option<Copy> {
        let copy = Copy {
            source_at: 0,
            target_at: 0,
            bytes: common_prefix(self.source, self.target),
        };
        let copy = self.cut_to_characters(copy);
        (self.saved_bytes(copy) > 0).then_some(copy)
    }

    fn common_end(&self) -> Option<Copy> {
        let bytes = common_suffix(self.source, &self.target[self.written_bytes..]);
        let copy = Copy {
            source_at: self.source.len() - bytes,
            target_at: self.target.len() - bytes,
            bytes,
        };
        let copy = self.cut_to_characters(copy);
        (self.saved_bytes(copy) > 0).then_some(copy)
    }

    /// Writes the target up to `end` or less, as far as copies reach.
    fn search(&mut self, index: Index<'_>, end: usize) {
        while let Some(copy) = self.next_copy(index, end) {
            self.copy(copy);
        }
    }

    /// The first copy that saves something, or a better one that begins within a block of it.
    fn next_copy(&mut self, index: Index<'_>, end: usize) -> Option<Copy> {
        let mut best = None;
        let mut most_saved_bytes = 0;
        let mut at = self.written_bytes;
        let mut last = end;
        while at <= last
            && self.may_go_on()
            && let Some(&block) = self.target[at..end].first_chunk()
        {
            if let Some(copy) = self.best_copy(index, block, at, end)
                && self.saved_bytes(copy) > most_saved_bytes
            {
                if copy.bytes >= COPY_BYTES_GOOD {
                    return Some(copy);
                }
                // The blocks of the source are side by side: one of them is at one of the next places, if at all.
                last = last.min(at + BLOCK_BYTES - 1);
                most_saved_bytes = self.saved_bytes(copy);
                best = Some(copy);
            }
            at += 1;
        }
        best
    }

    /// Of the copies that hold `block`, which is at `at`, the one that saves most.
    fn best_copy(&mut self, index: Index<'_>, block: Block, at: usize, end: usize) -> Option<Copy> {
        let mut best = None;
        let mut most_saved_bytes = 0;
        // A value is often replaced by one of the same length: then both documents go on in step.
        let in_step = self.source_next + (at - self.written_bytes);
        let candidates = index.candidates(block).take(CANDIDATES_MAX);
        for source_at in std::iter::once(in_step).chain(candidates) {
            if !self.may_go_on() {
                break;
            }
            self.steps += 1;
            let ahead = self.source.get(source_at..).unwrap_or_default();
            if ahead.first_chunk() != Some(&block) {
                continue;
            }
            let copy = self.longest_copy(source_at, at, end);
            self.steps += copy.bytes / BLOCK_BYTES;
            if self.saved_bytes(copy) > most_saved_bytes {
                most_saved_bytes = self.saved_bytes(copy);
                best = Some(copy);
            }
        }
        best
    }

    const fn may_go_on(&self) -> bool {
        self.steps < self.target.len() * STEPS_PER_BYTE_MAX
    }

    /// As far as the documents are alike around `source_at` and `at`, within what is not written yet and `end`.
    // Inlined it takes registers from the loop around it, and documents that have nothing in common take half as long again.
    #[inline(never)]
    fn longest_copy(&self, source_at: usize, at: usize, end: usize) -> Copy {
        let (source_before, source_after) = self.source.split_at(source_at);
        let bytes_before = common_suffix(source_before, &self.target[self.written_bytes..at]);
        let bytes_after = common_prefix(source_after, &self.target[at..end]);
        let copy = Copy {
            source_at: source_at - bytes_before,
            target_at: at - bytes_before,
            bytes: bytes_before + bytes_after,
        };
        self.cut_to_characters(copy)
    }

    /// Moves both ends inwards to the boundaries of characters, which in UTF-8 are at most 3 bytes away.
    fn cut_to_characters(&self, copy: Copy) -> Copy {
        let bytes = &self.target[copy.target_at..][..copy.bytes];
        let cut_front = if copy.target_at == self.written_bytes {
            0
        } else {
            continuation_bytes(bytes.iter())
        };
        let cut_back = match self.target.get(copy.target_at + copy.bytes) {
            Some(&after) if is_continuation(after) => {
                let of_last = continuation_bytes(bytes[cut_front..].iter().rev());
                (of_last + 1).min(bytes.len() - cut_front)
            }
            _ => 0,
        };
        Copy {
            source_at: copy.source_at + cut_front,
            target_at: copy.target_at + cut_front,
            bytes: copy.bytes - cut_front - cut_back,
        }
    }

    /// How much shorter the commands are than the bytes; 0 if they are not.
    fn saved_bytes(&self, copy: Copy) -> usize {
        let literal_command_bytes = match copy.target_at - self.written_bytes {
            0 => 0,
            bytes => digit_count(bytes) + 1,
        };
        let copy_command_bytes = digit_count(copy.bytes) + digit_count(copy.source_at) + 2;
        copy.bytes
            .saturating_sub(literal_command_bytes + copy_command_bytes)
    }

    /// Writes the target up to the end of `copy`.
    fn copy(&mut self, copy: Copy) {
        self.literal(copy.target_at);
        self.number(copy.bytes);
        self.out.push(b'@');
        self.number(copy.source_at);
        self.out.push(b',');
        self.written_bytes += copy.bytes;
        self.source_next = copy.source_at + copy.bytes;
    }

    /// Writes the target up to `end` as it is.
    fn literal(&mut self, end: usize) {
        let literal = &self.target[self.written_bytes..end];
        if literal.is_empty() {
            return;
        }
        self.number(literal.len());
        self.out.push(b':');
        self.out.extend_from_slice(literal);
        self.written_bytes = end;
    }

    fn number(&mut self, value: usize) {
        number::write(self.out, saturated(value));
    }
}

fn continuation_bytes<'a>(bytes: impl Iterator<Item = &'a u8>) -> usize {
    bytes
        .take(CONTINUATION_BYTES_MAX)
        .take_while(|&&byte| is_continuation(byte))
        .count()
}

/// Whether the byte is inside a character: `10xxxxxx` (RFC 3629 section 3).
const fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

fn digit_count(value: usize) -> usize {
    number::digit_count(saturated(value))
}

/// Lengths and offsets are at most [`DOCUMENT_BYTES_MAX`], which `u32` holds.
fn saturated(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// How many bytes `left` and `right` have in common at their beginning.
fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let words = left.as_chunks::<8>().0.iter().zip(right.as_chunks::<8>().0);
    let bytes = 8 * words.take_while(|(left, right)| left == right).count();
    let rest = left[bytes..].iter().zip(&right[bytes..]);
    bytes + rest.take_while(|(left, right)| left == right).count()
}

/// How many bytes `left` and `right` have in common at their end.
fn common_suffix(left: &[u8], right: &[u8]) -> usize {
    let (_, left_words) = left.as_rchunks::<8>();
    let (_, right_words) = right.as_rchunks::<8>();
    let words = left_words.iter().rev().zip(right_words.iter().rev());
    let bytes = 8 * words.take_while(|(left, right)| left == right).count();
    let rest_left = &left[..left.len() - bytes];
    let rest_right = &right[..right.len() - bytes];
    let rest = rest_left.iter().rev().zip(rest_right.iter().rev());
    bytes + rest.take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many steps the search takes.
    fn steps(source: &[u8], target: &[u8]) -> usize {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, source, target);
        writer.write(&mut Scratch::new());
        writer.steps
    }

    /// Text of `letters` different letters in no order.
    fn noise(seed: u32, letters: u32, bytes: usize) -> Vec<u8> {
        let letter = |state: u32| u8::try_from((state >> 16) % letters).expect("a letter");
        std::iter::successors(Some(seed), |state| {
            Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
        })
        .map(|state| b'!' + letter(state))
        .take(bytes)
        .collect()
    }

    /// `bytes` of one letter, another one at every `nth`.
    fn marked(bytes: usize, nth: usize, mark: u8) -> Vec<u8> {
        let mut text = vec![b'a'; bytes];
        text.iter_mut().step_by(nth).for_each(|byte| *byte = mark);
        text
    }

    /// Different blocks that all have the hash of `aaaaaaaa`: what is added to that block, the multiplier of the hash turns
    /// into the numbers from 1, which leave the top bits alone.
    fn colliding(bytes: usize) -> Vec<u8> {
        let multiplier = 0x9E37_79B9_7F4A_7C15_u64;
        // Newton's iteration doubles the bits that are right; it starts with one.
        let inverse = (0..6).fold(1_u64, |inverse, _| {
            inverse.wrapping_mul(2_u64.wrapping_sub(multiplier.wrapping_mul(inverse)))
        });
        assert_eq!(inverse.wrapping_mul(multiplier), 1);
        (1..=bytes as u64 / 8)
            .map(|number| {
                u64::from_le_bytes(*b"aaaaaaaa").wrapping_add(inverse.wrapping_mul(number))
            })
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    const LENGTHS: &[usize] = if cfg!(miri) {
        &[1 << 7]
    } else {
        &[1 << 10, 1 << 13, 1 << 16, DOCUMENT_BYTES_MAX]
    };

    /// The last step may be a copy, of at most the whole target.
    fn is_within_bound(steps: usize, bytes: usize) -> bool {
        steps <= bytes * STEPS_PER_BYTE_MAX + bytes / BLOCK_BYTES
    }

    #[test]
    fn a_hostile_pair_reaches_the_bound_and_no_more() {
        for &bytes in LENGTHS {
            let steps = steps(&colliding(bytes), &vec![b'a'; bytes]);
            assert!(steps >= bytes * STEPS_PER_BYTE_MAX, "{bytes}: {steps}");
            assert!(is_within_bound(steps, bytes), "{bytes}: {steps}");
        }
    }

    #[test]
    #[cfg_attr(
        miri,
        ignore = "a minute and a half, and the other tests run the same code"
    )]
    fn repetition_stays_within_the_bound() {
        for &bytes in LENGTHS {
            let even = vec![b'a'; bytes];
            let marks = [
                (2, b'b'),
                (8, b'b'),
                (9, b'b'),
                (11, b'c'),
                (16, b'd'),
                (64, b'e'),
            ];
            let mut texts = marks.map(|(nth, mark)| marked(bytes, nth, mark)).to_vec();
            texts.extend([2, 3, 4].map(|letters| noise(1, letters, bytes)));
            texts.extend([2, 3, 4].map(|letters| noise(2, letters, bytes)));
            texts.push(even);
            for (source, target) in texts
                .iter()
                .flat_map(|text| texts.iter().map(move |other| (text, other)))
            {
                let steps = steps(source, target);
                assert!(is_within_bound(steps, bytes), "{bytes}: {steps}");
            }
        }
    }

    #[test]
    fn documents_with_nothing_in_common_take_less_than_two_steps_for_each_byte() {
        for &bytes in LENGTHS {
            let steps = steps(&noise(1, 94, bytes), &noise(2, 94, bytes));
            assert!(steps < 2 * bytes, "{bytes}: {steps}");
        }
    }

    #[test]
    fn documents_that_are_alike_take_less_than_a_step_for_each_byte() {
        for &bytes in LENGTHS {
            let source = noise(1, 94, bytes);
            let mut target = source.clone();
            target.iter_mut().step_by(200).for_each(|byte| *byte ^= 1);
            target.splice(bytes / 2..bytes / 2, noise(3, 94, 20));
            target.truncate(bytes);
            let steps = steps(&source, &target);
            assert!(steps < bytes, "{bytes}: {steps}");
        }
    }

    #[test]
    fn common_ends_are_found_at_every_length() {
        for bytes in 0..40 {
            for different_at in 0..=bytes {
                let left = vec![b'a'; bytes];
                let mut right = left.clone();
                if let Some(byte) = right.get_mut(different_at) {
                    *byte = b'b';
                }
                assert_eq!(common_prefix(&left, &right), different_at);
                let after = bytes.saturating_sub(different_at + 1);
                let same_end = if different_at == bytes { bytes } else { after };
                assert_eq!(common_suffix(&left, &right), same_end);
                right.push(b'c');
                assert_eq!(common_prefix(&left, &right), different_at);
                right.splice(..0, *b"xc");
                assert_eq!(
                    common_suffix(&[left, vec![b'c']].concat(), &right),
                    same_end + 1
                );
            }
        }
    }
}
