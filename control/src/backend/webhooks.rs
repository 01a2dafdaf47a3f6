//! Takes questions from shards, and sees to their answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_engine::backend::{Answerer, Asked, Backend, Caller, Question, Refused, Unsent};
use hyper::StatusCode;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::answer::{Reader, Verdict};
use super::client::{Fault, HttpClient};
use super::complaints::Complaints;
use super::counters::{Counters, Outcome};
use super::event::Event;
use super::plan::Plan;
use super::request::Request;

/// How soon an answer is tried again that found its shard's inbox full; then twice that, and so on.
const RETRY_FIRST: Duration = Duration::from_millis(1);

/// The longest pause between two tries. A shard takes thousands of messages in it.
const RETRY_LONGEST: Duration = Duration::from_millis(100);

/// Threads that look up the names of endpoints, which blocks. A resolver that hangs makes the others wait, and time out.
const RESOLVER_THREADS: usize = 8;

/// The backend that the settings name.
#[derive(Debug)]
pub(crate) struct Webhooks {
    asker: Arc<Asker>,
    /// A place for every question that may be under way.
    places: Arc<Semaphore>,
    runtime: Handle,
    /// Ends the thread when dropped. Questions under way are then answered as unreachable.
    _running: oneshot::Sender<()>,
}

impl Webhooks {
    /// Starts the thread that questions leave from.
    pub(crate) fn start(plan: Plan) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(RESOLVER_THREADS)
            .thread_name("fanfare-resolve")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("fanfare-backend".to_owned())
            .spawn(move || {
                // Ends when the sender is dropped, for nothing is ever sent.
                let _ = runtime.block_on(stopped);
                // A name that is being looked up would be waited for.
                runtime.shutdown_background();
            })?;
        let places = Arc::new(Semaphore::new(plan.under_way_max));
        Ok(Self {
            asker: Arc::new(Asker::new(plan)),
            places,
            runtime: handle,
            _running: running,
        })
    }

    /// What questions are asked with, in which places, and where.
    pub(super) const fn parts(&self) -> (&Arc<Asker>, &Arc<Semaphore>, &Handle) {
        (&self.asker, &self.places, &self.runtime)
    }

    /// Whether it is asked about users of the relay.
    pub(crate) fn knows_turn_users(&self) -> bool {
        self.asker.plan.hook(Event::TurnUser).is_some()
    }

    /// Whether it is told what becomes of the relay's allocations.
    pub(crate) fn observes_turn(&self) -> bool {
        self.asker.plan.hook(Event::TurnAllocation).is_some()
    }

    /// What became of questions.
    pub(crate) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.asker.counters)
    }

    /// Answers what there is no place for. Answers that find their shard's inbox full wait without a place; there are
    /// no more of them than requests of clients that the engine lets be under way.
    fn turn_away(&self, question: Question) {
        match question {
            Question::Connect(_, _, answerer) => self.unreachable(answerer),
            Question::Refresh(_, answerer) | Question::SubRefresh(_, _, answerer) => {
                self.unreachable(answerer);
            }
            Question::Rpc(_, _, answerer) => self.unreachable(answerer),
            Question::Send(_, _, answerer) => self.unreachable(answerer),
            Question::Subscribe(_, _, answerer) => self.unreachable(answerer),
            Question::Publish(_, _, answerer) => self.unreachable(answerer),
        }
    }

    fn unreachable<T: Send + 'static>(&self, answerer: Answerer<T>) {
        if let Err(unsent) = answerer.answer(Err(Refused::Unreachable)) {
            let asker = Arc::clone(&self.asker);
            self.runtime
                .spawn(async move { asker.deliver(unsent).await });
        }
    }
}

impl Backend for Webhooks {
    fn asked(&self) -> Asked {
        self.asker.plan.asked()
    }

    fn header_names(&self) -> &[Box<str>] {
        self.asker.plan.headers.transport_names()
    }

    fn emulated_header_names(&self) -> &[Box<str>] {
        self.asker.plan.headers.emulated_names()
    }

    fn ask(&self, question: Question) {
        let event = Event::of(&question);
        self.asker.counters.ask(event);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.asker.counters.end(event, Outcome::TooMany);
            self.turn_away(question);
            return;
        };
        let asker = Arc::clone(&self.asker);
        self.runtime.spawn(async move {
            asker.put(question).await;
            drop(place);
        });
    }
}

/// What questions are asked with.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) plan: Plan,
    pub(super) client: HttpClient,
    pub(super) counters: Arc<Counters>,
    pub(super) complaints: Complaints,
}

