//! Long polling: a session without a socket. It is a connection like others, a member of lanes with a cursor in each,
//! whose output is held until a request comes for it. So it has no queue of its own, and lags like any slow member.

use std::time::Duration;

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::http::Head;

use super::comet::{self, Comet};
use super::http::{After, Answerable, Secret, SessionName, respond};
use super::routes::keep_headers;
use super::{Ending, Session, Voice, centrifuge, end, refresh, set_voice};
use crate::conn::{Conn, More, Phase};
use crate::core::{Core, Drain, millis};
use crate::deadlines::EXPIRY_GRACE_S;
use crate::encoding::{Carrier, Codec, Encoding};
use crate::ids::ConnRef;
use crate::message::{Delivery, Media, Polled, Request};

/// Bytes in one answer, unless a single message is longer: what waits beyond comes with the next request.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Longest that a request may wait for something to say.
const WAIT_MAX: Duration = Duration::from_secs(80);

/// How long it waits when it does not say.
const WAIT: Duration = Duration::from_secs(25);

/// Why there is no session.
pub(super) const TOO_MANY: &str =
    "as many long-poll sessions as may be, see limits.polls_per_shard_max";

/// A session that requests come for.
#[derive(Debug)]
pub(crate) struct Poll {
    pub(super) secret: Secret,
    /// The request that waits for something to say.
    waiting: Option<ConnRef>,
    /// What was said last is on its way to its request. Until it is known to have been heard nothing more is said: what was
    /// not comes before it.
    is_telling: bool,
    /// When that has waited long enough or, without one, the session is over: milliseconds since the engine started.
    until_ms: u64,
    /// When its client has to have said who it is.
    known_by_ms: u64,
    pub(super) manner: Manner,
}

/// How a session answers.
#[derive(Debug)]
pub(super) enum Manner {
    /// With lines, all that there are.
    Lines,
    /// With one message a request.
    Comet(Comet),
}

impl Manner {
    /// The answer to a request that has waited in vain.
    fn nothing(&self) -> Polled {
        match self {
            Self::Lines => Polled {
                status: 200,
                media: Media::Lines,
                body: Bytes::new(),
                session: None,
            },
            Self::Comet(_) => comet::failure(200, "timeout"),
        }
    }
}

/// The answer to a request for a session that is not there.
const NO_SESSION: Polled = Polled {
    status: 404,
    media: Media::Lines,
    body: Bytes::from_static(b"there is no such session\n"),
    session: None,
};

/// Opens a session, and takes the commands that the request brings; what they are answered is the answer.
pub(super) fn connect(
    core: &mut Core,
    slot: u32,
    head: &Head<'_>,
    body: &[u8],
    answer: Answerable,
) -> Result<After, Ending> {
    let Some(session) = open(core, Manner::Lines)? else {
        let body = format!("{TOO_MANY}\n");
        return Ok(respond(
            core,
            slot,
            &answer,
            503,
            &[("Retry-After", "5")],
            body.as_bytes(),
        ));
    };
    let requester = core.conn_ref(slot);
    let poller = session.conn.slot();
    let encoding = Encoding::new(Codec::CentrifugeJson, Carrier::Lines);
    set_voice(core, poller, Voice::Centrifuge(encoding));
    keep_headers(core, poller, head);
    wait(core, poller, requester, WAIT);
    if let Err(ending) = centrifuge::take(core, poller, body) {
        end(core, poller, ending);
    }
    Ok(After::Waits(answer))
}

