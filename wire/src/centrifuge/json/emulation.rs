//! The emulation request.

use std::borrow::Cow;

use serde::Deserialize;

use super::read::{Object, text};
use super::value::is_too_deep;
use crate::centrifuge::{Emulation, EmulationError};

/// Reads the body of an emulation request. The commands are a text inside of the JSON, and come out of it unescaped.
///
/// # Errors
/// See [`EmulationError`].
pub fn emulation(body: &[u8]) -> Result<Emulation<'_>, EmulationError> {
    let body = std::str::from_utf8(body).map_err(|error| EmulationError::Malformed {
        column: error.valid_up_to(),
    })?;
    if is_too_deep(body) {
        return Err(EmulationError::TooDeep);
    }
    let fields: Object<EmulationFields<'_>> =
        serde_json::from_str(body).map_err(|error| EmulationError::Malformed {
            column: error.column(),
        })?;
    let fields = fields.0.ok_or(EmulationError::Malformed { column: 0 })?;
    Ok(Emulation {
        node: fields.node,
        session: fields.session,
        data: match fields.data {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct EmulationFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    node: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    session: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    data: Cow<'a, str>,
}