/// How an event's answers are read.
type Read<T> = fn(&Reader, &[u8]) -> Result<Verdict<T>, Fault>;

impl Asker {
    fn new(plan: Plan) -> Self {
        let client = HttpClient::new(
            plan.tls.clone(),
            plan.idle_connections_max,
            plan.idle_timeout,
            plan.answer_bytes_max,
        );
        Self {
            plan,
            client,
            counters: Arc::default(),
            complaints: Complaints::new(),
        }
    }

    async fn put(&self, question: Question) {
        let form = self.plan.form;
        match question {
            Question::Connect(caller, ask, answerer) => {
                let request = Request::connect(&caller, &ask, form);
                self.settle(
                    Event::Connect,
                    &caller,
                    &request,
                    Reader::connected,
                    answerer,
                )
                .await;
            }
            Question::Refresh(caller, answerer) => {
                let request = Request::refresh(&caller, form);
                self.settle(
                    Event::Refresh,
                    &caller,
                    &request,
                    Reader::refreshed,
                    answerer,
                )
                .await;
            }
            Question::Rpc(caller, ask, answerer) => {
                let request = Request::rpc(&caller, &ask, form);
                self.settle(Event::Rpc, &caller, &request, Reader::called, answerer)
                    .await;
            }
            Question::Send(caller, ask, answerer) => {
                let request = Request::send(&caller, &ask, form);
                self.settle(Event::Send, &caller, &request, Reader::taken, answerer)
                    .await;
            }
            Question::Subscribe(caller, ask, answerer) => {
                let request = Request::subscribe(&caller, &ask, form);
                self.settle(
                    Event::Subscribe,
                    &caller,
                    &request,
                    Reader::subscribed,
                    answerer,
                )
                .await;
            }
            Question::Publish(caller, ask, answerer) => {
                let request = Request::publish(&caller, &ask, form);
                self.settle(Event::Publish, &caller, &request, Reader::decided, answerer)
                    .await;
            }
            Question::SubRefresh(caller, ask, answerer) => {
                let request = Request::sub_refresh(&caller, &ask, form);
                self.settle(
                    Event::SubRefresh,
                    &caller,
                    &request,
                    Reader::refreshed,
                    answerer,
                )
                .await;
            }
        }
    }

    /// Asks, and delivers what comes of it.
    async fn settle<T>(
        &self,
        event: Event,
        caller: &Caller,
        request: &Request<'_>,
        read: Read<T>,
        answerer: Answerer<T>,
    ) {
        let answer = self.exchange(event, caller, request, read).await;
        let outcome = match &answer {
            Ok(Ok(_)) => Outcome::Answered,
            Ok(Err(_)) => Outcome::Refused,
            Err(Fault::Timeout(_)) => Outcome::Timeout,
            Err(_) => Outcome::Unreachable,
        };
        self.counters.end(event, outcome);
        let answer = answer.unwrap_or_else(|fault| {
            self.complaints.log(event, &fault);
            Err(Refused::Unreachable)
        });
        if let Err(unsent) = answerer.answer(answer) {
            self.deliver(unsent).await;
        }
    }

    async fn exchange<T>(
        &self,
        event: Event,
        caller: &Caller,
        request: &Request<'_>,
        read: Read<T>,
    ) -> Result<Verdict<T>, Fault> {
        let hook = self.plan.hook(event).ok_or(Fault::NoEndpoint)?;
        let body = request
            .to_body()
            .map_err(|error| Fault::Exchange(error.to_string()))?;
        let headers = self.plan.headers.of(caller);
        let post = self.client.post(hook.uri.clone(), headers, body);
        let response = timeout(hook.timeout, post)
            .await
            .map_err(|_| Fault::Timeout(hook.timeout))??;
        let is_answer = match event {
            Event::Send => response.status.is_success(),
            _ => response.status == StatusCode::OK,
        };
        if !is_answer {
            return match self.plan.refusal_of(response.status) {
                Some(refusal) => Ok(Err(refusal)),
                None => Err(Fault::Status(response.status.as_u16())),
            };
        }
        let body: Bytes = response.body?;
        read(&self.plan.reader, &body)
    }

    /// Tries until the shard has room, so that no answer is lost.
    async fn deliver<T>(&self, mut unsent: Unsent<T>) {
        let mut pause = RETRY_FIRST;
        loop {
            self.counters.retry();
            sleep(pause).await;
            match unsent.retry() {
                Ok(()) => return,
                Err(again) => unsent = again,
            }
            pause = (pause * 2).min(RETRY_LONGEST);
        }
    }
}
