//! What each method does: one question to the engine, one answer.

use std::sync::Arc;

use fanfare_engine::api::{HistoryQuery, Reply};

use super::allowance::Allowance;
use super::answer::Answer;
use super::answers::{
    ChannelsAnswer, ConnectionsAnswer, EmptyAnswer, HistoryAnswer, InfoAnswer, NodeAnswer,
    PresenceAnswer, PresenceStatsAnswer, PublishAnswer,
};
use super::ask::Pending;
use super::errors::Refusal;
use super::request::Request;
use super::{App, batch};
use crate::turn::{AllocationsAnswer, CredentialsAnswer, EndedAnswer, Relay};

/// Does what is asked, unless it is a batch, which holds requests itself.
pub(super) async fn run(
    app: &App,
    allowance: &Allowance,
    request: Request,
) -> Result<Answer, Refusal> {
    allowance.check()?;
    let engine = &app.handle.0;
    match request {
        Request::Publish(publish) => {
            let published = ask(allowance, |reply| engine.publish(publish, reply)).await?;
            allowance.answer(&PublishAnswer::from(published))
        }
        Request::Broadcast { rooms, publish } => {
            allowance.answer(&batch::broadcast(app, allowance, rooms, &publish).await)
        }
        Request::Subscribe { who, room } => {
            let connections = ask(allowance, |reply| engine.subscribe(who, &room, reply)).await?;
            allowance.answer(&ConnectionsAnswer { connections })
        }
        Request::Unsubscribe { who, room } => {
            let connections = ask(allowance, |reply| engine.unsubscribe(who, &room, reply)).await?;
            allowance.answer(&ConnectionsAnswer { connections })
        }
        Request::Disconnect { who, code, reason } => {
            let connections = ask(allowance, |reply| {
                engine.disconnect(who, code, &reason, reply)
            })
            .await?;
            allowance.answer(&ConnectionsAnswer { connections })
        }
        Request::Presence { room } => presence(app, allowance, &room).await,
        Request::PresenceStats { room } => {
            let stats = ask(allowance, |reply| engine.presence_stats(&room, reply)).await?;
            allowance.answer(&PresenceStatsAnswer::from(stats))
        }
        Request::History(query) => history(app, allowance, query).await,
        Request::HistoryRemove { room } => {
            ask(allowance, |reply| engine.history_remove(&room, reply)).await?;
            allowance.answer(&EmptyAnswer {})
        }
        Request::Channels { pattern } => channels(app, allowance, pattern.as_deref()).await,
        Request::Info => allowance.answer(&info(app)),
        Request::PushUser { user, payload } => {
            let connections =
                ask(allowance, |reply| engine.push_user(&user, payload, reply)).await?;
            allowance.answer(&ConnectionsAnswer { connections })
        }
        Request::PushConnection { client, payload } => {
            let connections = ask(allowance, |reply| {
                engine.push_connection(client, payload, reply)
            })
            .await?;
            allowance.answer(&ConnectionsAnswer { connections })
        }
        Request::PushAll { payload } => {
            let connections =
                ask(allowance, |reply| engine.push_all(payload.into(), reply)).await?;
            allowance.answer(&ConnectionsAnswer { connections })
        }
        Request::TurnCredentials { user, ttl } => {
            let minted = relay(app)?.mint(&user, ttl);
            let minted = minted.map_err(Refusal::bad_request)?;
            allowance.answer(&CredentialsAnswer::from(minted))
        }
        Request::TurnAllocations => {
            let relay = relay(app)?;
            let _one_at_a_time = allowance.listing().await?;
            let count = usize::try_from(relay.handle().allocation_count()).unwrap_or(usize::MAX);
            refuse_long_listing(app, count, "see fanfare_turn_allocations in /metrics")?;
            let handle = relay.handle().clone();
            let all = off_thread(move || handle.allocations()).await?;
            allowance.answer_listing(&AllocationsAnswer::from(all))
        }
        Request::TurnDisconnect { relayed } => {
            let handle = relay(app)?.handle().clone();
            let ended = off_thread(move || handle.end(relayed)).await?;
            allowance.answer(&EndedAnswer { ended })
        }
        Request::Batch { .. } => Err(Refusal::bad_request("a batch cannot hold a batch")),
    }
}

