//! What the relay asks the backend about its users, and tells it of its allocations.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_turn::relay::{Ending, Told, Transport};
use fanfare_turn::server::{Answerer, Directory, Observer, Said};
use hyper::StatusCode;
use serde::Serialize;
use tokio::time::timeout;

use super::answer::Reader;
use super::client::{Fault, Response};
use super::counters::Outcome;
use super::event::Event;
use super::webhooks::{Asker, Webhooks};

/// How long a password is good for without `expire_at`, and at most: someone who was struck off is relayed for so long.
const KNOWN_S: u64 = 300;
const KNOWN_S_MAX: u64 = 3_600;

/// How long it is remembered that there is no such user.
const UNKNOWN_S: u64 = 10;

/// What is posted of an allocation.
#[derive(Serialize)]
struct Allocation<'t> {
    event: &'static str,
    /// As in the list of the API.
    user: std::borrow::Cow<'t, str>,
    client: SocketAddr,
    transport: &'static str,
    relayed: &'t [SocketAddr],
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_peers: Option<Carried>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_peers: Option<Carried>,
}

#[derive(Serialize)]
struct Carried {
    packets: u64,
    bytes: u64,
}

/// What is posted of a user.
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

impl Observer for Webhooks {
    fn happened(&self, told: Told) {
        let (asker, places, runtime) = self.parts();
        asker.counters.ask(Event::TurnAllocation);
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            return asker.counters.end(Event::TurnAllocation, Outcome::TooMany);
        };
        let asker = Arc::clone(asker);
        runtime.spawn(async move {
            let outcome = match asker.tell(&told).await {
                Ok(()) => Outcome::Answered,
                Err(fault) => {
                    asker.complaints.log(Event::TurnAllocation, &fault);
                    match fault {
                        Fault::Timeout(_) => Outcome::Timeout,
                        _ => Outcome::Unreachable,
                    }
                }
            };
            asker.counters.end(Event::TurnAllocation, outcome);
            drop(place);
        });
    }
}

impl Asker {
    /// Posts it; any status from 200 to 299 takes it.
    async fn tell(&self, told: &Told) -> Result<(), Fault> {
        let info = &told.info;
        let [to, from] = info
            .carried
            .map(|(packets, bytes)| told.ending.map(|_| Carried { packets, bytes }));
        let allocation = Allocation {
            event: if told.ending.is_some() {
                "ended"
            } else {
                "begun"
            },
            user: String::from_utf8_lossy(&info.user),
            client: info.client.remote,
            transport: match info.client.transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
                Transport::Tls => "tls",
            },
            relayed: &info.relayed,
            reason: told.ending.map(|ending| match ending {
                Ending::GivenBack => "given_back",
                Ending::Expired => "expired",
                Ending::Left => "connection_ended",
                Ending::Taken => "taken",
            }),
            to_peers: to,
            from_peers: from,
        };
        let body =
            serde_json::to_vec(&allocation).map_err(|error| Fault::Exchange(error.to_string()))?;
        let response = self.post(Event::TurnAllocation, body).await?;
        if !response.status.is_success() {
            return Err(Fault::Status(response.status.as_u16()));
        }
        Ok(())
    }

    async fn post(&self, event: Event, body: Vec<u8>) -> Result<Response, Fault> {
        let hook = self.plan.hook(event).ok_or(Fault::NoEndpoint)?;
        let headers = self.plan.headers.of_nobody();
        let post = self.client.post(hook.uri.clone(), headers, body);
        timeout(hook.timeout, post)
            .await
            .map_err(|_| Fault::Timeout(hook.timeout))?
    }

    async fn know(&self, user: &str) -> (Outcome, Said) {
        match self.ask_about(user).await {
            Ok(Some((_, end))) if end != 0 && end <= u64::from(after(0)) => {
                (Outcome::Refused, Said::Nobody(after(UNKNOWN_S)))
            }
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
        let body = serde_json::to_vec(&Question { user })
            .map_err(|error| Fault::Exchange(error.to_string()))?;
        let response = self.post(Event::TurnUser, body).await?;
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
