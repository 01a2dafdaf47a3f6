//! The Comet calls of PHPWebIM: a long-poll session for pages that know no more than forms. It is in one room, publishes to
//! it, and hears one message a request.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::ErrorCode;
use fanfare_wire::comet::{self, FORM};
use fanfare_wire::http::{self, Head, NotUtf8};

use super::http::{After, Answerable, SessionName, respond};
use super::poll::{self, Manner};
use super::{Voice, error_code, grant, set_voice};
use crate::api::{ApiError, Payload, Published};
use crate::authority::Denied;
use crate::conn::Conn;
use crate::core::Core;
use crate::encoding::Encoding;
use crate::ids::ConnRef;
use crate::membership::Subscribe;
use crate::message::{CometCall, Media, Polled, Post, ReplyTo, Request};
use crate::rights::Right;

/// Longest that a request may wait for a message, as in the original. The original's page asks for 80 seconds and gives up
/// by itself after as many.
const WAIT_MAX: Duration = Duration::from_secs(50);

/// The request of the join that the page asks for. Those of the server have none.
const ASKED_FOR: u32 = 1;

pub(super) const NO_SESSION: &str = "there is no such session";

/// What a session of these calls has beside a queue.
#[derive(Debug)]
pub(super) struct Comet {
    /// The room that it publishes to.
    room: Option<Box<str>>,
    /// Rooms that have not answered: until they have, the page is not told of its session.
    missing: usize,
}

impl Comet {
    /// The page has not been told of it.
    pub(super) const fn is_opening(&self) -> bool {
        self.missing > 0
    }
}

/// An answer that says no, with its status.
struct Refusal {
    status: u16,
    reason: Cow<'static, str>,
}

impl Refusal {
    const fn new(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason: Cow::Borrowed(reason),
        }
    }
}

