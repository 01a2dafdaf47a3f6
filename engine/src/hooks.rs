//! Asking the user's backend: the question leaves the shard, and what was going on resumes when the answer comes.

use std::borrow::Cow;
use std::sync::Arc;

use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode};

use crate::backend::{Answerer, Asked, Caller, DataEncoding, Question, Refused};
use crate::core::Core;
use crate::encoding::{Carrier, Codec};
use crate::message::Request;
use crate::session::{self, Voice};

/// What goes on with a connection once the backend has answered.
pub(crate) type Resume = Box<dyn FnOnce(&mut Core, u32) + Send>;

/// What a client is told that does not get what it asks for.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: Cow<'static, str>,
    /// To try again may help.
    pub(crate) is_temporary: bool,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: code.message().into(),
            is_temporary: code.is_temporary(),
        }
    }
}

impl Core {
    /// What the backend is asked about; nothing without one.
    pub(crate) fn asked(&self) -> Asked {
        self.shared
            .backend
            .as_ref()
            .map_or_else(Asked::default, |backend| backend.asked())
    }

    /// Puts a question of a client to the backend. `then` goes on with the answer, if the connection is still there.
    pub(crate) fn ask<T: Send + 'static>(
        &mut self,
        slot: u32,
        question: impl FnOnce(Caller, Answerer<T>) -> Question,
        then: impl FnOnce(&mut Self, u32, Result<T, Refused>) + Send + 'static,
    ) -> Result<(), ErrorCode> {
        let limit = self.shared.config.limits.requests_in_flight_max;
        if self
            .conns
            .get(slot)
            .is_some_and(|conn| conn.requests >= limit)
        {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        self.ask_about(slot, question, then)
    }

    /// The same with a question that is ours: how much a client asks must not keep it from being asked.
    pub(crate) fn ask_about<T: Send + 'static>(
        &mut self,
        slot: u32,
        question: impl FnOnce(Caller, Answerer<T>) -> Question,
        then: impl FnOnce(&mut Self, u32, Result<T, Refused>) + Send + 'static,
    ) -> Result<(), ErrorCode> {
        let Some(backend) = self.shared.backend.clone() else {
            return Err(ErrorCode::NOT_AVAILABLE);
        };
        let caller = self.caller(slot);
        let conn = self.conns.name(slot);
        let Some(state) = self.conns.get_mut(slot) else {
            return Err(ErrorCode::INTERNAL);
        };
        state.requests = state.requests.saturating_add(1);
        let inboxes = Arc::clone(&self.shared.inboxes);
        let shard = self.id;
        let mut then = Some(then);
        // Kept while the inbox is full.
        let mut resume: Option<Resume> = None;
        let answerer = Answerer::new(move |answer: Result<T, Refused>| {
            if let Some(then) = then.take() {
                resume = Some(Box::new(move |core, slot| then(core, slot, answer)));
            }
            let Some(then) = resume.take() else {
                return Ok(());
            };
            let inbox = &inboxes[shard.ix()];
            if inbox.is_closed() {
                return Ok(());
            }
            match inbox.submit(Request::Resume { conn, then }) {
                Err(Request::Resume { then, .. }) => {
                    resume = Some(then);
                    Err(Err(Refused::Unreachable))
                }
                Ok(()) | Err(_) => Ok(()),
            }
        });
        backend.ask(question(caller, answerer));
        Ok(())
    }

    /// The connection, as the backend is told of it.
    fn caller(&self, slot: u32) -> Caller {
        let conn = self.conns.get(slot);
        let identity = conn.and_then(|conn| conn.identity.as_ref());
        let (transport, protocol, encoding) = describe(conn.map_or(Voice::None, |conn| conn.voice));
        let more = conn.and_then(|conn| conn.some_more());
        Caller {
            client: self.conns.client_id(slot).to_string().into(),
            user: identity.map_or_else(Box::default, |it| it.user.clone()),
            transport,
            protocol,
            encoding,
            headers: more.map_or_else(Arc::default, |more| Arc::clone(&more.headers)),
            emulated_headers: more
                .map_or_else(Arc::default, |more| Arc::clone(&more.emulated_headers)),
            meta: more.and_then(|more| more.meta.clone()),
        }
    }

    /// Does what a refusal of the backend asks for: an error is the caller's to tell.
    pub(crate) fn refused(&mut self, slot: u32, refused: Refused) -> Option<Refusal> {
        match refused {
            Refused::Unreachable => Some(ErrorCode::INTERNAL.into()),
            Refused::Error {
                code,
                message,
                is_temporary,
            } => Some(Refusal {
                code: ErrorCode::numbered(code),
                message: if message.is_empty() {
                    "refused by the backend".into()
                } else {
                    message.into_string().into()
                },
                is_temporary,
            }),
            Refused::Disconnect { code, reason } => {
                session::disconnect(self, slot, code, &reason);
                self.finish(slot);
                None
            }
        }
    }

    /// Ends the connection because of a refusal that nobody can be told in another way.
    pub(crate) fn end_refused(&mut self, slot: u32, refused: Refused, code: DisconnectCode) {
        if let Some(refusal) = self.refused(slot, refused) {
            session::disconnect(self, slot, code.number(), &refusal.message);
            self.finish(slot);
        }
    }
}

fn describe(voice: Voice) -> (&'static str, &'static str, DataEncoding) {
    use DataEncoding::{Binary, Json};
    match voice {
        Voice::Centrifuge(encoding) => {
            let protocol = match encoding.codec {
                Codec::CentrifugeProtobuf => "protobuf",
                _ => "json",
            };
            let is_listener = encoding.codec == Codec::Unidirectional;
            let transport = match (encoding.carrier, is_listener) {
                (Carrier::EventStream, false) => "sse",
                (Carrier::EventStream, true) => "uni_sse",
                (Carrier::HttpStream, false) => "http_stream",
                (Carrier::HttpStream, true) => "uni_http_stream",
                (Carrier::Lines, _) => "long_poll",
                (_, false) => "websocket",
                (_, true) => "uni_websocket",
            };
            // Protobuf carries any bytes, most often JSON.
            (transport, protocol, Json)
        }
        Voice::Goim(style) if style.is_websocket() => ("websocket", "goim", Json),
        Voice::Goim(_) => ("tcp", "goim", Json),
        Voice::Native(session::native::Carrier::WebSocket) => ("websocket", "native", Binary),
        _ => ("tcp", "native", Binary),
    }
}