/// Does what an HTTP request asks, a batch included.
pub(super) async fn run_any(app: &Arc<App>, request: Request) -> Result<Answer, Refusal> {
    let allowance = Allowance::new(&app.limits);
    match request {
        Request::Batch {
            commands,
            is_parallel,
        } => Ok(batch::batch(app, allowance, commands, is_parallel).await),
        request => run(app, &allowance, request).await,
    }
}

fn relay(app: &App) -> Result<&Relay, Refusal> {
    let off = || Refusal::not_available("the relay is off: set turn.enabled = true");
    app.relay.as_deref().ok_or_else(off)
}

/// Waits for the relay's threads without keeping the API's from others.
async fn off_thread<T: Send + 'static>(
    ask: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let asked = tokio::task::spawn_blocking(ask).await;
    asked.map_err(|_| Refusal::INTERNAL)
}

/// Sends a question and waits for its answer.
async fn ask<T: Send + 'static>(
    allowance: &Allowance,
    send: impl FnOnce(Reply<T>),
) -> Result<T, Refusal> {
    Pending::start(send).answer(allowance.deadline()).await
}

/// Asks how many they are first: a list of a million members is of no use, and costs its shard a lot.
async fn presence(app: &App, allowance: &Allowance, room: &str) -> Result<Answer, Refusal> {
    let engine = &app.handle.0;
    let _one_at_a_time = allowance.listing().await?;
    let stats = ask(allowance, |reply| engine.presence_stats(room, reply)).await?;
    refuse_long_listing(
        app,
        usize::try_from(stats.clients).unwrap_or(usize::MAX),
        "use presence_stats",
    )?;
    let entries = ask(allowance, |reply| engine.presence(room, reply)).await?;
    allowance.answer_listing(&PresenceAnswer::from(entries))
}

async fn channels(
    app: &App,
    allowance: &Allowance,
    pattern: Option<&str>,
) -> Result<Answer, Refusal> {
    let _one_at_a_time = allowance.listing().await?;
    let rooms = ask(allowance, |reply| app.handle.0.rooms(pattern, reply)).await?;
    refuse_long_listing(app, rooms.len(), "narrow it with a pattern")?;
    allowance.answer_listing(&ChannelsAnswer::from(rooms))
}

/// As much of it as there is room for: the position shows that there is more.
async fn history(app: &App, allowance: &Allowance, query: HistoryQuery) -> Result<Answer, Refusal> {
    let _one_at_a_time = allowance.listing().await?;
    let history = ask(allowance, |reply| app.handle.0.history(query, reply)).await?;
    let answer = HistoryAnswer::within(history, allowance.bytes_left());
    allowance.answer_listing(&answer.ok_or_else(|| allowance.too_long())?)
}

fn refuse_long_listing(app: &App, entries: usize, remedy: &str) -> Result<(), Refusal> {
    let max = app.limits.listing_entries_max;
    if entries > max {
        return Err(Refusal::limit(format!(
            "{entries} entries, and api.listing_entries_max allows {max}: {remedy}"
        )));
    }
    Ok(())
}

fn info(app: &App) -> InfoAnswer {
    let shards = app.handle.0.counters();
    InfoAnswer {
        nodes: [NodeAnswer {
            uid: app.uid.clone(),
            name: app.node.clone(),
            version: env!("CARGO_PKG_VERSION"),
            num_clients: shards.iter().map(|shard| shard.connections).sum(),
            num_users: shards.iter().map(|shard| shard.users_home).sum(),
            num_channels: shards.iter().map(|shard| shard.rooms_home).sum(),
            num_subs: shards.iter().map(|shard| shard.members).sum(),
            uptime: app.started.elapsed().as_secs(),
            shards: shards.len(),
        }],
    }
}
