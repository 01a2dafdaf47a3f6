//! Where in the source a block of bytes is found: a hash table over blocks side by side, as in Fossil's own encoder.

use super::DOCUMENT_BYTES_MAX;

/// Bytes of a block. Fossil has 16, which finds every common run of 31 bytes or more; 8 find every run of 15, closer to the
/// 7 bytes or so where a copy begins to pay.
pub(super) const BLOCK_BYTES: usize = 8;

/// What is looked up.
pub(super) type Block = [u8; BLOCK_BYTES];

/// No block. Blocks count from 1, so that clearing the table is zeroing it.
const NONE: u32 = 0;

/// The memory in which [`write_delta`](super::write_delta) looks for what source and target have in common.
///
/// One per thread serves all deltas: none depends on the one before. It grows to what the longest source so far has needed,
/// 1.5 to 2.5 bytes for each byte of it, and 1.5 MiB for the longest there may be.
#[derive(Debug, Default)]
pub struct Scratch {
    /// By hash: the first block of the source that has it.
    heads: Vec<u32>,
    /// By block: the next one of the same hash.
    next: Vec<u32>,
}

impl Scratch {
    /// Takes no memory until the first delta needs it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            heads: Vec::new(),
            next: Vec::new(),
        }
    }

    /// Files the blocks of `source`, at most [`DOCUMENT_BYTES_MAX`] long, instead of what was there.
    pub(super) fn fill(&mut self, source: &[u8]) -> Index<'_> {
        debug_assert!(source.len() <= DOCUMENT_BYTES_MAX);
        let (blocks, _) = source.as_chunks::<BLOCK_BYTES>();
        // At least two heads a block, so that a block the source does not have mostly finds nothing to compare.
        let hash_bits = blocks.len().next_power_of_two().trailing_zeros() + 1;
        self.heads.clear();
        self.heads.resize(1 << hash_bits, NONE);
        self.next.clear();
        self.next.resize(blocks.len() + 1, NONE);
        // From the last to the first: then the first is tried first, whose offset has the fewest digits, and which in a
        // source of one repeated block has the most bytes after it.
        let mut number = u32::try_from(blocks.len()).unwrap_or(NONE);
        for block in blocks.iter().rev() {
            let head = &mut self.heads[hash(*block, hash_bits)];
            self.next[number as usize] = *head;
            *head = number;
            number -= 1;
        }
        Index {
            heads: &self.heads,
            next: &self.next,
            hash_bits,
        }
    }
}

/// The blocks of one source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index<'a> {
    heads: &'a [u32],
    next: &'a [u32],
    hash_bits: u32,
}

impl Index<'_> {
    /// Offsets in the source that may begin with `block`, ascending: the hash is the same, the bytes may differ.
    pub(super) fn candidates(self, block: Block) -> impl Iterator<Item = usize> {
        let mut number = self.heads[hash(block, self.hash_bits)];
        std::iter::from_fn(move || {
            if number == NONE {
                return None;
            }
            let source_at = (number as usize - 1) * BLOCK_BYTES;
            number = self.next[number as usize];
            Some(source_at)
        })
    }
}

/// Fibonacci hashing: the top bits of the product with 2^64 divided by the golden ratio.
///
/// Whoever writes both documents can make blocks collide. It costs them compression: how many are tried is bounded.
fn hash(block: Block, bits: u32) -> usize {
    let product = u64::from_le_bytes(block).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    usize::try_from(product >> (u64::BITS - bits)).unwrap_or(0)
}
