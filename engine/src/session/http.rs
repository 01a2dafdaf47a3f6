//! HTTP on a client connection: requests that open a WebSocket or a stream, and requests that are answered.

use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::http::{self, Body, Connection, Head, HeadError};

use super::{Ending, Session, routes, step};
use crate::conn::Conn;
use crate::core::{Core, Drain};
use crate::ids::ConnRef;

/// Where a connection stands that speaks HTTP. What arrives before it is wanted is kept only while that is so.
#[derive(Debug)]
pub(crate) enum Http {
    /// Before the first request, or within one.
    Reading(Option<Box<Partial>>),
    /// The last request has been answered, and another may follow.
    Idle,
    /// The answer to a request comes from another shard; the next request waits.
    Waiting(Box<Waiting>),
    /// The answer goes on as long as the connection; what arrives is discarded.
    Streaming(Box<Secret>),
}

/// The beginning of a request.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    bytes: Vec<u8>,
    /// How long the request is in all; 0 while its head is not complete.
    whole: usize,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// What has arrived after it.
    rest: Vec<u8>,
    pub(super) answer: Answerable,
}

/// What an answer needs to know of its request.
#[derive(Debug, Clone)]
pub(super) struct Answerable {
    connection: Connection,
    /// The method is HEAD: an answer with a body would be taken for the answer to the next request.
    is_bodiless: bool,
    /// The page of another origin that asks, and may.
    origin: Option<Box<str>>,
}

/// What proves that a request speaks for a session whose answers go out on another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secret(u128);

/// A session, as requests name it: the connection that its answers go out on, and the proof. 48 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionName {
    pub(crate) conn: ConnRef,
    pub(crate) secret: Secret,
}

impl std::fmt::Display for SessionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:032x}", self.conn.bits(), self.secret.0)
    }
}

impl std::str::FromStr for SessionName {
    type Err = NoSuchSession;

    fn from_str(text: &str) -> Result<Self, NoSuchSession> {
        if text.len() != 48 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoSuchSession);
        }
        let (conn, secret) = text.split_at(16);
        let conn = u64::from_str_radix(conn, 16).map_err(|_| NoSuchSession)?;
        let secret = u128::from_str_radix(secret, 16).map_err(|_| NoSuchSession)?;
        Ok(Self {
            conn: ConnRef::from_bits(conn),
            secret: Secret(secret),
        })
    }
}

/// The text names no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSuchSession;

impl Secret {
    /// Nobody can guess it.
    pub(super) fn new() -> Result<Self, Ending> {
        let half =
            || getrandom::u64().map_err(|_| Ending::Disconnect(DisconnectCode::SERVER_ERROR));
        Ok(Self(u128::from(half()?) << 64 | u128::from(half()?)))
    }
}

/// What became of a request.
pub(super) enum After {
    /// It is answered.
    Answered(Connection),
    /// It will be.
    Waits(Answerable),
    /// The connection is not HTTP any more.
    Opened(Session),
}

impl Http {
    pub(super) fn is_partial(&self) -> bool {
        matches!(self, Self::Reading(Some(_)))
    }

    /// Bytes kept for what has arrived.
    pub(super) fn kept_bytes(&self) -> usize {
        match self {
            Self::Reading(Some(partial)) => partial.bytes.capacity(),
            Self::Waiting(waiting) => waiting.rest.capacity(),
            Self::Reading(None) | Self::Idle | Self::Streaming(_) => 0,
        }
    }
}

pub(super) fn receive(
    core: &mut Core,
    slot: u32,
    session: &mut Session,
    input: &mut [u8],
) -> Result<(), Ending> {
    let Session::Http(http) = session else {
        return Ok(());
    };
    match http {
        Http::Reading(partial) => {
            let Some(mut partial) = partial.take() else {
                return requests(core, slot, session, input);
            };
            partial.bytes.extend_from_slice(input);
            if partial.bytes.len() < partial.whole {
                return keep(core, session, partial);
            }
            requests(core, slot, session, &mut partial.bytes)
        }
        Http::Idle => {
            // However long the connection was idle, this request has as long as its first one had.
            more_time(core, slot);
            requests(core, slot, session, input)
        }
        Http::Waiting(waiting) => {
            waiting.rest.extend_from_slice(input);
            if waiting.rest.len() > http::HEAD_BYTES_MAX {
                return Err(Ending::Silent);
            }
            check_kept(core, waiting.rest.capacity())
        }
        Http::Streaming(_) => Ok(()),
    }
}

