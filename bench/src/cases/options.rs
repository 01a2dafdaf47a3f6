//! What options may be.

use std::str::FromStr;
use std::time::Duration;

/// A number above 0.
pub(crate) fn above_zero<T: FromStr + PartialOrd + Default>(text: &str) -> Result<T, String> {
    text.parse()
        .ok()
        .filter(|number| *number > T::default())
        .ok_or_else(|| "it must be a number above 0".to_owned())
}

/// Seconds above 0.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    seconds_or_none(text).and_then(|time| match time {
        Duration::ZERO => Err("it must be above 0".to_owned()),
        time => Ok(time),
    })
}

/// Seconds, perhaps 0.
pub(crate) fn seconds_or_none(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "it must be a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_measured_is_refused() {
        assert_eq!(above_zero("7"), Ok(7_u32));
        assert_eq!(above_zero("0.5"), Ok(0.5));
        for text in ["0", "-1", "", "x", "4294967296"] {
            assert!(above_zero::<u32>(text).is_err(), "{text}");
        }
        for text in ["0", "-0.1", "NaN", "x"] {
            assert!(above_zero::<f64>(text).is_err(), "{text}");
        }
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1_500)));
        assert_eq!(seconds_or_none("0"), Ok(Duration::ZERO));
        for text in ["-1", "NaN", "inf", "1e30", "x"] {
            assert!(seconds_or_none(text).is_err(), "{text}");
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(seconds("0").is_err());
    }
}
