//! What an idle connection costs the server in user space: 18,000 of them, each of another user and in one room.
#![allow(missing_docs)]

mod crowd_support;
mod support;

use std::sync::Arc;
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use crowd_support::memory::Memory;
use crowd_support::metrics;
use fanfare_bench::swarm::{Group, Identity, Language, Swarm};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use support::announce;
use support::server::Server;

/// The budget: bytes of user space for a connection with one membership.
const BYTES_MAX: u64 = 400;

/// Connections of each of the two dialects.
const CONNECTIONS: u32 = 9_000;

/// Connections that come and go before anything is measured: enough that each of the 256 receive buffers of each of the
/// shards has been used. What the allocator keeps of these is hidden from the measurement, so they are not counted as
/// connections in the result either.
const WARM_UP: u32 = 1_000;

/// Longest that any step may take.
const PATIENCE: Duration = Duration::from_secs(120);

const SECRET: &str = "a secret that is only known to this test";

const CONFIG: &str = r#"
engine.shards = 2
token.hmac_secret = "a secret that is only known to this test"

[rooms]
subscribe = "users"
"#;

#[test]
fn an_idle_connection_costs_at_most_400_bytes() {
    let server = Server::start(CONFIG);
    let cold = Memory::of(server.pid());
    let warm_up = join(&server, Language::Native, WARM_UP / 2, "warm-n");
    let other = join(&server, Language::CentrifugeJson, WARM_UP / 2, "warm-c");
    await_members(&server, WARM_UP);
    warm_up.finish().expect("no crew failed");
    other.finish().expect("no crew failed");
    await_members(&server, 0);
    let base = Memory::of(server.pid());

    let native = join(&server, Language::Native, CONNECTIONS, "native");
    await_members(&server, CONNECTIONS);
    let half = Memory::of(server.pid());
    let centrifuge = join(&server, Language::CentrifugeJson, CONNECTIONS, "centrifuge");
    await_members(&server, 2 * CONNECTIONS);
    let full = Memory::of(server.pid());

    let connections = u64::from(2 * CONNECTIONS);
    let per_connection = |memory: &dyn Fn(&Memory) -> u64| {
        memory(&full).saturating_sub(memory(&base)) / (connections - u64::from(WARM_UP))
    };
    let resident = per_connection(&|memory| memory.resident);
    let anonymous = per_connection(&|memory| memory.anonymous);
    let first_half = half.resident.saturating_sub(base.resident) / u64::from(CONNECTIONS - WARM_UP);
    let second_half = full.resident.saturating_sub(half.resident) / u64::from(CONNECTIONS);
    announce(&format!(
        "idle memory of {connections} connections on 2 shards, each of its own user and in one room:\n  \
         {resident} bytes resident for each ({anonymous} of them anonymous); the native half {first_half}, \
         the Centrifuge half {second_half}\n  \
         {} bytes for each with what the server grew by since its start, {} with all that the process has\n  \
         at the start:  {cold}\n  warmed up:     {base}\n  half full:     {half}\n  full:          {full}",
        full.resident.saturating_sub(cold.resident) / connections,
        full.resident / connections
    ));
    assert!(native.total().ended + centrifuge.total().ended == 0);
    assert!(
        resident <= BYTES_MAX,
        "{resident} bytes for each connection; the budget is {BYTES_MAX}"
    );
}

/// Connects members, each of its own user, to one room for all of them.
fn join(server: &Server, language: Language, members: u32, users: &'static str) -> Swarm {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let expires_at = SystemTime::now() + Duration::from_secs(86_400);
    let expires_at = expires_at
        .duration_since(UNIX_EPOCH)
        .expect("a clock that was set")
        .as_secs();
    let group = Group {
        identity: Arc::new(move |member| {
            let claims = json!({"sub": format!("{users}-{member}"), "exp": expires_at});
            let token = encode(&Header::new(Algorithm::HS256), &claims, &key);
            Identity {
                token: token.expect("claims are signed"),
                room: "idle".into(),
            }
        }),
        ..Group::anonymous(members, language, "idle")
    };
    let swarm = Swarm::start(server.clients(), vec![group]).expect("threads for the swarm");
    swarm
        .wait_until("everyone in the room", PATIENCE, |swarm| {
            swarm.total().joined == u64::from(members)
        })
        .unwrap_or_else(|error| panic!("{error}"));
    swarm
}

/// Waits until the server has so many members, and knows as many users.
fn await_members(server: &Server, members: u32) {
    let members = u64::from(members);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let now = [
            "fanfare_members",
            "fanfare_users_home",
            "fanfare_connections",
        ]
        .map(|name| metrics::sum(server, name));
        if now == [members; 3] {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "members, users and connections are {now:?}, {members} of each are expected"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
