//! `/goim/…`, as goim's v2 answers (`internal/logic/http`, with gin 1.7).

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use fanfare_engine::api::Publish;
use serde::Serialize;

use super::OPERATION_TAG;
use super::answer::{Answer, JSON, SNIFFED_TEXT, TEXT};
use super::go_json;
use super::http::{Goim, message};
use super::query::{Query, require};
use crate::api::Refusal;

const OK: i32 = 0;
const REQUEST_ERROR: i32 = -400;
const SERVER_ERROR: i32 = -500;

/// Addresses are not counted: one has many connections, or several share one, and neither says much.
const IP_COUNT: u64 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    PushKeys,
    PushMids,
    PushRoom,
    PushAll,
    OnlineTop,
    OnlineRoom,
    OnlineTotal,
    NodesWeighted,
    NodesInstances,
}

impl Call {
    /// gin has a tree of paths per method, so another method is another path.
    fn find(method: &Method, path: &str) -> Option<Self> {
        let is = |known: Method| (*method == known).then_some(());
        match path.strip_prefix("/goim/")? {
            "push/keys" => is(Method::POST).map(|()| Self::PushKeys),
            "push/mids" => is(Method::POST).map(|()| Self::PushMids),
            "push/room" => is(Method::POST).map(|()| Self::PushRoom),
            "push/all" => is(Method::POST).map(|()| Self::PushAll),
            "online/top" => is(Method::GET).map(|()| Self::OnlineTop),
            "online/room" => is(Method::GET).map(|()| Self::OnlineRoom),
            "online/total" => is(Method::GET).map(|()| Self::OnlineTotal),
            "nodes/weighted" => is(Method::GET).map(|()| Self::NodesWeighted),
            "nodes/instances" => is(Method::GET).map(|()| Self::NodesInstances),
            _ => None,
        }
    }

    /// For metrics.
    const fn label(self) -> &'static str {
        match self {
            Self::PushKeys => "goim_push_keys",
            Self::PushMids => "goim_push_mids",
            Self::PushRoom => "goim_push_room",
            Self::PushAll => "goim_push_all",
            Self::OnlineTop => "goim_online_top",
            Self::OnlineRoom => "goim_online_room",
            Self::OnlineTotal => "goim_online_total",
            Self::NodesWeighted => "goim_nodes_weighted",
            Self::NodesInstances => "goim_nodes_instances",
        }
    }
}

/// Why something was not done, by the way goim says so.
#[derive(Debug)]
enum Failure {
    /// The parameters: gin has sent the status, and no type, when the handler adds its JSON.
    Parameters(String),
    /// Something that goim has no bound or check for.
    Refused(Refusal),
    /// The engine, where goim's handler says why.
    Engine(Refusal),
    /// The engine, where goim's handler says nothing and blames the request.
    Silent(Refusal),
}

/// goim's `resp`.
#[derive(Serialize)]
struct Said<'a, T> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

#[derive(Serialize)]
struct Top {
    room_id: Box<str>,
    count: u32,
}

#[derive(Serialize)]
struct Total {
    conn_count: u64,
    ip_count: u64,
}

/// Answers any request below `/goim/`; also its label for metrics.
pub(super) async fn answer(goim: &Goim, request: Request<Body>) -> (&'static str, Answer) {
    let Some(call) = Call::find(request.method(), request.uri().path()) else {
        let page = Answer::new(StatusCode::NOT_FOUND, TEXT, "404 page not found");
        return ("goim_unknown", page);
    };
    let answer = match goim.check_key(request.headers()) {
        Ok(()) => run(goim, call, request).await,
        Err(refusal) => Err(Failure::Refused(refusal)),
    };
    (call.label(), answer.unwrap_or_else(Failure::into_answer))
}

