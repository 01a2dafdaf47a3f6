//! Filters by tags, out of JSON. Read on their own, with a budget: a command may hold nodes by the ten thousand.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::centrifuge::filter::{Budget, NodeFields};
use crate::centrifuge::{CommandError, FilterError, FilterNode};
use crate::json_fields::Text;

/// Reads a filter. The outer error is for JSON that is not of the protocol's types.
pub(super) fn filter(json: &str) -> Result<Result<FilterNode, FilterError>, CommandError> {
    let mut reading = Reading {
        budget: Budget::new(),
        refusal: None,
    };
    let root = NodeSeed {
        reading: &mut reading,
        depth: 0,
    };
    let node = root.deserialize(&mut serde_json::Deserializer::from_str(json));
    match (node, reading.refusal) {
        (Ok(node), _) => Ok(Ok(node)),
        (Err(_), Some(refusal)) => Ok(Err(refusal)),
        (Err(error), None) => Err(CommandError::Malformed {
            column: error.column(),
        }),
    }
}

struct Reading {
    budget: Budget,
    /// Why reading was given up, where it was not for the JSON.
    refusal: Option<FilterError>,
}

impl Reading {
    fn or_refuse<T, E: Error>(&mut self, result: Result<T, FilterError>) -> Result<T, E> {
        result.map_err(|refusal| {
            self.refusal = Some(refusal);
            E::custom(refusal)
        })
    }
}

struct NodeSeed<'r> {
    reading: &'r mut Reading,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = FilterNode;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<FilterNode, D::Error> {
        let taken = self.reading.budget.node(self.depth);
        self.reading.or_refuse(taken)?;
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = FilterNode;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a filter node")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<FilterNode, M::Error> {
        let Self { reading, depth } = self;
        let mut fields = NodeFields::default();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "op" => fields.op = text(&mut map)?,
                "key" => fields.key = text(&mut map)?,
                "cmp" => fields.cmp = text(&mut map)?,
                "val" => fields.val = text(&mut map)?,
                "vals" => fields.vals = map.next_value_seed(ValuesSeed(reading))?,
                "nodes" => {
                    let depth = depth + 1;
                    fields.nodes = map.next_value_seed(NodesSeed { reading, depth })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let node = fields.node(&mut reading.budget);
        reading.or_refuse(node)
    }
}

fn text<'de, M: MapAccess<'de>>(map: &mut M) -> Result<Cow<'de, str>, M::Error> {
    Ok(map.next_value::<Text<'de>>()?.0)
}

/// A list of nodes, or `null`.
struct NodesSeed<'r> {
    reading: &'r mut Reading,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for NodesSeed<'_> {
    type Value = Vec<FilterNode>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodesSeed<'_> {
    type Value = Vec<FilterNode>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of filter nodes")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(NodeSeed {
            reading: self.reading,
            depth: self.depth,
        })? {
            nodes.push(node);
        }
        Ok(nodes)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
}

/// A list of texts, or `null`.
struct ValuesSeed<'r>(&'r mut Reading);

impl<'de> DeserializeSeed<'de> for ValuesSeed<'_> {
    type Value = Vec<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValuesSeed<'_> {
    type Value = Vec<Cow<'de, str>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of texts")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
        let mut values = Vec::new();
        while let Some(Text(value)) = list.next_element()? {
            let taken = self.0.budget.value();
            self.0.or_refuse(taken)?;
            values.push(value);
        }
        Ok(values)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
}
