//! Decimal numbers as they stand in text, compared exactly.

use std::cmp::Ordering;

/// Longer texts are no numbers, as in Centrifugo.
const TEXT_BYTES_MAX: usize = 200;

/// With more digits behind the point a text is no number, as in Centrifugo.
const FRACTION_DIGITS_MAX: usize = 19;

/// A number: its digits, without the zeros that do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal<'a> {
    is_negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Decimal<'a> {
    /// Reads an optional sign, digits, and optionally a point with digits after it; nothing else is a number.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (is_negative, digits) = match text.as_bytes() {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] | digits => (false, digits),
        };
        let point = digits.iter().position(|&byte| byte == b'.');
        let (whole, fraction) = match point {
            Some(point) => (&digits[..point], Some(&digits[point + 1..])),
            None => (digits, None),
        };
        let fraction = match fraction {
            Some(fraction) if is_digits(fraction) => fraction,
            Some(_) => return None,
            None => &[],
        };
        if !is_digits(whole) || fraction.len() > FRACTION_DIGITS_MAX {
            return None;
        }
        let leading = whole.iter().take_while(|&&digit| digit == b'0').count();
        let trailing = fraction
            .iter()
            .rev()
            .take_while(|&&digit| digit == b'0')
            .count();
        let whole = &whole[leading..];
        let fraction = &fraction[..fraction.len() - trailing];
        Some(Self {
            is_negative: is_negative && !(whole.is_empty() && fraction.is_empty()),
            whole,
            fraction,
        })
    }

    fn cmp_size(&self, other: &Self) -> Ordering {
        // Without leading zeros the longer is the greater. Of fractions the digits decide, and the one that ends first is less.
        let by_length = self.whole.len().cmp(&other.whole.len());
        by_length
            .then_with(|| self.whole.cmp(other.whole))
            .then_with(|| self.fraction.cmp(other.fraction))
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, false) => self.cmp_size(other),
            (true, true) => other.cmp_size(self),
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
        }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn is_digits(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}