async fn run(goim: &Goim, call: Call, request: Request<Body>) -> Result<Answer, Failure> {
    let query = Query::parse(request.uri().query());
    match call {
        Call::PushKeys => push_keys(goim, &query, request).await,
        Call::PushMids => push_mids(goim, &query, request).await,
        Call::PushRoom => push_room(goim, &query, request).await,
        Call::PushAll => push_all(goim, &query, request).await,
        Call::OnlineTop => online_top(goim, &query).await,
        Call::OnlineRoom => online_room(goim, &query).await,
        Call::OnlineTotal => {
            let total = Total {
                conn_count: goim.connections(),
                ip_count: IP_COUNT,
            };
            data(goim, total)
        }
        Call::NodesWeighted => data(goim, goim.nodes.weighted()),
        Call::NodesInstances => {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
            let now_ns = since_1970.unwrap_or_default().as_nanos();
            let now_ns = u64::try_from(now_ns).unwrap_or(u64::MAX);
            data(
                goim,
                [goim.nodes.instance(goim.connections(), IP_COUNT, now_ns)],
            )
        }
    }
}

async fn push_keys(goim: &Goim, query: &Query, request: Request<Body>) -> Result<Answer, Failure> {
    let operation = query.number("operation").map_err(Failure::Parameters)?;
    let keys = goim.recipients(query.all("keys").map(str::to_owned))?;
    let payload = goim.payload(&goim.body(request).await?)?;
    if keys.is_empty() {
        // goim's Redis has no MGET of nothing.
        return Err(Failure::Silent(Refusal::bad_request("no keys")));
    }
    let keys: Vec<Box<str>> = keys.into_iter().filter(|key| !key.is_empty()).collect();
    if keys.is_empty() {
        return Ok(done());
    }
    let message = message(payload, operation);
    let pushed = goim.ask(|engine, reply| engine.push_keys(keys, message, reply));
    pushed.await.map_err(Failure::Silent)?;
    Ok(done())
}

async fn push_mids(goim: &Goim, query: &Query, request: Request<Body>) -> Result<Answer, Failure> {
    let operation = query.number("operation").map_err(Failure::Parameters)?;
    let mids: Vec<i64> = query.numbers("mids").map_err(Failure::Parameters)?;
    // goim keeps no connections of mids below 1: to a client, 0 is to have none.
    let users = mids.iter().filter(|mid| **mid > 0).map(i64::to_string);
    let users = goim.recipients(users)?;
    let payload = goim.payload(&goim.body(request).await?)?;
    if users.is_empty() {
        return Ok(done());
    }
    let message = message(payload, operation);
    let pushed = goim.ask(|engine, reply| engine.push_users(users, message, reply));
    pushed.await.map_err(Failure::Engine)?;
    Ok(done())
}

async fn push_room(goim: &Goim, query: &Query, request: Request<Body>) -> Result<Answer, Failure> {
    let operation: i32 = query.number("operation").map_err(Failure::Parameters)?;
    let (kind, room) = (text(query, "type"), text(query, "room"));
    let required = [
        ("Op", operation != 0),
        ("Type", !kind.is_empty()),
        ("Room", !room.is_empty()),
    ];
    require(&required).map_err(Failure::Parameters)?;
    let publish = Publish {
        room: room_key(kind, room),
        payload: goim.payload(&goim.body(request).await?)?,
        tags: vec![(OPERATION_TAG.into(), operation.to_string().into())],
        skip_history: false,
        idempotency_key: None,
    };
    let pushed = goim.ask(|engine, reply| engine.publish(publish, reply));
    pushed.await.map_err(Failure::Engine)?;
    Ok(done())
}

async fn push_all(goim: &Goim, query: &Query, request: Request<Body>) -> Result<Answer, Failure> {
    let operation: i32 = query.number("operation").map_err(Failure::Parameters)?;
    // Read for its errors alone: goim slowed itself down by it, and sweeps need no such help.
    let _speed: i32 = query.number("speed").map_err(Failure::Parameters)?;
    require(&[("Op", operation != 0)]).map_err(Failure::Parameters)?;
    let payload = goim.payload(&goim.body(request).await?)?;
    let message = message(payload, operation);
    let pushed = goim.ask(|engine, reply| engine.push_all(message, reply));
    pushed.await.map_err(Failure::Engine)?;
    Ok(done())
}

