//! Many operations in one request.

use std::collections::VecDeque;
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
use super::request::Command;

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
    let mut responses = Vec::with_capacity(rooms.len());
    let mut in_flight: VecDeque<Pending<Published>> = VecDeque::with_capacity(IN_FLIGHT_MAX);
    // Only ever the last ones, for an allowance that is used up stays so.
    let mut refused = Vec::new();
    for room in rooms {
        if in_flight.len() == IN_FLIGHT_MAX
            && let Some(oldest) = in_flight.pop_front()
        {
            responses.push(published(app, allowance, oldest).await);
        }
        if let Err(refusal) = allowance.check() {
            refused.push(refusal);
            continue;
        }
        let publish = Publish {
            room,
            ..publish.clone()
        };
        in_flight.push_back(Pending::start(|reply| app.handle.0.publish(publish, reply)));
    }
    for pending in in_flight {
        responses.push(published(app, allowance, pending).await);
    }
    for refusal in refused {
        responses.push(counted(app, Err(refusal)));
    }
    BroadcastAnswer { responses }
}

async fn published(
    app: &App,
    allowance: &Allowance,
    pending: Pending<Published>,
) -> Outcome<PublishAnswer> {
    counted(app, pending.answer(allowance.deadline()).await)
}

fn counted(app: &App, result: Result<Published, Refusal>) -> Outcome<PublishAnswer> {
    let status = result
        .as_ref()
        .map_or_else(|refusal| refusal.status, |_| StatusCode::OK);
    app.metrics
        .count_operation(Method::Broadcast.as_str(), status.as_u16());
    result.map(PublishAnswer::from).into()
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
    let mut in_flight: VecDeque<JoinHandle<CommandReply>> = VecDeque::with_capacity(in_flight_max);
    for command in commands {
        if in_flight.len() == in_flight_max
            && let Some(oldest) = in_flight.pop_front()
        {
            replies.push(app, finished(oldest).await);
        }
        let run = run(Arc::clone(app), Arc::clone(&allowance), command);
        in_flight.push_back(tokio::spawn(run));
    }
    for task in in_flight {
        replies.push(app, finished(task).await);
    }
    replies.finish()
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
        let out = self.answer.text();
        if !std::mem::take(&mut self.is_first) {
            out.push(b',');
        }
        match result {
            Ok(answer) => {
                out.extend_from_slice(b"{\"");
                out.extend_from_slice(Method::label(method).as_bytes());
                out.extend_from_slice(b"\":");
                out.extend_from_slice(answer.result());
                out.push(b'}');
            }
            // Cannot fail: a number and a text, to memory.
            Err(error) => drop(serde_json::to_writer(out, &ErrorReply { error: &error })),
        }
    }

    fn finish(mut self) -> Answer {
        self.answer.text().extend_from_slice(b"]}");
        self.answer
    }
}