/// Handles the whole requests that the input begins with, and keeps what follows them.
fn requests(
    core: &mut Core,
    slot: u32,
    session: &mut Session,
    mut input: &mut [u8],
) -> Result<(), Ending> {
    loop {
        if input.is_empty() {
            *session = Session::Http(Http::Idle);
            return Ok(());
        }
        let (head, head_bytes) = match http::parse_head(input) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => {
                let bytes = input.to_vec();
                return keep(core, session, Box::new(Partial { bytes, whole: 0 }));
            }
            Err(error) => return Err(refuse_head(core, slot, None, error)),
        };
        let body_bytes = body_bytes(core, slot, &head)?;
        let whole = head_bytes + body_bytes;
        if input.len() < whole {
            if asks_to_continue(&head) {
                core.write(slot, |out| {
                    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n")
                });
            }
            let bytes = input.to_vec();
            return keep(core, session, Box::new(Partial { bytes, whole }));
        }
        core.gauges.counters.http_requests.inc();
        let after = routes::handle(core, slot, session, &head, &input[head_bytes..whole])?;
        input = &mut input[whole..];
        match after {
            After::Answered(Connection::KeepAlive) => more_time(core, slot),
            After::Answered(Connection::Close) => return Err(Ending::Said),
            After::Waits(answer) => {
                core.wheel.cancel(slot);
                let rest = input.to_vec();
                check_kept(core, rest.capacity())?;
                *session = Session::Http(Http::Waiting(Box::new(Waiting { rest, answer })));
                return Ok(());
            }
            After::Opened(opened) => {
                *session = opened;
                if input.is_empty() {
                    return Ok(());
                }
                return step(core, slot, session, input);
            }
        }
    }
}

/// Keeps the beginning of a request.
fn keep(core: &mut Core, session: &mut Session, partial: Box<Partial>) -> Result<(), Ending> {
    check_kept(core, partial.bytes.capacity())?;
    *session = Session::Http(Http::Reading(Some(partial)));
    Ok(())
}

/// Whether the shard may keep so many bytes more for those who have not said who they are.
fn check_kept(core: &Core, bytes: usize) -> Result<(), Ending> {
    let limit = core.shared.config.limits.request_bytes_per_shard_max as usize;
    if core.request_bytes + bytes > limit {
        core.gauges.counters.requests_refused_full.inc();
        return Err(Ending::Silent);
    }
    Ok(())
}

/// A request has begun or has been answered: the next one must be complete in time. Nothing earns more time once everyone
/// has to go.
fn more_time(core: &mut Core, slot: u32) {
    if core.drain == Drain::No {
        core.schedule_in(slot, core.shared.config.limits.handshake_timeout);
    }
}

/// The client holds the body back until it is told to go on, which HTTP/1.0 does not know (RFC 9110 section 10.1.1).
fn asks_to_continue(head: &Head<'_>) -> bool {
    head.is_http_11
        && head
            .header("Expect")
            .is_some_and(|it| it.eq_ignore_ascii_case("100-continue"))
}

/// The length of a request's body, if it is one that is read.
fn body_bytes(core: &mut Core, slot: u32, head: &Head<'_>) -> Result<usize, Ending> {
    let limit = core.shared.config.limits.message_bytes_max;
    match head.body {
        // The route says what is wrong with a body there. Elsewhere an `Upgrade` means nothing, least of all that the body
        // were another request, as which a proxy before us would not see it.
        _ if routes::is_websocket(head.path) => Ok(0),
        Body::Bytes(bytes) if bytes <= u64::from(limit) => Ok(usize::try_from(bytes).unwrap_or(0)),
        Body::Bytes(_) => Err(refuse(
            core,
            slot,
            Some(head),
            413,
            &[],
            "the body is larger than limits.message_bytes_max\n",
        )),
        Body::Chunked => Err(refuse(
            core,
            slot,
            Some(head),
            411,
            &[],
            "send the body with a Content-Length\n",
        )),
    }
}