async fn online_top(goim: &Goim, query: &Query) -> Result<Answer, Failure> {
    let kind = text(query, "type");
    let limit: i64 = query.number("limit").map_err(Failure::Parameters)?;
    let required = [("Type", !kind.is_empty()), ("Limit", limit != 0)];
    require(&required).map_err(Failure::Parameters)?;
    let limit = usize::try_from(limit)
        .map_err(|_| Failure::Refused(Refusal::bad_request("limit is below 0")))?;
    // A `*` in the type matches itself among others, so this is all that begins with the type, and perhaps more.
    let pattern = format!("{kind}*");
    let listing = goim.ask(|engine, reply| engine.rooms(Some(&pattern), reply));
    let mut rooms = listing.await.map_err(Failure::Silent)?;
    rooms.retain(|room| room.name.starts_with(kind) && room.name.contains("://"));
    rooms.sort_unstable_by(|a, b| b.members.cmp(&a.members).then_with(|| a.name.cmp(&b.name)));
    rooms.truncate(limit.min(goim.limits.listing_entries_max));
    let tops = rooms.into_iter().filter_map(|room| {
        let (_, id) = room.name.split_once("://")?;
        Some(Top {
            room_id: id.into(),
            count: room.members,
        })
    });
    data(goim, tops.collect::<Vec<Top>>())
}

async fn online_room(goim: &Goim, query: &Query) -> Result<Answer, Failure> {
    let kind = text(query, "type");
    let ids: Vec<&str> = query.all("rooms").collect();
    let required = [("Type", !kind.is_empty()), ("Rooms", !ids.is_empty())];
    require(&required).map_err(Failure::Parameters)?;
    let rooms = ids.iter().map(|id| room_key(kind, id)).collect();
    let counts = goim.ask(|engine, reply| engine.room_members(rooms, reply));
    let counts = counts.await.map_err(Failure::Silent)?;
    let by_room: BTreeMap<&str, u32> = ids.into_iter().zip(counts).collect();
    data(goim, by_room)
}

fn text<'a>(query: &'a Query, name: &str) -> &'a str {
    query.first(name).unwrap_or_default()
}

/// goim's `model.EncodeRoomKey`.
fn room_key(kind: &str, room: &str) -> Box<str> {
    format!("{kind}://{room}").into()
}

fn done() -> Answer {
    said(StatusCode::OK, JSON, OK, "")
}

fn data(goim: &Goim, data: impl Serialize) -> Result<Answer, Failure> {
    let said = Said {
        code: OK,
        message: "",
        data: Some(data),
    };
    let body = go_json::write(&said, goim.limits.answer_bytes_max)?;
    Ok(Answer::new(StatusCode::OK, JSON, body))
}

fn said(status: StatusCode, content_type: &'static str, code: i32, message: &str) -> Answer {
    let body = go_json::write_short(&Said::<()> {
        code,
        message,
        data: None,
    });
    Answer::new(status, content_type, body)
}

impl Failure {
    fn into_answer(self) -> Answer {
        match self {
            Self::Parameters(message) => {
                let status = StatusCode::BAD_REQUEST;
                said(status, SNIFFED_TEXT, REQUEST_ERROR, &message)
            }
            Self::Refused(refusal) => said(refusal.status, JSON, REQUEST_ERROR, &refusal.message),
            Self::Engine(refusal) => said(StatusCode::OK, JSON, SERVER_ERROR, &refusal.message)
                .counted_as(refusal.status),
            Self::Silent(refusal) => {
                said(StatusCode::OK, JSON, REQUEST_ERROR, "").counted_as(refusal.status)
            }
        }
    }
}

impl From<Refusal> for Failure {
    /// What is not the engine's answer.
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
