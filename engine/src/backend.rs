//! The user's backend: questions about clients that only it can answer, and how its answers come back.
//!
//! A shard asks and goes on. The answer arrives at the shard's inbox later, from whatever thread has it, and says whom
//! it is for. The questions and answers are those of Centrifugo's proxy, so that a backend written for it need not
//! change; who carries them there is up to the implementation of [`Backend`].

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::Payload;
use crate::authority::{Capability, Grant, SubscriptionGrant};

/// The way to the user's backend.
pub trait Backend: Send + Sync + 'static {
    /// What it is asked about, whatever the room. What it is asked about rooms is up to their namespace:
    /// [`BackendRights`](crate::BackendRights).
    fn asked(&self) -> Asked;

    /// Names of the headers, in lower case, that go with every question when the client's opening HTTP request had
    /// them. Of other headers nothing needs to be kept.
    fn header_names(&self) -> &[Box<str>];

    /// The same for the headers that a Centrifuge client puts into its connect command because a browser lets it send no
    /// others.
    fn emulated_header_names(&self) -> &[Box<str>];

    /// Takes a question, and sees to it that its [`Answerer`] is called once, from any thread and maybe before this
    /// returns. Called on shard threads, so it must not block; what it has no room for it answers with
    /// [`Refused::Unreachable`].
    fn ask(&self, question: Question);
}

/// What a backend is asked about, whatever the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Who a client without a token is.
    pub connect: bool,
    /// Whether a connection whose time is up may go on.
    pub refresh: bool,
    /// Calls of clients.
    pub rpc: bool,
    /// Messages of clients that want no answer.
    pub send: bool,
}

/// A question, who it is about, and where the answer goes.
#[derive(Debug)]
pub enum Question {
    /// May this client connect, and as whom?
    Connect(Caller, ConnectAsk, Answerer<Connected>),
    /// May this connection go on? An [`Error`](Refused::Error) ends it like [`Refreshed::Expired`]; when the backend is
    /// [`Unreachable`](Refused::Unreachable) Centrifugo lets it go on and asks again a minute later.
    Refresh(Caller, Answerer<Refreshed>),
    /// A call that the backend answers; `None` for a result without data.
    Rpc(Caller, RpcAsk, Answerer<Option<Payload>>),
    /// A message that the backend takes. An [`Error`](Refused::Error) has nobody to tell it to.
    Send(Caller, SendAsk, Answerer<()>),
    /// May this client join the room?
    Subscribe(Caller, SubscribeAsk, Answerer<Subscribed>),
    /// May this client publish this, and if so what exactly?
    Publish(Caller, PublishAsk, Answerer<PublishDecision>),
    /// May this subscription go on? Refusals mean what they mean for [`Refresh`](Self::Refresh), for the subscription.
    SubRefresh(Caller, SubRefreshAsk, Answerer<Refreshed>),
}

/// The connection that a question is about.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The text of its [`ClientId`](crate::api::ClientId); before it is accepted, of the one it will have.
    pub client: Box<str>,
    /// Its user; empty for an anonymous connection, and in [`Question::Connect`], where nobody knows yet.
    pub user: Box<str>,
    /// `websocket`, `sse`, `http_stream`, `uni_websocket`, `uni_sse`, `uni_http_stream`, `tcp`, `long_poll`.
    pub transport: &'static str,
    /// `json`, `protobuf`, `native`, `goim`.
    pub protocol: &'static str,
    /// How its data is meant.
    pub encoding: DataEncoding,
    /// The headers of its opening request that [`Backend::header_names`] asks for, names in lower case.
    pub headers: Arc<[(Box<str>, Box<str>)]>,
    /// The headers of its connect command that [`Backend::emulated_header_names`] asks for, names in lower case.
    pub emulated_headers: Arc<[(Box<str>, Box<str>)]>,
    /// What the backend noted about it when it connected ([`Connected::meta`]).
    pub meta: Option<Arc<str>>,
}

/// How the data of a connection travels to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataEncoding {
    /// As JSON where it is one JSON value; otherwise as [`Binary`](Self::Binary).
    Json,
    /// As base64.
    Binary,
}