/// The answer to the request that waits. Returns whether somebody is still there to hear it.
pub(super) fn answer(
    core: &mut Core,
    slot: u32,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> bool {
    let waits = |conn: &Conn| matches!(conn.session, Session::Http(Http::Waiting(_)));
    if !core.conns.get(slot).is_some_and(waits) {
        return false;
    }
    let Session::Http(Http::Waiting(mut waiting)) = core.take_session(slot) else {
        return false;
    };
    let after = respond(core, slot, &waiting.answer, status, headers, body);
    if !matches!(after, After::Answered(Connection::KeepAlive)) {
        core.finish(slot);
        return true;
    }
    core.put_session(slot, Session::Http(Http::Idle));
    more_time(core, slot);
    if !waiting.rest.is_empty() {
        super::receive(core, slot, &mut waiting.rest);
    }
    true
}

/// Writes the whole answer to a request.
pub(super) fn respond(
    core: &mut Core,
    slot: u32,
    to: &Answerable,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> After {
    let body = if to.is_bodiless { b"" } else { body };
    // Who keeps asking must not keep the engine from its end.
    let connection = match core.drain {
        Drain::No => to.connection,
        Drain::Draining => Connection::Close,
    };
    to.with_headers(headers, |headers| {
        core.write(slot, |out| {
            http::write_response(out, status, connection, headers, body)
        });
    });
    After::Answered(connection)
}

impl Answerable {
    /// `Err`: a page asks that may not.
    pub(super) fn new(core: &Core, head: &Head<'_>) -> Result<Self, NotAllowed> {
        let origin = head.header("Origin");
        if !is_origin_allowed(head, origin, &core.shared.config.allowed_origins) {
            return Err(NotAllowed);
        }
        Ok(Self {
            connection: if head.keeps_alive() {
                Connection::KeepAlive
            } else {
                Connection::Close
            },
            is_bodiless: is_bodiless(head),
            origin: origin.map(Into::into),
        })
    }

    /// Adds what a browser wants to see before it shows an answer to a page of another origin (the Fetch standard,
    /// section 3.2).
    pub(super) fn with_headers(
        &self,
        headers: &[(&str, &str)],
        then: impl FnOnce(&[(&str, &str)]),
    ) {
        let Some(origin) = &self.origin else {
            return then(headers);
        };
        let mut all = vec![
            ("Access-Control-Allow-Origin", &**origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"),
        ];
        all.extend_from_slice(headers);
        then(&all);
    }
}

/// The answer to this request has no body, whatever it says (RFC 9110 section 9.3.2).
fn is_bodiless(head: &Head<'_>) -> bool {
    head.method == "HEAD"
}

/// A page of an origin that is not allowed.
pub(super) struct NotAllowed;

pub(super) const ORIGIN_NOT_ALLOWED: &str =
    "this origin is not allowed, see client.allowed_origins in the configuration\n";

/// Longest origin: it is said back. A scheme, a host of at most 253 bytes (RFC 1035 section 2.3.4) and a port.
const ORIGIN_BYTES_MAX: usize = 512;

/// Browsers send `Origin` and cannot be made to lie about it: a page may connect to the host it came from, and to
/// others only where the configuration names it (cross-site WebSocket hijacking).
fn is_origin_allowed(head: &Head<'_>, origin: Option<&str>, allowed: &[Box<str>]) -> bool {
    let Some(origin) = origin else { return true };
    if origin.len() > ORIGIN_BYTES_MAX || !origin.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
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

/// Answers a request that cannot be read, or not here; nothing after it is. Without a head, there was none to be read.
pub(super) fn refuse(
    core: &mut Core,
    slot: u32,
    head: Option<&Head<'_>>,
    status: u16,
    headers: &[(&str, &str)],
    body: &str,
) -> Ending {
    core.gauges.counters.protocol_errors.inc();
    let body = if head.is_some_and(is_bodiless) {
        ""
    } else {
        body
    };
    core.write(slot, |out| {
        http::write_response(out, status, Connection::Close, headers, body.as_bytes())
    });
    Ending::Said
}

pub(super) fn refuse_head(
    core: &mut Core,
    slot: u32,
    head: Option<&Head<'_>>,
    error: HeadError,
) -> Ending {
    refuse(
        core,
        slot,
        head,
        error.status(),
        error.headers(),
        &error.to_string(),
    )
}
