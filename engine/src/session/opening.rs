//! The opening of a connection: which dialect it is, and for WebSocket the HTTP upgrade.

use fanfare_wire::http::{self, Head};
use fanfare_wire::sniff::{self, Dialect};
use fanfare_wire::ws;

use super::native::{Carrier, Framing};
use super::{Ending, Session, Voice, set_voice, step};
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
    // Most often all of it comes at once, and is read where it lies.
    let Some(mut head) = partial.take() else {
        return match open(core, slot, input)? {
            Opened::Incomplete => {
                *session = Session::Sniffing(Some(Box::new(input.to_vec())));
                Ok(())
            }
            Opened::As(opened, consumed) => {
                *session = opened;
                go_on(core, slot, session, &mut input[consumed..])
            }
        };
    };
    // A head is at most so long, and what follows it is at most one receive.
    head.extend_from_slice(input);
    match open(core, slot, &head)? {
        Opened::Incomplete => {
            *session = Session::Sniffing(Some(head));
            Ok(())
        }
        Opened::As(opened, consumed) => {
            *session = opened;
            go_on(core, slot, session, &mut head[consumed..])
        }
    }
}

fn go_on(core: &mut Core, slot: u32, session: &mut Session, rest: &mut [u8]) -> Result<(), Ending> {
    if rest.is_empty() {
        Ok(())
    } else {
        step(core, slot, session, rest)
    }
}

enum Opened {
    Incomplete,
    /// What it has become, and the bytes that were for the opening.
    As(Session, usize),
}

fn open(core: &mut Core, slot: u32, input: &[u8]) -> Result<Opened, Ending> {
    match sniff::sniff(input) {
        Ok(None) => Ok(Opened::Incomplete),
        Ok(Some(Dialect::Http)) => open_http(core, slot, input),
        Ok(Some(Dialect::Native)) => {
            set_voice(core, slot, Voice::Native(Carrier::Tcp));
            Ok(Opened::As(Session::Native(Framing::tcp()), 0))
        }
        Ok(Some(Dialect::Goim | Dialect::Tls | Dialect::ProxyProtocol)) | Err(sniff::Unknown) => {
            Err(Ending::Silent)
        }
    }
}

fn open_http(core: &mut Core, slot: u32, input: &[u8]) -> Result<Opened, Ending> {
    let (head, consumed) = match http::parse_head(input) {
        Ok(None) => return Ok(Opened::Incomplete),
        Ok(Some(parsed)) => parsed,
        Err(error) => {
            return refuse(
                core,
                slot,
                error.status(),
                error.headers(),
                &error.to_string(),
            );
        }
    };
    let opened = match head.path {
        "/connection/websocket" => (
            Session::Centrifuge(ws::Decoder::new(ws::Role::Server)),
            Voice::Centrifuge,
        ),
        "/connection/native" => (
            Session::Native(Framing::websocket()),
            Voice::Native(Carrier::WebSocket),
        ),
        #[cfg(feature = "echo")]
        "/echo" => (
            Session::Echo(ws::Decoder::new(ws::Role::Server)),
            Voice::WebSocket,
        ),
        _ => return refuse(core, slot, 404, &[], NOT_FOUND),
    };
    let upgrade = match http::upgrade(&head) {
        Ok(upgrade) => upgrade,
        Err(error) => {
            return refuse(
                core,
                slot,
                error.status(),
                error.headers(),
                &error.to_string(),
            );
        }
    };
    if !is_origin_allowed(&head, upgrade.origin, &core.shared.config.allowed_origins) {
        return refuse(
            core,
            slot,
            403,
            &[],
            "this origin is not allowed, see client.allowed_origins in the configuration\n",
        );
    }
    if opened.1 == Voice::Centrifuge && asks_for_protobuf(&head, upgrade.protocols()) {
        return refuse(
            core,
            slot,
            400,
            &[],
            "the protobuf encoding is not served, use JSON\n",
        );
    }
    core.write(slot, |out| {
        ws::handshake::write_switching_protocols(out, upgrade.key, None)
    });
    #[cfg(feature = "echo")]
    if opened.1 == Voice::WebSocket {
        // An echo is never authenticated.
        core.wheel.cancel(slot);
    }
    set_voice(core, slot, opened.1);
    Ok(Opened::As(opened.0, consumed))
}

const NOT_FOUND: &str = "\
Fanfare serves clients here, over WebSocket:
  /connection/websocket  Centrifuge protocol (JSON)
  /connection/native     native protocol
and the native protocol over plain TCP on the same port.
";

fn refuse(
    core: &mut Core,
    slot: u32,
    status: u16,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Opened, Ending> {
    core.gauges.counters.protocol_errors.inc();
    core.write(slot, |out| http::write_response(out, status, headers, body));
    Err(Ending::Said)
}

fn asks_for_protobuf<'a>(head: &Head<'_>, mut protocols: impl Iterator<Item = &'a str>) -> bool {
    protocols.any(|protocol| protocol == "centrifuge-protobuf")
        || head
            .query
            .is_some_and(|query| query.split('&').any(|pair| pair == "cf_protocol=protobuf"))
}

/// Browsers send `Origin` and cannot be made to lie about it: a page may connect to the host it came from, and to
/// others only where the configuration names it (cross-site WebSocket hijacking).
fn is_origin_allowed(head: &Head<'_>, origin: Option<&str>, allowed: &[Box<str>]) -> bool {
    let Some(origin) = origin else { return true };
    let is_listed = allowed
        .iter()
        .any(|allowed| &**allowed == "*" || allowed.eq_ignore_ascii_case(origin));
    let host_of_origin = origin.split_once("://").map(|(_, host)| host);
    let is_own = match (host_of_origin, head.header("host")) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    };
    is_listed || is_own
}
