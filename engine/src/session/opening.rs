//! The opening of a connection: which protocol it is.

use fanfare_wire::sniff::{self, Dialect};

use super::http::Http;
use super::native::{Carrier, Framing};
use super::{Ending, Session, Voice, goim, set_voice, step};
use crate::core::Core;

pub(super) fn receive(
    core: &mut Core,
    slot: u32,
    session: &mut Session,
    input: &mut [u8],
) -> Result<(), Ending> {
    let Session::Sniffing(partial) = session else {
        return Ok(());
    };
    // Most often enough comes at once, and is read where it lies.
    let Some(mut beginning) = partial.take() else {
        return open(core, slot, session, input);
    };
    beginning.extend_from_slice(input);
    open(core, slot, session, &mut beginning)
}

fn open(core: &mut Core, slot: u32, session: &mut Session, input: &mut [u8]) -> Result<(), Ending> {
    *session = match sniff::sniff(input) {
        // At most eight bytes.
        Ok(None) => {
            *session = Session::Sniffing(Some(Box::new(input.to_vec())));
            return Ok(());
        }
        Ok(Some(Dialect::Http)) => Session::Http(Http::Reading(None)),
        Ok(Some(Dialect::Native)) => {
            set_voice(core, slot, Voice::Native(Carrier::Tcp));
            Session::Native(Framing::tcp())
        }
        Ok(Some(Dialect::Goim)) if core.shared.config.goim.is_enabled => {
            set_voice(core, slot, Voice::Goim(goim::Style::Tcp));
            Session::Goim(goim::Framing::tcp())
        }
        Ok(Some(Dialect::Goim | Dialect::Tls | Dialect::ProxyProtocol)) | Err(sniff::Unknown) => {
            return Err(Ending::Silent);
        }
    };
    step(core, slot, session, input)
}
