//! From a node as it stands in a command to one that can be asked.

use std::borrow::Cow;

use super::{
    FILTER_DEPTH_MAX, FILTER_NODES_MAX, FILTER_TEXT_BYTES_MAX, FILTER_VALUES_MAX, FilterError,
    FilterNode, NumberTest, TagTest,
};

/// What a filter may still take while it is read.
pub(in crate::centrifuge) struct Budget {
    nodes: usize,
    values: usize,
    text_bytes: usize,
}

impl Budget {
    pub(in crate::centrifuge) const fn new() -> Self {
        Self {
            nodes: FILTER_NODES_MAX,
            values: FILTER_VALUES_MAX,
            text_bytes: FILTER_TEXT_BYTES_MAX,
        }
    }

    /// One more node, inside of `depth` others.
    pub(in crate::centrifuge) fn node(&mut self, depth: usize) -> Result<(), FilterError> {
        if depth >= FILTER_DEPTH_MAX {
            return Err(FilterError::TooDeep);
        }
        take(&mut self.nodes, 1).ok_or(FilterError::TooManyNodes)
    }

    /// One more value of a list.
    pub(in crate::centrifuge) fn value(&mut self) -> Result<(), FilterError> {
        take(&mut self.values, 1).ok_or(FilterError::TooManyValues)
    }

    fn text(&mut self, text: &str) -> Result<Box<str>, FilterError> {
        take(&mut self.text_bytes, text.len()).ok_or(FilterError::TooLong)?;
        Ok(text.into())
    }
}

fn take(left: &mut usize, count: usize) -> Option<()> {
    *left = left.checked_sub(count)?;
    Some(())
}

/// The fields of a node, as they were found.
#[derive(Default)]
pub(in crate::centrifuge) struct NodeFields<'a> {
    pub(in crate::centrifuge) op: Cow<'a, str>,
    pub(in crate::centrifuge) key: Cow<'a, str>,
    pub(in crate::centrifuge) cmp: Cow<'a, str>,
    pub(in crate::centrifuge) val: Cow<'a, str>,
    pub(in crate::centrifuge) vals: Vec<Cow<'a, str>>,
    pub(in crate::centrifuge) nodes: Vec<FilterNode>,
}

impl NodeFields<'_> {
    /// The node, if its fields make one by Centrifugo's rules. Fields of the other kind of node are ignored, as there.
    pub(in crate::centrifuge) fn node(
        mut self,
        budget: &mut Budget,
    ) -> Result<FilterNode, FilterError> {
        match &*self.op {
            "" => self.leaf(budget),
            "and" | "or" if self.nodes.is_empty() => Err(FilterError::WrongNodes),
            "and" => Ok(FilterNode::And(self.nodes.into())),
            "or" => Ok(FilterNode::Or(self.nodes.into())),
            "not" => match (self.nodes.pop(), self.nodes.is_empty()) {
                (Some(node), true) => Ok(FilterNode::Not(Box::new(node))),
                _ => Err(FilterError::WrongNodes),
            },
            _ => Err(FilterError::UnknownOperation),
        }
    }

    fn leaf(self, budget: &mut Budget) -> Result<FilterNode, FilterError> {
        let test = match &*self.cmp {
            "eq" => TagTest::Is(self.one(budget)?),
            "neq" => TagTest::IsNot(self.one(budget)?),
            "in" => TagTest::IsIn(self.list(budget)?),
            "nin" => TagTest::IsNotIn(self.list(budget)?),
            "ex" => self.none(TagTest::Exists)?,
            "nex" => self.none(TagTest::IsAbsent)?,
            "sw" => TagTest::StartsWith(self.one(budget)?),
            "ew" => TagTest::EndsWith(self.one(budget)?),
            "ct" => TagTest::Contains(self.one(budget)?),
            "lt" => TagTest::Number(NumberTest::Below, self.one(budget)?),
            "lte" => TagTest::Number(NumberTest::AtMost, self.one(budget)?),
            "gt" => TagTest::Number(NumberTest::Above, self.one(budget)?),
            "gte" => TagTest::Number(NumberTest::AtLeast, self.one(budget)?),
            _ => return Err(FilterError::UnknownComparison),
        };
        let needs_key = !matches!(test, TagTest::Exists | TagTest::IsAbsent);
        if needs_key && self.key.is_empty() {
            return Err(FilterError::MissingKey);
        }
        let key = budget.text(&self.key)?;
        Ok(FilterNode::Tag { key, test })
    }

    fn one(&self, budget: &mut Budget) -> Result<Box<str>, FilterError> {
        if self.val.is_empty() || !self.vals.is_empty() {
            return Err(FilterError::WrongValue);
        }
        budget.text(&self.val)
    }

    fn list(&self, budget: &mut Budget) -> Result<Box<[Box<str>]>, FilterError> {
        if self.vals.is_empty() || !self.val.is_empty() {
            return Err(FilterError::WrongValue);
        }
        self.vals.iter().map(|value| budget.text(value)).collect()
    }

    fn none(&self, test: TagTest) -> Result<TagTest, FilterError> {
        if !self.val.is_empty() || !self.vals.is_empty() {
            return Err(FilterError::WrongValue);
        }
        Ok(test)
    }
}
