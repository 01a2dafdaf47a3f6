//! Masking and unmasking, RFC 6455 section 5.3: XOR with a repeating 4-byte key, so both are the same.

/// XORs `payload` in place with `key` repeated, `key[0]` first.
///
/// Works in 8-byte words, which the compiler widens to whatever vector registers the target has.
#[inline]
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let key_word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for word in words.by_ref() {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        let unmasked = u64::from_ne_bytes(bytes) ^ key_word;
        word.copy_from_slice(&unmasked.to_ne_bytes());
    }
    for (byte, key_byte) in words.into_remainder().iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key_byte;
    }
}

/// The key for the bytes that follow the first `consumed` ones of a payload.
pub(super) const fn rotated(key: [u8; 4], consumed: usize) -> [u8; 4] {
    [
        key[consumed % 4],
        key[(consumed + 1) % 4],
        key[(consumed + 2) % 4],
        key[(consumed + 3) % 4],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_at_every_length_and_alignment() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        let longest = if cfg!(miri) { 20 } else { 260 };
        let plain: Vec<u8> = (0..=255).cycle().take(longest + 40).collect();
        for start in 0..9 {
            for len in 0..longest {
                let mut masked = plain.clone();
                apply(&mut masked[start..start + len], key);
                for (i, (&got, &was)) in masked.iter().zip(&plain).enumerate() {
                    let inside = (start..start + len).contains(&i);
                    let expected = if inside {
                        was ^ key[(i - start) % 4]
                    } else {
                        was
                    };
                    assert_eq!(got, expected, "start {start} len {len} byte {i}");
                }
            }
        }
    }

    #[test]
    fn a_payload_may_be_unmasked_in_pieces() {
        let key = [1, 2, 3, 4];
        let mut whole = [0; 50];
        apply(&mut whole, key);
        for cut in 0..whole.len() {
            let mut pieces = [0; 50];
            let (head, tail) = pieces.split_at_mut(cut);
            apply(head, key);
            apply(tail, rotated(key, cut));
            assert_eq!(pieces, whole);
        }
    }
}
