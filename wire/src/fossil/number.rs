//! Numbers of base 64, most significant digit first.

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// Marks a byte that is no digit.
const NO_DIGIT: u8 = 0xFF;

const VALUES: [u8; 256] = values();

/// Digits of the largest number a delta holds, a checksum of 32 bits.
const DIGITS_MAX: usize = 6;

/// Appends `value` without leading zeros.
pub(super) fn write(out: &mut Vec<u8>, value: u32) {
    let digits = digit_count(value);
    let mut text = [0; DIGITS_MAX];
    let mut rest = value;
    for digit in text[..digits].iter_mut().rev() {
        *digit = DIGITS[(rest % 64) as usize];
        rest /= 64;
    }
    out.extend_from_slice(&text[..digits]);
}

/// How many digits [`write`] appends: 1 to 6.
pub(super) fn digit_count(value: u32) -> usize {
    let bits = u32::BITS - value.leading_zeros();
    bits.div_ceil(6).max(1) as usize
}

/// The value of a digit.
pub(super) fn digit(byte: u8) -> Option<u32> {
    let value = VALUES[usize::from(byte)];
    (value != NO_DIGIT).then_some(u32::from(value))
}

#[allow(clippy::cast_possible_truncation)] // there are 64 digits
const fn values() -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, value);
        out
    }

    #[test]
    fn numbers_of_the_specification() {
        // Section 4.2 of Fossil's delta_format.wiki.
        assert_eq!(text(6246), b"1Xb");
        assert_eq!(text(270), b"4E");
        assert_eq!(text(983), b"FN");
        assert_eq!(text(1256), b"Jd");
        assert_eq!(text(4046), b"~E");
    }

    #[test]
    fn every_width_is_written_and_read() {
        for value in [
            0,
            1,
            63,
            64,
            4095,
            4096,
            1 << 18,
            1 << 24,
            1 << 30,
            u32::MAX,
        ] {
            let written = text(value);
            assert_eq!(written.len(), digit_count(value), "{value}");
            let read = written
                .iter()
                .fold(0, |read, &byte| read * 64 + digit(byte).expect("a digit"));
            assert_eq!(read, value);
        }
        assert_eq!((0..=255).filter(|&byte| digit(byte).is_some()).count(), 64);
    }
}