impl From<NotUtf8> for Refusal {
    fn from(error: NotUtf8) -> Self {
        Self {
            status: 400,
            reason: error.to_string().into(),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self {
            status: 403,
            reason: denied.to_string().into(),
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::new(403, code.message())
    }
}

/// Answers one of the calls.
pub(super) fn call(
    core: &mut Core,
    slot: u32,
    head: &Head<'_>,
    body: &[u8],
    answer: Answerable,
) -> After {
    core.gauges.counters.messages_received.inc();
    let called = match head.path {
        "/comet/connect" => connect(core, slot, head, body),
        "/comet/pub" => publish(core, slot, head, body),
        _ => hear(core, slot, head, body),
    };
    let refusal = match called {
        Ok(()) => return After::Waits(answer),
        Err(refusal) => refusal,
    };
    core.gauges.counters.client_errors.inc();
    let retry: &[_] = if refusal.status == 503 {
        &[("Retry-After", "5")]
    } else {
        &[]
    };
    let said = failure(refusal.status, &refusal.reason);
    write(core, slot, &answer, retry, &said)
}

/// Opens a session, for whom the form says.
fn connect(core: &mut Core, slot: u32, head: &Head<'_>, form: &[u8]) -> Result<(), Refusal> {
    check(head, form, "connect")?;
    let (token, wanted) = (field(form, "token")?, field(form, "room")?);
    // Whom the backend is asked about elsewhere is not let in here without being asked about.
    if token.is_empty() && core.asked().connect {
        return Err(Denied::Invalid.into());
    }
    let grant = grant(core, &token)?;
    let room = if wanted.is_empty() {
        grant.rooms.first().cloned()
    } else {
        Some(Box::from(&*wanted))
    };
    let manner = Manner::Comet(Comet { room, missing: 0 });
    let session = poll::open(core, manner)
        .map_err(|_| Refusal::new(500, ErrorCode::INTERNAL.message()))?
        .ok_or(Refusal::new(503, poll::TOO_MANY))?;
    let opened = session.conn.slot();
    set_voice(core, opened, Voice::Comet);
    let rooms = grant.rooms.clone();
    core.authenticated(opened, grant, Encoding::COMET);
    let missing = match enter(core, opened, &rooms, &wanted) {
        Ok(missing) => missing,
        Err(code) => {
            core.begin_close(opened);
            return Err(code.into());
        }
    };
    if let Some(comet) = comet_of(core, opened) {
        comet.missing = missing;
    }
    let requester = core.conn_ref(slot);
    poll::wait(core, opened, requester, WAIT_MAX);
    if missing == 0 {
        welcome(core, opened);
    }
    Ok(())
}

/// Joins the rooms that the token names and the one that the page wants. Returns how many have to answer.
fn enter(
    core: &mut Core,
    slot: u32,
    by_token: &[Box<str>],
    wanted: &str,
) -> Result<usize, ErrorCode> {
    let mut missing = 0;
    for room in by_token {
        match core.subscribe(slot, Subscribe::by_server(room)) {
            Ok(()) => missing += 1,
            Err(_) => core.gauges.counters.client_errors.inc(),
        }
    }
    if wanted.is_empty() || by_token.iter().any(|room| **room == *wanted) {
        return Ok(missing);
    }
    let (_, options) = core.check_room(wanted)?;
    if options.backend.subscribe {
        // It is for the backend to say, which is not asked here.
        return Err(ErrorCode::NOT_AVAILABLE);
    }
    let subscribe = Subscribe {
        request: ASKED_FOR,
        ..Subscribe::by_client(wanted)
    };
    core.subscribe(slot, subscribe)?;
    Ok(missing + 1)
}

/// A room has answered. One that the page asked for and cannot have is the end of the session; those of the server are
/// passed over, as elsewhere.
pub(super) fn room_answered(
    core: &mut Core,
    slot: u32,
    request: u32,
    result: Result<(), ErrorCode>,
) {
    let is_open = core.conns.get(slot).is_some_and(Conn::is_open);
    let Some(comet) = comet_of(core, slot).filter(|comet| is_open && comet.is_opening()) else {
        return;
    };
    if let Err(code) = result
        && request == ASKED_FOR
    {
        poll::answered(core, slot, failure(403, code.message()));
        return core.begin_close(slot);
    }
    comet.missing -= 1;
    if comet.missing == 0 {
        welcome(core, slot);
    }
}

/// Tells the page its session.
fn welcome(core: &mut Core, slot: u32) {
    let conn = core.conn_ref(slot);
    let secret = core.conns.get(slot).and_then(|conn| conn.session.secret());
    let Some(secret) = secret else {
        return;
    };
    let session = SessionName { conn, secret }.to_string();
    poll::answered(core, slot, said(|out| comet::write_session(out, &session)));
}

/// Sends a message on to its session, which may be another shard's.
fn publish(core: &mut Core, slot: u32, head: &Head<'_>, form: &[u8]) -> Result<(), Refusal> {
    check(head, form, "pub")?;
    let session = session(core, form)?;
    let message = field(form, "message")?;
    if message.is_empty() {
        return Err(Refusal::new(400, "the message is missing"));
    }
    let message = Bytes::copy_from_slice(message.as_bytes());
    send(core, slot, session, CometCall::Say(message));
    Ok(())
}

/// Comes for a message.
fn hear(core: &mut Core, slot: u32, head: &Head<'_>, form: &[u8]) -> Result<(), Refusal> {
    check(head, form, "sub")?;
    let session = session(core, form)?;
    let wait = field(form, "time")?
        .parse()
        .map_or(WAIT_MAX, Duration::from_secs)
        .min(WAIT_MAX);
    send(core, slot, session, CometCall::Hear(wait));
    Ok(())
}

fn send(core: &mut Core, slot: u32, session: SessionName, call: CometCall) {
    let conn = core.conn_ref(slot);
    let request = Request::Comet {
        session,
        conn,
        call,
    };
    core.request(session.conn.shard(), request);
}

/// A call has come to the shard of its session.
pub(crate) fn take(core: &mut Core, session: &SessionName, conn: ConnRef, call: CometCall) {
    let slot = poll::find(core, session).filter(|&slot| comet_of(core, slot).is_some());
    let Some(slot) = slot else {
        return poll::tell(core, conn, failure(403, NO_SESSION));
    };
    match call {
        CometCall::Hear(at_most) => poll::wait(core, slot, conn, at_most),
        CometCall::Say(message) => {
            if let Err(reason) = publish_as(core, slot, conn, message) {
                core.gauges.counters.client_errors.inc();
                poll::tell(core, conn, failure(200, reason));
            }
        }
    }
}

/// Publishes to the session's room, in its name. The home answers the request itself.
fn publish_as(
    core: &mut Core,
    slot: u32,
    requester: ConnRef,
    message: Bytes,
) -> Result<(), &'static str> {
    if !core.conns.get(slot).is_some_and(Conn::is_open) {
        return Err("the session has ended: ask for a message to hear why");
    }
    let room = comet_of(core, slot).and_then(|comet| comet.room.clone());
    let Some(room) = room else {
        return Err("the session is in no room: name one when it connects");
    };
    let (_, options) = core.check_room(&room).map_err(ErrorCode::message)?;
    if options.backend.publish {
        // It is for the backend to say, which is not asked here.
        return Err(ErrorCode::NOT_AVAILABLE.message());
    }
    if !core.may(slot, &room, &options, Right::Publish) {
        return Err(ErrorCode::PERMISSION_DENIED.message());
    }
    let payload = Payload {
        bytes: message,
        is_json: false,
    };
    let post = Post {
        payload,
        publisher: core.publisher(slot, &room),
        extras: None,
    };
    let reply = ReplyTo::Conn {
        conn: requester,
        // It has no number: it is the only one of its connection.
        request: 0,
    };
    core.publish(&room, post, reply);
    Ok(())
}

/// What became of a message that a request on this connection brought.
pub(super) fn published(core: &mut Core, slot: u32, result: Result<Published, ApiError>) {
    let said = match result {
        Ok(_) => said(comet::write_published),
        Err(error) => {
            core.gauges.counters.client_errors.inc();
            failure(200, error_code(error).message())
        }
    };
    poll::say(core, slot, &said);
}

// -- what the engine tells the page

/// Tells the page, with its next request, that something is not as it should be. It goes on asking.
pub(super) fn tell(core: &mut Core, slot: u32, reason: &str) {
    core.write(slot, |out| comet::write_failure(out, reason));
}

/// The answer that there is nothing else to say.
pub(super) fn failure(status: u16, reason: &str) -> Polled {
    Polled {
        status,
        ..said(|out| comet::write_failure(out, reason))
    }
}

fn said(write: impl FnOnce(&mut Vec<u8>)) -> Polled {
    let mut body = Vec::new();
    write(&mut body);
    Polled {
        status: 200,
        media: Media::Json,
        body: body.into(),
        session: None,
    }
}

fn write(
    core: &mut Core,
    slot: u32,
    to: &Answerable,
    headers: &[(&str, &str)],
    said: &Polled,
) -> After {
    let mut all = vec![
        ("Content-Type", said.media.content_type()),
        ("Cache-Control", "no-store"),
    ];
    all.extend_from_slice(headers);
    respond(core, slot, to, said.status, &all, &said.body)
}

// -- what a form says

/// The form is one, and of this call. The original goes by `type` alone, its pages by both.
fn check(head: &Head<'_>, form: &[u8], call: &str) -> Result<(), Refusal> {
    let media_type = head
        .header("Content-Type")
        .and_then(|it| it.split(';').next());
    if media_type.is_some_and(|it| !it.trim().eq_ignore_ascii_case(FORM)) {
        let reason = "the body is no form: send application/x-www-form-urlencoded";
        return Err(Refusal::new(415, reason));
    }
    let kind = field(form, "type")?;
    if !kind.is_empty() && *kind != *call {
        return Err(Refusal::new(400, "this address is for another type"));
    }
    Ok(())
}

/// The field of this name, or nothing.
fn field<'a>(form: &'a [u8], name: &str) -> Result<Cow<'a, str>, NotUtf8> {
    Ok(http::parameter(form, name)?.unwrap_or_default())
}

fn session(core: &Core, form: &[u8]) -> Result<SessionName, Refusal> {
    let session = field(form, "session_id")?.parse::<SessionName>().ok();
    session
        .filter(|it| it.conn.shard().ix() < core.shared.inboxes.len())
        .ok_or(Refusal::new(403, NO_SESSION))
}

fn comet_of(core: &mut Core, slot: u32) -> Option<&mut Comet> {
    match &mut poll::poll_of(core, slot)?.manner {
        Manner::Comet(comet) => Some(comet),
        Manner::Lines => None,
    }
}
