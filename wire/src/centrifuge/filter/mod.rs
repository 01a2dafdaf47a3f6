//! Filters by tags: which publications of a channel a subscriber wants.
//!
//! Source: `FilterNode` in client.proto, and what Centrifugo v6 makes of it. A filter runs per publication and distinct
//! filter, so it is checked once, when it is read; what is then in a [`FilterNode`] always has an answer.

mod decimal;
mod fields;

pub(super) use fields::{Budget, NodeFields};

use decimal::Decimal;

use super::codes::ErrorCode;

/// Nodes within one another, at most. Written by people, or by code for them: few go past three.
pub const FILTER_DEPTH_MAX: usize = 16;

/// Nodes in one filter, at most. Every publication may be held against each.
pub const FILTER_NODES_MAX: usize = 256;

/// Values in all the lists of one filter, at most.
pub const FILTER_VALUES_MAX: usize = 1024;

/// Keys and values of one filter, at most: it is kept as long as the subscription.
pub const FILTER_TEXT_BYTES_MAX: usize = 16 * 1024;

/// A filter, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FilterNode {
    /// All of them match.
    And(Box<[Self]>),
    /// One of them matches.
    Or(Box<[Self]>),
    /// It does not match.
    Not(Box<Self>),
    /// A tag passes a test.
    Tag {
        /// The tag's key.
        key: Box<str>,
        /// The test of its value.
        test: TagTest,
    },
}

/// What is asked of a tag's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TagTest {
    /// There is such a tag.
    Exists,
    /// There is none.
    IsAbsent,
    /// It is this.
    Is(Box<str>),
    /// It is not this, or there is none.
    IsNot(Box<str>),
    /// It is one of these; where there is none, the empty one.
    IsIn(Box<[Box<str>]>),
    /// It is not one of these; where there is none, not the empty one.
    IsNotIn(Box<[Box<str>]>),
    /// It starts with this.
    StartsWith(Box<str>),
    /// It ends with this.
    EndsWith(Box<str>),
    /// It contains this.
    Contains(Box<str>),
    /// As decimal numbers, it is on this side of this. What is no number is on neither.
    Number(NumberTest, Box<str>),
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NumberTest {
    /// Less.
    Below,
    /// Less or equal.
    AtMost,
    /// Greater.
    Above,
    /// Greater or equal.
    AtLeast,
}

/// Why something is not a filter that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Nodes nest deeper than [`FILTER_DEPTH_MAX`].
    #[error("the filter nests deeper than {FILTER_DEPTH_MAX} nodes: simplify it")]
    TooDeep,
    /// It has more than [`FILTER_NODES_MAX`] nodes.
    #[error("the filter has more than {FILTER_NODES_MAX} nodes: simplify it")]
    TooManyNodes,
    /// Its lists have more than [`FILTER_VALUES_MAX`] values.
    #[error("the filter's lists have more than {FILTER_VALUES_MAX} values: simplify it")]
    TooManyValues,
    /// Its keys and values have more than [`FILTER_TEXT_BYTES_MAX`] bytes.
    #[error("the filter has more than {FILTER_TEXT_BYTES_MAX} bytes of text: simplify it")]
    TooLong,
    /// A node's `op` is none of the protocol's.
    #[error("a node of the filter has an op that is none of and, or, not, and empty")]
    UnknownOperation,
    /// A leaf's `cmp` is missing, or none of the protocol's.
    #[error("a leaf of the filter has a cmp that client.proto does not name")]
    UnknownComparison,
    /// An `and` or `or` has no nodes, or a `not` has not exactly one.
    #[error(
        "a node of the filter has too few or too many nodes: not takes one, and and or at least one"
    )]
    WrongNodes,
    /// A leaf that needs a key has none.
    #[error("a leaf of the filter has no key")]
    MissingKey,
    /// A leaf has not what its `cmp` takes: `vals` for in and nin, nothing for ex and nex, `val` for the others.
    #[error(
        "a leaf of the filter has not what its cmp takes: vals for in and nin, nothing for ex and nex, else val"
    )]
    WrongValue,
}

impl FilterError {
    /// The code to answer the subscribe with.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        ErrorCode::BAD_REQUEST
    }
}

impl FilterNode {
    /// Whether a publication with these tags is wanted. Allocates nothing.
    #[must_use]
    pub fn matches(&self, tags: &[(Box<str>, Box<str>)]) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.matches(tags)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(tags)),
            Self::Not(node) => !node.matches(tags),
            Self::Tag { key, test } => {
                let tag = tags.iter().find(|(name, _)| name == key);
                test.passes(tag.map(|(_, value)| &**value))
            }
        }
    }
}

impl TagTest {
    fn passes(&self, value: Option<&str>) -> bool {
        match self {
            Self::Exists => value.is_some(),
            Self::IsAbsent => value.is_none(),
            Self::Is(wanted) => value == Some(wanted),
            Self::IsNot(unwanted) => value != Some(unwanted),
            Self::IsIn(wanted) => is_among(wanted, value),
            Self::IsNotIn(unwanted) => !is_among(unwanted, value),
            Self::StartsWith(start) => value.is_some_and(|value| value.starts_with(&**start)),
            Self::EndsWith(end) => value.is_some_and(|value| value.ends_with(&**end)),
            Self::Contains(part) => value.is_some_and(|value| value.contains(&**part)),
            Self::Number(test, bound) => value.is_some_and(|value| test.passes(value, bound)),
        }
    }
}

fn is_among(list: &[Box<str>], value: Option<&str>) -> bool {
    let value = value.unwrap_or_default();
    list.iter().any(|entry| **entry == *value)
}

impl NumberTest {
    fn passes(self, value: &str, bound: &str) -> bool {
        let (Some(value), Some(bound)) = (Decimal::parse(value), Decimal::parse(bound)) else {
            return false;
        };
        let ordering = value.cmp(&bound);
        match self {
            Self::Below => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Above => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}
