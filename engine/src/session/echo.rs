//! Echoes messages: what conformance suites for WebSocket talk to. Compiled into test builds only.

use fanfare_wire::ws;

use super::{Ending, Incoming};
use crate::core::Core;

pub(super) fn receive(
    core: &mut Core,
    slot: u32,
    decoder: &mut ws::Decoder,
    input: &mut [u8],
) -> Result<(), Ending> {
    let is_deflated = decoder.is_deflate_negotiated();
    super::messages(core, slot, decoder, input, |core, slot, message| {
        let (opcode, data) = match message {
            Incoming::Text(data) => (ws::Opcode::Text, data),
            Incoming::Binary(data) => (ws::Opcode::Binary, data),
        };
        if !is_deflated {
            core.write(slot, |out| ws::write_frame(out, opcode, data));
            return Ok(());
        }
        let mut deflater = std::mem::take(&mut core.scratch.deflater);
        core.write(slot, |out| {
            ws::write_deflated_frame(out, opcode, data, &mut deflater);
        });
        core.scratch.deflater = deflater;
        Ok(())
    })
}
