//! Users of the relay whom only the backend knows.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_turn::server::{Answerer, Directory, Said};
use hyper::StatusCode;
use serde::Serialize;
use tokio::time::timeout;

use super::answer::Reader;
use super::client::Fault;
use super::counters::Outcome;
use super::event::Event;
use super::webhooks::{Asker, Webhooks};

/// How long a password is good for without `expire_at`, and at most: someone who was struck off is relayed for so long.
const KNOWN_S: u64 = 300;
const KNOWN_S_MAX: u64 = 3_600;

/// How long it is remembered that there is no such user.
const UNKNOWN_S: u64 = 10;

/// What is posted.
#[derive(Serialize)]
struct Question<'q> {
    user: &'q str,
}

impl Directory for Webhooks {
    fn ask(&self, user: &[u8], answerer: Answerer) {
        let Ok(user) = std::str::from_utf8(user).map(str::to_owned) else {
            // JSON has no way to say it.
            return answerer.answer(Said::Nobody(after(UNKNOWN_S)));
        };
        let (asker, places, runtime) = self.parts();
        asker.counters.ask(Event::TurnUser);
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            asker.counters.end(Event::TurnUser, Outcome::TooMany);
            return answerer.answer(Said::Nothing);
        };
        let asker = Arc::clone(asker);
        runtime.spawn(async move {
            let (outcome, said) = asker.know(&user).await;
            asker.counters.end(Event::TurnUser, outcome);
            answerer.answer(said);
            drop(place);
        });
    }
}

impl Asker {
    async fn know(&self, user: &str) -> (Outcome, Said) {
        match self.ask_about(user).await {
            Ok(Some((password, expire_at))) => {
                let until_s = match expire_at {
                    0 => after(KNOWN_S),
                    end => u32::try_from(end)
                        .unwrap_or(u32::MAX)
                        .min(after(KNOWN_S_MAX)),
                };
                let said = Said::Password(password.into_bytes(), until_s);
                (Outcome::Answered, said)
            }
            Ok(None) => (Outcome::Refused, Said::Nobody(after(UNKNOWN_S))),
            Err(fault) => {
                let outcome = match fault {
                    Fault::Timeout(_) => Outcome::Timeout,
                    _ => Outcome::Unreachable,
                };
                self.complaints.log(Event::TurnUser, &fault);
                (outcome, Said::Nothing)
            }
        }
    }

    /// The password and its end; `None` if there is no such user.
    async fn ask_about(&self, user: &str) -> Result<Option<(String, u64)>, Fault> {
        let hook = self.plan.hook(Event::TurnUser).ok_or(Fault::NoEndpoint)?;
        let body = serde_json::to_vec(&Question { user })
            .map_err(|error| Fault::Exchange(error.to_string()))?;
        let headers = self.plan.headers.of_nobody();
        let post = self.client.post(hook.uri.clone(), headers, body);
        let response = timeout(hook.timeout, post)
            .await
            .map_err(|_| Fault::Timeout(hook.timeout))??;
        if response.status != StatusCode::OK {
            return Err(Fault::Status(response.status.as_u16()));
        }
        Reader::turn_user(&response.body?)
    }
}

/// So many seconds from now, in Unix time.
fn after(seconds: u64) -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    u32::try_from(now + seconds).unwrap_or(u32::MAX)
}
