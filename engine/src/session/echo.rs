//! Echoes messages: what conformance suites for WebSocket talk to. Compiled into test builds only.

use fanfare_wire::ws;

use super::{Ending, control_event};
use crate::core::Core;

pub(super) fn receive(
    core: &mut Core,
    slot: u32,
    decoder: &mut ws::Decoder,
    input: &mut [u8],
) -> Result<(), Ending> {
    let limits = &core.shared.config.limits;
    let limits = ws::Limits {
        message_bytes_max: limits.message_bytes_max,
        fragments_max: limits.fragments_max,
    };
    let mut at = 0;
    loop {
        let (consumed, event) =
            decoder
                .next(&mut input[at..], &limits)
                .map_err(|error| Ending::WebSocket {
                    code: error.close_code(),
                })?;
        at += consumed;
        match event {
            Some(ws::Event::Text(text)) => core.write(slot, |out| {
                ws::write_frame(out, ws::Opcode::Text, text.as_bytes())
            }),
            Some(ws::Event::Binary(data)) => {
                core.write(slot, |out| ws::write_frame(out, ws::Opcode::Binary, data))
            }
            Some(event) => control_event(core, slot, event)?,
            None => return Ok(()),
        }
    }
}
