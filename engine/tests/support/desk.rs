//! A backend whose questions lie on a desk until the test answers them.

use std::fmt::Debug;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_engine::backend::{
    Answerer, Asked, Backend, Caller, ConnectAsk, Connected, PublishAsk, PublishDecision, Question,
    Refreshed, Refused, RpcAsk, SubRefreshAsk, SubscribeAsk, Subscribed,
};
use fanfare_engine::{Engine, EngineConfig, Grant};

use super::Scripted;

/// Where the questions of an engine lie.
#[derive(Debug)]
pub struct Desk(Receiver<Question>);

#[derive(Debug)]
struct Asks {
    asked: Asked,
    to: Mutex<Sender<Question>>,
}

impl Backend for Asks {
    fn asked(&self) -> Asked {
        self.asked
    }

    fn header_names(&self) -> &[Box<str>] {
        &[]
    }

    fn emulated_header_names(&self) -> &[Box<str>] {
        &[]
    }

    fn ask(&self, question: Question) {
        // At the end of a test nobody reads any more.
        let _ = self.to.lock().expect("no panic").send(question);
    }
}

/// An engine whose tokens say what they grant, and which asks about everything else.
pub fn start_with_desk(config: EngineConfig, asked: Asked) -> (Engine, Desk) {
    let (to, from) = channel();
    let to = Mutex::new(to);
    let backend = Some(Arc::new(Asks { asked, to }) as Arc<dyn Backend>);
    let engine = Engine::start_with(config, Arc::new(Scripted), backend);
    (engine.expect("the engine starts"), Desk(from))
}

impl Desk {
    pub fn next(&self) -> Question {
        self.0
            .recv_timeout(Duration::from_secs(20))
            .expect("something is asked")
    }

    pub fn connect(&self) -> (Caller, ConnectAsk, Answerer<Connected>) {
        match self.next() {
            Question::Connect(caller, ask, answerer) => (caller, ask, answerer),
            other => panic!("{other:?}"),
        }
    }

    pub fn rpc(
        &self,
    ) -> (
        Caller,
        RpcAsk,
        Answerer<Option<fanfare_engine::api::Payload>>,
    ) {
        match self.next() {
            Question::Rpc(caller, ask, answerer) => (caller, ask, answerer),
            other => panic!("{other:?}"),
        }
    }

    pub fn subscribe(&self) -> (Caller, SubscribeAsk, Answerer<Subscribed>) {
        match self.next() {
            Question::Subscribe(caller, ask, answerer) => (caller, ask, answerer),
            other => panic!("{other:?}"),
        }
    }

    pub fn publish(&self) -> (Caller, PublishAsk, Answerer<PublishDecision>) {
        match self.next() {
            Question::Publish(caller, ask, answerer) => (caller, ask, answerer),
            other => panic!("{other:?}"),
        }
    }

    pub fn sub_refresh(&self) -> (Caller, SubRefreshAsk, Answerer<Refreshed>) {
        match self.next() {
            Question::SubRefresh(caller, ask, answerer) => (caller, ask, answerer),
            other => panic!("{other:?}"),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// Gives an answer for which there is room.
pub fn say<T: Debug>(answerer: Answerer<T>, answer: Result<T, Refused>) {
    answerer.answer(answer).expect("the inbox has room");
}

pub fn refused(code: u16, message: &str, is_temporary: bool) -> Refused {
    Refused::Error {
        code,
        message: message.into(),
        is_temporary,
    }
}

/// A client that is this user.
pub fn known_as(user: &str) -> Connected {
    Connected {
        grant: Some(Grant {
            user: user.into(),
            ..Grant::default()
        }),
        ..Connected::default()
    }
}
