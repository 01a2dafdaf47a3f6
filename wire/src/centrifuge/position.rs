//! Where a client stands in a channel.

/// The name of a channel's numbering, as a client gives it.
///
/// To clients it is an opaque text; ours is a decimal number. A client may hold one of another server, or make one up:
/// centrifuge-js asks for a failed recovery with `"_"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Epoch {
    /// Not given: matches any.
    #[default]
    Any,
    /// One of ours; not 0.
    Known(u64),
    /// Given, and not one of ours: matches none.
    Foreign,
}

impl Epoch {
    /// Reads the text that a client gives.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self::Any;
        }
        let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        match text.parse() {
            Ok(number) if is_canonical => Self::Known(number),
            _ => Self::Foreign,
        }
    }

    /// Whether a client that gives this stands in the numbering `epoch`.
    #[must_use]
    pub const fn matches(self, epoch: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Known(number) => number == epoch,
            Self::Foreign => false,
        }
    }
}

/// A client's position in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StreamPosition {
    /// The offset of the last publication seen.
    pub offset: u64,
    /// The numbering it belongs to.
    pub epoch: Epoch,
}