/// Comes for what a session has to say, which may be another shard's.
pub(super) fn receive(
    core: &mut Core,
    slot: u32,
    head: &Head<'_>,
    answer: Answerable,
) -> Result<After, Ending> {
    let parameter = |name| head.parameter(name).ok().flatten();
    let session = parameter("session").and_then(|session| session.parse::<SessionName>().ok());
    let Some(session) = session.filter(|it| it.conn.shard().ix() < core.shared.inboxes.len())
    else {
        let headers = [("Content-Type", NO_SESSION.media.content_type())];
        let (status, body) = (NO_SESSION.status, &NO_SESSION.body);
        return Ok(respond(core, slot, &answer, status, &headers, body));
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
pub(super) fn open(core: &mut Core, manner: Manner) -> Result<Option<SessionName>, Ending> {
    let secret = Secret::new()?;
    let Some(conn) = core.open_without_socket() else {
        core.gauges.counters.polls_refused_full.inc();
        return Ok(None);
    };
    let slot = conn.slot();
    let known_by_ms = core.now.ms + millis(core.shared.config.limits.handshake_timeout);
    let session = Session::Poll(Box::new(Poll {
        secret,
        waiting: None,
        is_telling: false,
        until_ms: known_by_ms,
        known_by_ms,
        manner,
    }));
    core.put_session(slot, session);
    schedule(core, slot);
    Ok(Some(SessionName { conn, secret }))
}

/// A request has come for what a session has to say.
pub(crate) fn poll(core: &mut Core, session: &SessionName, conn: ConnRef, at_most: Duration) {
    let is_it = |poll: &mut Poll| matches!(poll.manner, Manner::Lines);
    match find(core, session) {
        Some(slot) if poll_of(core, slot).is_some_and(is_it) => wait(core, slot, conn, at_most),
        _ => tell(core, conn, NO_SESSION),
    }
}

/// The slot of a session that has this name.
pub(super) fn find(core: &Core, session: &SessionName) -> Option<u32> {
    let slot = core.conns.slot_of(session.conn)?;
    (core.conns.get(slot)?.session.secret() == Some(session.secret)).then_some(slot)
}

/// The request waits for the session. One that waits already has waited in vain: its client does not listen any more.
pub(super) fn wait(core: &mut Core, slot: u32, conn: ConnRef, at_most: Duration) {
    let until_ms = core.now.ms + millis(at_most);
    let Some(poll) = poll_of(core, slot) else {
        return;
    };
    poll.until_ms = until_ms;
    let nothing = poll.manner.nothing();
    let before = poll.waiting.replace(conn);
    if let Some(before) = before {
        tell(core, before, nothing);
    }
    schedule(core, slot);
    core.output.held.push(slot);
}

pub(super) fn poll_of(core: &mut Core, slot: u32) -> Option<&mut Poll> {
    match &mut core.conns.get_mut(slot)?.session {
        Session::Poll(poll) => Some(poll),
        _ => None,
    }
}

/// Answers the request that waits, if there is something to say.
pub(crate) fn flush(core: &mut Core, slot: u32) {
    let is_ending = core
        .conns
        .get(slot)
        .is_some_and(|conn| conn.phase == Phase::Finishing);
    // Until a client has been greeted nothing is told: the greeting comes before it.
    let is_greeted = |more: &More| more.greeting.is_none();
    let conn = core.conns.get(slot).and_then(Conn::some_more);
    if !is_ending && !conn.is_none_or(is_greeted) {
        return;
    }
    let may_tell = |poll: &&mut Poll| poll.waiting.is_some() && !poll.is_telling;
    let Some(poll) = poll_of(core, slot).filter(may_tell) else {
        return;
    };
    let (body, media) = match &poll.manner {
        Manner::Lines => (core.take_held(slot, ANSWER_BYTES_MAX), Media::Lines),
        Manner::Comet(comet) if comet.is_opening() && !is_ending => return,
        Manner::Comet(_) => (core.take_held_line(slot), Media::Json),
    };
    if body.is_empty() && !is_ending {
        return;
    }
    let polled = Polled {
        status: 200,
        media,
        body: body.into(),
        session: Some(core.conn_ref(slot)),
    };
    answered(core, slot, polled);
    let has_more = |conn: &Conn| conn.unsent.is_some();
    if is_ending && !core.conns.get(slot).is_some_and(has_more) {
        core.begin_close(slot);
    }
}

/// Answers the request that waits.
pub(super) fn answered(core: &mut Core, slot: u32, polled: Polled) {
    let until_ms = core.now.ms + millis(core.shared.config.limits.poll_timeout);
    let Some(poll) = poll_of(core, slot) else {
        return;
    };
    poll.until_ms = until_ms;
    let waiting = poll.waiting.take();
    poll.is_telling |= waiting.is_some() && polled.session.is_some();
    schedule(core, slot);
    if let Some(waiting) = waiting {
        tell(core, waiting, polled);
    }
}

/// The session is closed: a request that waits for it hears so.
pub(crate) fn closing(core: &mut Core, slot: u32) {
    let Some(poll) = poll_of(core, slot) else {
        return;
    };
    let gone = match poll.manner {
        Manner::Lines => NO_SESSION,
        Manner::Comet(_) => comet::failure(403, comet::NO_SESSION),
    };
    if let Some(waiting) = poll.waiting.take() {
        tell(core, waiting, gone);
    }
}

/// Sets the session's next deadline: it is looked at as often as connections are that have a heartbeat.
fn schedule(core: &mut Core, slot: u32) {
    let look_at_ms = core.now.ms + millis(core.shared.config.limits.ping_interval);
    let is_unknown = is_unknown(core, slot);
    // While draining, the deadline is the one to go.
    if core.drain == Drain::No
        && let Some(poll) = poll_of(core, slot)
    {
        let mut at_ms = poll.until_ms.min(look_at_ms);
        if is_unknown {
            at_ms = at_ms.min(poll.known_by_ms);
        }
        core.wheel.schedule(slot, at_ms);
    }
}

/// The session's deadline: its token may have expired, a request may have waited long enough, or none have come for too
/// long.
pub(crate) fn deadline(core: &mut Core, slot: u32) {
    expire(core, slot);
    let now_ms = core.now.ms;
    let is_unknown = is_unknown(core, slot);
    let Some(poll) = poll_of(core, slot) else {
        return;
    };
    if is_unknown && now_ms >= poll.known_by_ms {
        let is_waited_for = poll.waiting.is_some();
        core.gauges.counters.handshake_timeouts.inc();
        if is_waited_for {
            return core.disconnect(slot, DisconnectCode::STALE);
        }
        // Nobody is there to hear why, and closing words would keep it.
        return core.begin_close(slot);
    }
    if now_ms < poll.until_ms {
        schedule(core, slot);
    } else if poll.waiting.is_some() {
        let nothing = poll.manner.nothing();
        answered(core, slot, nothing);
    } else {
        core.gauges.counters.polls_timed_out.inc();
        core.begin_close(slot);
    }
}

/// Its client has not said who it is.
fn is_unknown(core: &Core, slot: u32) -> bool {
    let is_it = |conn: &Conn| conn.phase == Phase::Handshake;
    core.conns.get(slot).is_some_and(is_it)
}

/// Ends a session whose token has expired, as connections end that have a heartbeat.
fn expire(core: &mut Core, slot: u32) {
    let Some(conn) = core.conns.get(slot).filter(|conn| conn.is_open()) else {
        return;
    };
    let expires_at = conn
        .identity
        .as_ref()
        .map_or(0, |identity| u64::from(identity.expires_at));
    let is_refreshed = conn.is_refreshed_by_backend();
    if expires_at == 0 || core.now.unix < expires_at {
        return;
    }
    if is_refreshed {
        refresh(core, slot);
    } else if core.now.unix >= expires_at + EXPIRY_GRACE_S {
        core.disconnect(slot, DisconnectCode::EXPIRED);
    }
}

pub(super) fn tell(core: &mut Core, conn: ConnRef, polled: Polled) {
    core.deliver(conn.shard(), Delivery::Polled { conn, polled });
}

/// The answer to a request that waits on this shard. Its session is told that it was heard, or gets it back.
pub(crate) fn polled(core: &mut Core, conn: ConnRef, polled: Polled) {
    let is_heard = core
        .conns
        .slot_of(conn)
        .is_some_and(|slot| say(core, slot, &polled));
    if let Some(session) = polled.session {
        let unheard = if is_heard { Bytes::new() } else { polled.body };
        core.request(session.shard(), Request::Polled { session, unheard });
    }
}

/// Answers the request that waits on this connection. Returns whether there is one.
pub(super) fn say(core: &mut Core, slot: u32, polled: &Polled) -> bool {
    let headers = [
        ("Content-Type", polled.media.content_type()),
        ("Cache-Control", "no-store"),
    ];
    super::http::answer(core, slot, polled.status, &headers, &polled.body)
}

/// What a session has said has come to its request. What that did not live to hear the next one hears first.
pub(crate) fn taken(core: &mut Core, session: ConnRef, unheard: &[u8]) {
    let Some(slot) = core.conns.slot_of(session) else {
        return;
    };
    if let Some(poll) = poll_of(core, slot) {
        poll.is_telling = false;
    }
    if !unheard.is_empty() {
        core.put_back(slot, unheard);
    }
    core.output.held.push(slot);
}
