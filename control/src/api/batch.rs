//! Many operations in one request.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::Arc;

use axum::http::StatusCode;
use fanfare_engine::api::{Publish, Published};
use tokio::task::JoinHandle;

use super::App;
use super::allowance::Allowance;
use super::answer::Answer;
use super::answers::{BroadcastAnswer, Outcome, PublishAnswer};
use super::ask::Pending;
use super::call::{ErrorReply, count_operation};
use super::errors::Refusal;
use super::method::Method;
use super::methods;
use super::request::{Command, Request};

/// Operations of one request that are under way at the same time. Well below the entries of an inbox, so that a
/// large request does not make the server busy by itself.
const IN_FLIGHT_MAX: usize = 256;

/// What became of one command.
struct CommandReply {
    method: Option<Method>,
    result: Result<Answer, Refusal>,
}

/// Publishes the same to many rooms. They are independent: some may fail, and the answer says which.
pub(super) async fn broadcast(
    app: &App,
    allowance: &Allowance,
    rooms: Vec<Box<str>>,
    publish: &Publish,
) -> BroadcastAnswer {
    let mut responses: Vec<Outcome<PublishAnswer>> = Vec::with_capacity(rooms.len());
    let mut rooms = rooms.into_iter();
    while rooms.len() > 0 {
        let run = rooms.by_ref().take(IN_FLIGHT_MAX).map(|room| Publish {
            room,
            ..publish.clone()
        });
        let results = publish_run(app, allowance, run.collect()).await;
        count_run(app, Method::Broadcast, &results);
        let results = results.into_iter();
        responses.extend(results.map(|result| result.map(PublishAnswer::from).into()));
    }
    BroadcastAnswer { responses }
}

/// Runs commands one after the other, or, where their order does not matter, several at a time. Their replies
/// are `{"publish": {…}}`, or `{"error": {…}}`, in the order of the commands.
pub(super) async fn batch(
    app: &Arc<App>,
    allowance: Allowance,
    commands: Vec<Command>,
    is_parallel: bool,
) -> Answer {
    let allowance = Arc::new(allowance);
    let in_flight_max = if is_parallel { IN_FLIGHT_MAX } else { 1 };
    let mut replies = Replies::new();
    let mut in_flight: VecDeque<JoinHandle<CommandReply>> = VecDeque::new();
    let mut commands = commands.into_iter().peekable();
    while let Some(command) = commands.next() {
        let is_publication = matches!(command.request, Ok(Request::Publish(_)));
        while (is_publication || in_flight.len() >= in_flight_max)
            && let Some(oldest) = in_flight.pop_front()
        {
            replies.push(app, finished(oldest).await);
        }
        match command.request {
            Ok(Request::Publish(first)) => {
                let run = run_of(first, &mut commands, is_parallel);
                let results = publish_run(app, &allowance, run).await;
                count_run(app, Method::Publish, &results);
                for result in results {
                    replies.push_published(&allowance, result);
                }
            }
            _ => {
                let run = run(Arc::clone(app), Arc::clone(&allowance), command);
                in_flight.push_back(tokio::spawn(run));
            }
        }
    }
    for task in in_flight {
        replies.push(app, finished(task).await);
    }
    replies.finish()
}

/// The publications from `first` on that can be passed on at once: a room takes its own in the order in which they
/// come, so one after the other is only what those of different rooms have to be told.
fn run_of(
    first: Publish,
    commands: &mut Peekable<std::vec::IntoIter<Command>>,
    is_parallel: bool,
) -> Vec<Publish> {
    let mut run = vec![first];
    while run.len() < IN_FLIGHT_MAX
        && let Some(Command {
            request: Ok(Request::Publish(publish)),
            ..
        }) = commands.next_if(|next| match &next.request {
            Ok(Request::Publish(next)) => is_parallel || next.room == run[0].room,
            _ => false,
        })
    {
        run.push(publish);
    }
    run
}

/// Publishes these at once, and waits for what becomes of each.
async fn publish_run(
    app: &App,
    allowance: &Allowance,
    run: Vec<Publish>,
) -> Vec<Result<Published, Refusal>> {
    let count = run.len();
    let refused = |refusal: Refusal| vec![Err(refusal); count];
    if let Err(refusal) = allowance.check() {
        return refused(refusal);
    }
    let pending = Pending::start(|reply| app.handle.0.publish_all(run, reply));
    match pending.answer(allowance.deadline()).await {
        Ok(results) => results
            .into_iter()
            .map(|result| result.map_err(Refusal::from))
            .collect(),
        Err(refusal) => refused(refusal),
    }
}

/// Counts publications by what became of them.
fn count_run(app: &App, method: Method, results: &[Result<Published, Refusal>]) {
    let status = |result: &Result<Published, Refusal>| match result {
        Ok(_) => StatusCode::OK,
        Err(refusal) => refusal.status,
    };
    for same in results.chunk_by(|one, next| status(one) == status(next)) {
        let status = status(&same[0]).as_u16();
        app.metrics
            .count_operations(method.as_str(), status, same.len() as u64);
    }
}

async fn run(app: Arc<App>, allowance: Arc<Allowance>, command: Command) -> CommandReply {
    let result = match command.request {
        Ok(request) => methods::run(&app, &allowance, request).await,
        Err(refusal) => Err(refusal),
    };
    CommandReply {
        method: command.method,
        result,
    }
}

async fn finished(task: JoinHandle<CommandReply>) -> CommandReply {
    task.await.unwrap_or(CommandReply {
        method: None,
        result: Err(Refusal::INTERNAL),
    })
}

/// The replies so far, as they are sent.
struct Replies {
    answer: Answer,
    is_first: bool,
}

impl Replies {
    fn new() -> Self {
        let mut answer = Answer::begin();
        answer.text().extend_from_slice(br#"{"replies":["#);
        Self {
            answer,
            is_first: true,
        }
    }

    fn push(&mut self, app: &App, CommandReply { method, result }: CommandReply) {
        count_operation(app, method, &result);
        let out = self.next();
        match result {
            Ok(answer) => {
                out.extend_from_slice(b"{\"");
                out.extend_from_slice(Method::label(method).as_bytes());
                out.extend_from_slice(b"\":");
                out.extend_from_slice(answer.result());
                out.push(b'}');
            }
            Err(refusal) => write_refusal(out, &refusal),
        }
    }

    /// The reply to a publication, written where it is sent from.
    fn push_published(&mut self, allowance: &Allowance, result: Result<Published, Refusal>) {
        let out = self.next();
        let start = out.len();
        let written = result.and_then(|published| {
            out.extend_from_slice(br#"{"publish":"#);
            allowance.write(out, &PublishAnswer::from(published))?;
            out.push(b'}');
            Ok(())
        });
        if let Err(refusal) = written {
            out.truncate(start);
            write_refusal(out, &refusal);
        }
    }

    /// Where the next reply is to be written.
    fn next(&mut self) -> &mut Vec<u8> {
        let out = self.answer.text();
        if !std::mem::take(&mut self.is_first) {
            out.push(b',');
        }
        out
    }

    fn finish(mut self) -> Answer {
        self.answer.text().extend_from_slice(b"]}");
        self.answer
    }
}

fn write_refusal(out: &mut Vec<u8>, error: &Refusal) {
    // Cannot fail: a number and a text, to memory.
    drop(serde_json::to_writer(out, &ErrorReply { error }));
}
