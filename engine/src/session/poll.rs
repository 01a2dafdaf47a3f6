//! Long polling: a session without a socket. It is a connection like others, a member of lanes with a cursor in each,
//! whose output is held until a request comes for it. So it has no queue of its own, and lags like any slow member.

use std::time::Duration;

use fanfare_wire::http::{self, Head};

use super::http::{After, Answerable, Secret, SessionName, respond};
use super::{Ending, Session, Voice, centrifuge, end, set_voice};
use crate::conn::{Conn, Phase};
use crate::core::{Core, millis};
use crate::encoding::{Carrier, Codec, Encoding};
use crate::ids::ConnRef;
use crate::message::{Delivery, Polled, Request};

/// Bytes in one answer, unless a single message is longer: what waits beyond comes with the next request.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Longest that a request may wait for something to say.
const WAIT_MAX: Duration = Duration::from_secs(80);

/// How long it waits when it does not say.
const WAIT: Duration = Duration::from_secs(25);

/// A session that requests come for.
#[derive(Debug)]
pub(crate) struct Poll {
    pub(super) secret: Secret,
    /// The request that waits for something to say, and until when, in milliseconds since the engine started.
    waiting: Option<(ConnRef, u64)>,
}

/// Opens a session, and takes the commands that the request brings; what they are answered is the answer.
pub(super) fn connect(
    core: &mut Core,
    slot: u32,
    body: &[u8],
    answer: Answerable,
) -> Result<After, Ending> {
    let Some(session) = open(core, Encoding::new(Codec::CentrifugeJson, Carrier::Lines))? else {
        let body = b"as many long-poll sessions as may be, see limits.polls_per_shard_max\n";
        return Ok(respond(
            core,
            slot,
            &answer,
            503,
            &[("Retry-After", "5")],
            body,
        ));
    };
    let requester = core.conn_ref(slot);
    let poller = session.conn.slot();
    wait(core, poller, requester, WAIT);
    if let Err(ending) = centrifuge::take(core, poller, body) {
        end(core, poller, ending);
    }
    core.output.held.push(poller);
    Ok(After::Waits(answer))
}

/// Comes for what a session has to say, which may be another shard's.
pub(super) fn receive(
    core: &mut Core,
    slot: u32,
    head: &Head<'_>,
    answer: Answerable,
) -> Result<After, Ending> {
    let parameter = |name| http::parameter(head.query, name);
    let session = parameter("session").and_then(|session| session.parse::<SessionName>().ok());
    let Some(session) = session.filter(|it| it.conn.shard().ix() < core.shared.inboxes.len())
    else {
        let body = b"there is no such session\n";
        return Ok(respond(core, slot, &answer, 404, &[], body));
    };
    let wait = parameter("timeout")
        .and_then(|seconds| seconds.parse().ok())
        .map_or(WAIT, Duration::from_secs)
        .min(WAIT_MAX);
    let conn = core.conn_ref(slot);
    let request = Request::Poll {
        session,
        conn,
        wait,
    };
    core.request(session.conn.shard(), request);
    Ok(After::Waits(answer))
}

/// A session of this shard, which is told to nobody else.
fn open(core: &mut Core, encoding: Encoding) -> Result<Option<SessionName>, Ending> {
    let Some(conn) = core.open_without_socket() else {
        core.gauges.counters.polls_refused_full.inc();
        return Ok(None);
    };
    let slot = conn.slot();
    let secret = Secret::new()?;
    let session = Session::Poll(Box::new(Poll {
        secret,
        waiting: None,
    }));
    core.put_session(slot, session);
    set_voice(core, slot, Voice::Centrifuge(encoding));
    core.schedule_in(slot, core.shared.config.limits.handshake_timeout);
    Ok(Some(SessionName { conn, secret }))
}

/// A request has come for what a session has to say.
pub(crate) fn poll(core: &mut Core, session: &SessionName, conn: ConnRef, at_most: Duration) {
    let slot = core.conns.slot_of(session.conn).filter(|&slot| {
        let conn = core.conns.get(slot);
        conn.is_some_and(|conn| conn.session.secret() == Some(session.secret))
    });
    let Some(slot) = slot else {
        return tell(core, conn, Polled::NoSession);
    };
    wait(core, slot, conn, at_most);
    core.output.held.push(slot);
}

