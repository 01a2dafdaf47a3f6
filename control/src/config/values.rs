//! Kinds of values in the configuration.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, written as numbers with units: `250ms`, `25s`, `5m`, `1h30m`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Period(pub(crate) Duration);

impl Period {
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

/// Largest first, as they are printed.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a length of time was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a length of time such as 250ms, 25s, 5m, 1h30m or 7d")]
pub(crate) struct PeriodError;

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        if text.is_empty() {
            return Err(PeriodError);
        }
        let mut milliseconds: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let number_end = rest
                .find(|c: char| !c.is_ascii_digit())
                .ok_or(PeriodError)?;
            let (number, after) = rest.split_at(number_end);
            let unit_end = after
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(after.len());
            let (unit, remainder) = after.split_at(unit_end);
            let number: u64 = number.parse().map_err(|_| PeriodError)?;
            let (_, factor) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or(PeriodError)?;
            milliseconds = number
                .checked_mul(*factor)
                .and_then(|part| milliseconds.checked_add(part))
                .ok_or(PeriodError)?;
            rest = remainder;
        }
        Ok(Self(Duration::from_millis(milliseconds)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in UNITS {
            let count = left / factor;
            left %= factor;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A shorter secret can be guessed; RFC 7518 section 3.2 asks for as many bytes as the hash has, 32 for HS256.
const SECRET_BYTES_MIN: usize = 32;

/// Why a secret is not good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WeakSecret {
    #[error("is shorter than {SECRET_BYTES_MIN} bytes, and could be guessed")]
    Short,
    #[error("has a character that no header can carry: use visible ASCII only")]
    NotVisible,
}

/// A secret: read as a string, never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Box<str>);

impl Secret {
    pub(crate) fn new(secret: impl Into<Box<str>>) -> Self {
        Self(secret.into())
    }

    /// Whether it is long enough.
    pub(crate) fn check_length(&self) -> Result<(), WeakSecret> {
        if self.0.len() < SECRET_BYTES_MIN {
            return Err(WeakSecret::Short);
        }
        Ok(())
    }

    /// Whether it is good for an API key, which travels in a header.
    pub(crate) fn check_key(&self) -> Result<(), WeakSecret> {
        if !self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WeakSecret::NotVisible);
        }
        self.check_length()
    }

    /// The secret itself, to be used and not to be shown.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let SecretText::Text(text) = SecretText::deserialize(deserializer)?;
        Ok(Self(text))
    }
}

/// What a secret is read from. Untagged, for then the error about anything else does not quote it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string")]
enum SecretText {
    Text(Box<str>),
}

/// Reads a list of secrets, in the same way.
pub(super) fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Secret>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a list of strings")]
    enum List {
        List(Vec<Secret>),
    }
    let List::List(list) = List::deserialize(deserializer)?;
    Ok(list)
}

/// A number, or `"auto"` where the machine decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a whole number or \"auto\"")]
pub(crate) enum Auto<T> {
    Number(T),
    Auto(AutoWord),
}

/// The word itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AutoWord {
    Auto,
}

impl<T: Copy> Auto<T> {
    pub(crate) const AUTO: Self = Self::Auto(AutoWord::Auto);

    pub(crate) fn number(self) -> Option<T> {
        match self {
            Self::Number(number) => Some(number),
            Self::Auto(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(text: &str) -> Option<Duration> {
        text.parse::<Period>().ok().map(|period| period.0)
    }

    #[test]
    fn periods_are_numbers_with_units() {
        assert_eq!(period("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(period("25s"), Some(Duration::from_secs(25)));
        assert_eq!(period("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(period("7d"), Some(Duration::from_secs(604_800)));
        assert_eq!(period("0s"), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_not_a_period_is_refused() {
        for text in [
            "",
            "25",
            "s",
            "-5s",
            "1.5h",
            "5 m",
            "5M",
            "5weeks",
            "1h30",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert_eq!(period(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_printed_period_reads_back_the_same() {
        for milliseconds in [0, 1, 999, 1_000, 61_001, 86_400_000, 90_061_001] {
            let period = Period(Duration::from_millis(milliseconds));
            assert_eq!(period.to_string().parse(), Ok(period), "{period}");
        }
        assert_eq!(Period::seconds(90).to_string(), "1m30s");
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "(hidden)");
        assert_eq!(
            serde_json::to_string(&secret).expect("a string"),
            r#""(hidden)""#
        );
        assert_eq!(secret.reveal(), "hunter2");
    }
}
