//! Filters by tags, out of protobuf.

use super::read::{Malformed, Message};
use crate::centrifuge::filter::{Budget, NodeFields};
use crate::centrifuge::{CommandError, FilterError, FilterNode};

/// Reads a `FilterNode` of client.proto. The outer error is for bytes that are none.
pub(super) fn filter(
    message: Message<'_>,
) -> Result<Result<FilterNode, FilterError>, CommandError> {
    match node(message, 0, &mut Budget::new()) {
        Ok(node) => Ok(Ok(node)),
        Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(Stop::Malformed(malformed)) => Err(malformed.into()),
    }
}

enum Stop {
    Malformed(Malformed),
    Refused(FilterError),
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<FilterError> for Stop {
    fn from(refusal: FilterError) -> Self {
        Self::Refused(refusal)
    }
}

fn node(mut message: Message<'_>, depth: usize, budget: &mut Budget) -> Result<FilterNode, Stop> {
    budget.node(depth)?;
    let mut fields = NodeFields::default();
    while let Some(field) = message.field()? {
        match field.number {
            1 => fields.op = field.text()?,
            2 => fields.key = field.text()?,
            3 => fields.cmp = field.text()?,
            4 => fields.val = field.text()?,
            5 => {
                budget.value()?;
                fields.vals.push(field.text()?);
            }
            6 => fields
                .nodes
                .push(node(field.message()?, depth + 1, budget)?),
            _ => {}
        }
    }
    Ok(fields.node(budget)?)
}
