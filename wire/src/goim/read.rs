//! Lists in JSON fields: bounded.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A list of which the first `MAX + 1` items are kept: the one too many tells that there are too many.
#[derive(Debug)]
pub(super) struct List<T, const MAX: usize>(pub(super) Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
            type Value = List<T, MAX>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<List<T, MAX>, S::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                    if list.len() > MAX {
                        while items.next_element::<IgnoredAny>()?.is_some() {}
                        break;
                    }
                }
                Ok(List(list))
            }

            fn visit_unit<E>(self) -> Result<List<T, MAX>, E> {
                Ok(List::default())
            }
        }

        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}
