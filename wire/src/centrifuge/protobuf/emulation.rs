//! The emulation request.

use super::read::Message;
use crate::centrifuge::{Emulation, EmulationError};

/// Reads the body of an emulation request, which has no length before it.
///
/// # Errors
/// See [`EmulationError`].
pub fn emulation(body: &[u8]) -> Result<Emulation<'_>, EmulationError> {
    let mut message = Message::new(body);
    let mut request = Emulation::default();
    while let Some(field) = message.field()? {
        match field.number {
            1 => request.node = field.text()?,
            2 => request.session = field.text()?,
            3 => request.data = field.bytes()?,
            _ => {}
        }
    }
    Ok(request)
}