/// The request waits for the session. One that waits already has waited in vain: its client does not listen any more.
fn wait(core: &mut Core, slot: u32, conn: ConnRef, at_most: Duration) {
    let until_ms = core.now.ms + millis(at_most);
    let Some(poll) = core.conns.get_mut(slot).and_then(poll_of) else {
        return;
    };
    let before = poll.waiting.replace((conn, until_ms));
    if let Some((before, _)) = before {
        tell(core, before, Polled::Nothing);
    }
    core.schedule_in(slot, at_most);
}

fn poll_of(conn: &mut Conn) -> Option<&mut Poll> {
    match &mut conn.session {
        Session::Poll(poll) => Some(poll),
        _ => None,
    }
}

/// Answers the request that waits, if there is something to say.
pub(crate) fn flush(core: &mut Core, slot: u32) {
    let Some(conn) = core.conns.get_mut(slot) else {
        return;
    };
    let phase = conn.phase;
    let Some(poll) = poll_of(conn) else {
        return;
    };
    let Some((waiting, _)) = poll.waiting else {
        return;
    };
    let body = core.take_held(slot, ANSWER_BYTES_MAX);
    if body.is_empty() {
        return;
    }
    let session = core.conn_ref(slot);
    let body = body.into();
    answered(core, slot, waiting, Polled::Body { session, body });
    if phase == Phase::Finishing {
        core.begin_close(slot);
    }
}

fn answered(core: &mut Core, slot: u32, to: ConnRef, polled: Polled) {
    let timeout = core.shared.config.limits.poll_timeout;
    if let Some(poll) = core.conns.get_mut(slot).and_then(poll_of) {
        poll.waiting = None;
    }
    if core
        .conns
        .get(slot)
        .is_some_and(|conn| conn.phase != Phase::Finishing)
    {
        core.schedule_in(slot, timeout);
    }
    tell(core, to, polled);
}

/// The session's deadline: a request has waited long enough, or none has come for too long.
pub(crate) fn deadline(core: &mut Core, slot: u32) {
    let Some(poll) = core.conns.get_mut(slot).and_then(poll_of) else {
        return;
    };
    match poll.waiting {
        Some((_, until_ms)) if core.now.ms < until_ms => {
            core.wheel.schedule(slot, until_ms);
        }
        Some((waiting, _)) => answered(core, slot, waiting, Polled::Nothing),
        None => {
            core.gauges.counters.polls_timed_out.inc();
            core.begin_close(slot);
        }
    }
}

fn tell(core: &mut Core, conn: ConnRef, polled: Polled) {
    core.deliver(conn.shard(), Delivery::Polled { conn, polled });
}

/// The answer to a request that waits on this shard. What nobody is there to hear any more goes back to its session.
pub(crate) fn polled(core: &mut Core, conn: ConnRef, polled: Polled) {
    let headers = [
        ("Content-Type", "application/x-ndjson"),
        ("Cache-Control", "no-store"),
    ];
    let (status, body): (u16, &[u8]) = match &polled {
        Polled::Body { body, .. } => (200, body),
        Polled::Nothing => (200, b""),
        Polled::NoSession => (404, b"there is no such session\n"),
    };
    let is_heard = core
        .conns
        .slot_of(conn)
        .is_some_and(|slot| super::http::answer(core, slot, status, &headers, body));
    if let Polled::Body { session, body } = polled
        && !is_heard
    {
        core.request(session.shard(), Request::Unpolled { session, body });
    }
}

/// Takes back what a request did not live to hear: the next one hears it first.
pub(crate) fn unpolled(core: &mut Core, session: ConnRef, body: &[u8]) {
    let Some(slot) = core.conns.slot_of(session) else {
        return;
    };
    core.put_back(slot, body);
    core.output.held.push(slot);
}