/// What a connecting client says.
#[derive(Debug, Clone, Default)]
pub struct ConnectAsk {
    /// Data for the backend; may be empty.
    pub data: Bytes,
    /// A token that only the backend can judge; empty where there is none, which for Centrifuge clients is always.
    pub token: Box<str>,
    /// The client's name of itself, such as `js`; may be empty.
    pub name: Box<str>,
    /// The version of the client; may be empty.
    pub version: Box<str>,
    /// Rooms it would like to be subscribed to by the server.
    pub rooms: Vec<Box<str>>,
}

/// A call.
#[derive(Debug, Clone, Default)]
pub struct RpcAsk {
    /// What is called; may be empty.
    pub method: Box<str>,
    /// Its argument; may be empty.
    pub data: Bytes,
}

/// A message without an answer.
#[derive(Debug, Clone, Default)]
pub struct SendAsk {
    /// The message; may be empty.
    pub data: Bytes,
}

/// The wish to join a room.
#[derive(Debug, Clone, Default)]
pub struct SubscribeAsk {
    /// The room.
    pub room: Box<str>,
    /// A token that only the backend can judge; may be empty.
    pub token: Box<str>,
    /// Data for the backend; may be empty.
    pub data: Bytes,
}

/// The wish to publish.
#[derive(Debug, Clone, Default)]
pub struct PublishAsk {
    /// The room.
    pub room: Box<str>,
    /// What is to be published.
    pub data: Bytes,
}

/// A subscription whose time is up.
#[derive(Debug, Clone, Default)]
pub struct SubRefreshAsk {
    /// The room.
    pub room: Box<str>,
}

/// A client that may connect.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connected {
    /// What it is granted; its time may have passed already. `None`: the backend does not say who it is, so it is let
    /// in where anonymous connections are.
    pub grant: Option<Grant>,
    /// Data for the client, in the reply to its connect.
    pub data: Option<Payload>,
    /// Rooms the server subscribes it to, each with its own terms; those of [`Grant::rooms`] have none.
    pub subscriptions: Vec<(Box<str>, Subscribed)>,
    /// JSON to bring along with every later question about this connection.
    pub meta: Option<Arc<str>>,
}

/// Whether what was granted goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Refreshed {
    /// It does not: the connection is closed, or the subscription ended, as expired.
    Expired,
    /// It does.
    Extended(Extension),
}

/// The terms on which it goes on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extension {
    /// Unix time in seconds at which it ends, unless refreshed again; `None` for never.
    pub expires_at: Option<u64>,
    /// JSON shown to others; `None` leaves what there is.
    pub info: Option<Box<str>>,
    /// Replaces [`Connected::meta`], unless `None`; never of a subscription.
    pub meta: Option<Arc<str>>,
    /// Replaces [`Grant::capabilities`], unless `None`; never of a subscription.
    pub capabilities: Option<Vec<Capability>>,
}

/// A client that may join.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Subscribed {
    /// What it is granted; its time may have passed already.
    pub grant: SubscriptionGrant,
    /// Data for the client, in the reply to its subscribe.
    pub data: Option<Payload>,
}

/// A publication that may go ahead.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PublishDecision {
    /// Published instead of what the client sent.
    pub data: Option<Payload>,
    /// Sends without storing.
    pub skip_history: bool,
    /// Key-values that travel with it.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// A repeat with the same key publishes nothing.
    pub idempotency_key: Option<Box<str>>,
}

/// Why a question did not get the answer hoped for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The backend says no: an error reply, and the connection goes on.
    #[error("the backend refuses with error {code}")]
    Error {
        /// 100 to 1999; below 400 with the meaning that it has in the Centrifuge protocol.
        code: u16,
        /// At most [`REFUSAL_TEXT_BYTES_MAX`].
        message: Box<str>,
        /// Whether the client may try again.
        is_temporary: bool,
    },
    /// The backend wants the connection closed.
    #[error("the backend disconnects with code {code}")]
    Disconnect {
        /// 3000 to 4999; below 4000 with the meaning that it has in the Centrifuge protocol.
        code: u16,
        /// At most [`REFUSAL_TEXT_BYTES_MAX`].
        reason: Box<str>,
    },
    /// There is no answer, or none that makes sense, or too much is being asked at once: error 100 to the client,
    /// temporary.
    #[error("the backend did not answer")]
    Unreachable,
}

