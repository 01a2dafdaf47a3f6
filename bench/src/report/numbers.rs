//! Numbers as people read them.

/// Thousands separated: `1,000,000`.
pub(super) fn count(value: u64) -> String {
    separated(&value.to_string())
}

/// `1 room`, `1,000 rooms`.
pub(super) fn plural(number: u64, word: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {word}{ending}", count(number))
}

/// Three digits, or all before the point, thousands separated: `35,912,004`, `5,120`, `99.1`, `1.07`, `0.0123`.
pub(super) fn quantity(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs();
    let decimals = match magnitude {
        0.0 => 0,
        _ if magnitude >= 99.95 => 0,
        _ if magnitude >= 9.995 => 1,
        _ if magnitude >= 0.9995 => 2,
        _ if magnitude >= 0.09995 => 3,
        _ => 4,
    };
    separated(&format!("{value:.decimals$}"))
}

/// What somebody chose, such as a rate: as a quantity, but `40` and not `40.0`.
pub(super) fn chosen(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return separated(&format!("{value:.0}"));
    }
    quantity(value)
}

/// With a decimal prefix, as axes have it: `40 M`, `1.5 k`, `0`.
pub(super) fn prefixed(value: f64) -> String {
    let (scaled, prefix) = match value.abs() {
        magnitude if magnitude >= 1e9 => (value / 1e9, " G"),
        magnitude if magnitude >= 1e6 => (value / 1e6, " M"),
        magnitude if magnitude >= 1e3 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.3}");
    format!(
        "{}{prefix}",
        text.trim_end_matches('0').trim_end_matches('.')
    )
}

/// Bytes with a decimal prefix and three digits: `413 MB`, `1.02 GB`, `640 B`.
pub(super) fn bytes(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        magnitude if magnitude >= 1e9 => (value / 1e9, "GB"),
        magnitude if magnitude >= 1e6 => (value / 1e6, "MB"),
        magnitude if magnitude >= 1e4 => (value / 1e3, "kB"),
        _ => return format!("{} B", separated(&format!("{value:.0}"))),
    };
    format!("{} {unit}", quantity(scaled))
}

/// Commas between thousands, in what stands before the point.
fn separated(digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let whole = digits.find('.').unwrap_or(digits.len());
    let mut text = String::from(sign);
    for (at, digit) in digits.char_indices() {
        if at > 0 && at < whole && (whole - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (35_912_004, "35,912,004"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(plural(1, "room"), "1 room");
        assert_eq!(plural(1_000, "room"), "1,000 rooms");
    }

    #[test]
    fn quantities_have_three_digits_or_all_whole_ones() {
        for (value, text) in [
            (0.0, "0"),
            (40.0, "40.0"),
            (35_912_004.4, "35,912,004"),
            (5_119.6, "5,120"),
            (99.94, "99.9"),
            (99.96, "100"),
            (9.996, "10.0"),
            (1.0666, "1.07"),
            (0.9996, "1.00"),
            (0.25, "0.250"),
            (0.01234, "0.0123"),
            (-1234.5, "-1,234"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(quantity(value), text, "{value}");
        }
    }

    #[test]
    fn what_was_chosen_is_shown_as_it_was() {
        for (value, text) in [(40.0, "40"), (0.5, "0.500"), (20_000.0, "20,000")] {
            assert_eq!(chosen(value), text);
        }
    }

    #[test]
    fn axes_and_bytes_have_prefixes() {
        for (value, text) in [
            (0.0, "0"),
            (40e6, "40 M"),
            (1_500.0, "1.5 k"),
            (2e9, "2 G"),
            (0.5, "0.5"),
            (100.0, "100"),
        ] {
            assert_eq!(prefixed(value), text);
        }
        for (value, text) in [
            (413e6, "413 MB"),
            (1.02e9, "1.02 GB"),
            (640.0, "640 B"),
            (4_500.0, "4,500 B"),
            (-12e3, "-12.0 kB"),
        ] {
            assert_eq!(bytes(value), text);
        }
    }
}
