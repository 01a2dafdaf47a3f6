//! The checksum at the end of a delta.

/// The sum of the big-endian 32-bit words of `bytes`, the last one padded with zeros, modulo 2^32.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words
        .iter()
        .map(|&word| u32::from_be_bytes(word))
        .fold(u32::from_be_bytes(last), u32::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_big_endian_padded_and_wrap() {
        assert_eq!(checksum(b""), 0);
        assert_eq!(checksum(b"\x01"), 0x0100_0000);
        assert_eq!(checksum(b"\x01\x02\x03\x04\x05\x06"), 0x0608_0304);
        assert_eq!(checksum(&[0xFF; 8]), 0xFFFF_FFFE);
    }
}