/// Bytes of a refusal's text: what fits into the close frame of a WebSocket besides the code (RFC 6455 section 5.5).
pub const REFUSAL_TEXT_BYTES_MAX: usize = 123;

type Deliver<T> = dyn FnMut(Result<T, Refused>) -> Result<(), Result<T, Refused>> + Send;

/// Where the answer to one question goes. Dropped unused, it answers that the backend is unreachable.
#[must_use = "a client waits for the answer"]
pub struct Answerer<T> {
    /// `None` once the answer has gone.
    deliver: Option<Box<Deliver<T>>>,
}

impl<T> Answerer<T> {
    /// `deliver` passes an answer on to its shard, or gives it back when the shard's inbox is full. It is called until it
    /// has succeeded once, so it must not block.
    pub fn new(
        deliver: impl FnMut(Result<T, Refused>) -> Result<(), Result<T, Refused>> + Send + 'static,
    ) -> Self {
        Self {
            deliver: Some(Box::new(deliver)),
        }
    }

    /// Gives the answer.
    ///
    /// # Errors
    /// The shard's inbox is full: wait a moment, and [retry](Unsent::retry).
    pub fn answer(mut self, answer: Result<T, Refused>) -> Result<(), Unsent<T>> {
        let Some(deliver) = self.deliver.as_mut() else {
            return Ok(());
        };
        match deliver(answer) {
            Ok(()) => {
                self.deliver = None;
                Ok(())
            }
            Err(answer) => Err(Unsent {
                answerer: self,
                answer,
            }),
        }
    }
}

impl<T> Drop for Answerer<T> {
    fn drop(&mut self) {
        if let Some(mut deliver) = self.deliver.take() {
            // Whoever drops a question has no time to wait for a full inbox.
            let _ = deliver(Err(Refused::Unreachable));
        }
    }
}

impl<T> fmt::Debug for Answerer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answerer").finish_non_exhaustive()
    }
}

/// An answer that its shard had no room for.
#[must_use = "a client waits for the answer"]
pub struct Unsent<T> {
    answerer: Answerer<T>,
    answer: Result<T, Refused>,
}

impl<T> Unsent<T> {
    /// Gives the same answer again.
    ///
    /// # Errors
    /// The shard's inbox is still full.
    pub fn retry(self) -> Result<(), Self> {
        self.answerer.answer(self.answer)
    }
}

impl<T> fmt::Debug for Unsent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsent").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    type Heard = Arc<Mutex<Vec<Result<u32, Refused>>>>;

    /// An answerer whose shard has no room for the first `full` answers.
    fn answerer(full: usize) -> (Answerer<u32>, Heard) {
        let heard = Heard::default();
        let (shard, mut left) = (heard.clone(), full);
        let answerer = Answerer::new(move |answer| {
            if left > 0 {
                left -= 1;
                return Err(answer);
            }
            shard.lock().expect("no panic").push(answer);
            Ok(())
        });
        (answerer, heard)
    }

    #[test]
    fn an_answer_arrives_once() {
        let (answerer, heard) = answerer(0);
        answerer.answer(Ok(7)).expect("there is room");
        assert_eq!(*heard.lock().expect("no panic"), [Ok(7)]);
    }

    #[test]
    fn an_answer_outlives_a_full_inbox() {
        let (answerer, heard) = answerer(3);
        let mut unsent = answerer.answer(Ok(7)).expect_err("no room");
        for _ in 0..2 {
            unsent = unsent.retry().expect_err("no room");
            assert!(heard.lock().expect("no panic").is_empty());
        }
        unsent.retry().expect("there is room");
        assert_eq!(*heard.lock().expect("no panic"), [Ok(7)]);
    }

    #[test]
    fn a_dropped_question_is_answered() {
        let (question, heard) = answerer(0);
        drop(question);
        assert_eq!(
            *heard.lock().expect("no panic"),
            [Err(Refused::Unreachable)]
        );
        let (question, heard) = answerer(1);
        drop(question.answer(Ok(7)).expect_err("no room"));
        assert_eq!(
            *heard.lock().expect("no panic"),
            [Err(Refused::Unreachable)]
        );
    }
}
