//! How the values of a command's fields are read: `null` as absent, text borrowed, payloads untouched.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::value::on_one_line;
use crate::centrifuge::Epoch;
use crate::json_fields::Text;

pub(super) fn epoch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
    Ok(Epoch::parse(&text(deserializer)?))
}

/// The JSON of a value as it stands; of `null` too, which is a payload like any other.
///
/// Line breaks may stand between tokens (a carriage return in a command, as some SDKs pass a payload's bytes on; a line feed
/// too in the body of a request) and become spaces: transports that are made of lines would cut there.
pub(super) fn raw<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Cow<'a, [u8]>, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?.get();
    Ok(on_one_line(json.as_bytes()))
}

pub(super) fn text<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Cow<'a, str>, D::Error> {
    Ok(Text::deserialize(deserializer)?.0)
}

pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Object::deserialize(deserializer)?.0)
}

/// A JSON object or `null`. What serde derives also takes an array of the fields' values, which is none of the protocol's.
pub(super) struct Object<T>(pub(super) Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Object<T>, M::Error> {
                Ok(Object(Some(T::deserialize(MapAccessDeserializer::new(
                    map,
                ))?)))
            }

            fn visit_unit<E>(self) -> Result<Object<T>, E> {
                Ok(Object(None))
            }
        }

        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

/// The fields of an object, in their order, as a list: what came from outside is not hashed. Of more than `MAX` the list has
/// one more than `MAX`, and the rest is skipped.
pub(super) fn pairs<'de, D, K, V, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<(K, V)>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de>,
    V: Deserialize<'de>,
{
    struct PairsVisitor<K, V, const MAX: usize>(PhantomData<(K, V)>);

    impl<'de, K, V, const MAX: usize> Visitor<'de> for PairsVisitor<K, V, MAX>
    where
        K: Deserialize<'de>,
        V: Deserialize<'de>,
    {
        type Value = Vec<(K, V)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Vec<(K, V)>, M::Error> {
            let mut pairs = Vec::new();
            while pairs.len() <= MAX {
                let Some(pair) = map.next_entry()? else {
                    return Ok(pairs);
                };
                pairs.push(pair);
            }
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(pairs)
        }

        fn visit_unit<E>(self) -> Result<Vec<(K, V)>, E> {
            Ok(Vec::new())
        }
    }

    deserializer.deserialize_any(PairsVisitor::<K, V, MAX>(PhantomData))
}
