//! `/1/…`, as goim's v1 answers (`logic/http.go` of v1.2).

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use fanfare_engine::api::{Publish, RoomInfo};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::OPERATION_TAG;
use super::answer::{Answer, SNIFFED_TEXT};
use super::go_json;
use super::http::{Goim, message};
use super::query::Query;
use crate::api::Refusal;

const OK: u32 = 1;
const INTERNAL_ERROR: u32 = 65_535;

/// Every push of v1 is an `OP_SEND_SMS_REPLY`.
const OPERATION: i32 = 5;

/// The number of this server among goim's; the one of its example configuration.
const SERVER: i32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Push,
    Pushs,
    PushRoom,
    PushAll,
    ServerDel,
    Count,
}

impl Call {
    fn find(path: &str) -> Option<Self> {
        match path.strip_prefix("/1/")? {
            "push" => Some(Self::Push),
            "pushs" => Some(Self::Pushs),
            "push/room" => Some(Self::PushRoom),
            "push/all" => Some(Self::PushAll),
            "server/del" => Some(Self::ServerDel),
            "count" => Some(Self::Count),
            _ => None,
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Count => Method::GET,
            _ => Method::POST,
        }
    }

    /// For metrics.
    const fn label(self) -> &'static str {
        match self {
            Self::Push => "goim_v1_push",
            Self::Pushs => "goim_v1_pushs",
            Self::PushRoom => "goim_v1_push_room",
            Self::PushAll => "goim_v1_push_all",
            Self::ServerDel => "goim_v1_server_del",
            Self::Count => "goim_v1_count",
        }
    }
}

/// Why something was not done. All a caller is told is that it was not, and by the status whether it is to blame.
#[derive(Debug)]
enum Failure {
    /// As in goim: 200, and the code of an internal error.
    Told(Refusal),
    /// Something that goim has no bound or check for.
    Refused(Refusal),
}

/// Go writes maps in the order of their keys.
#[derive(Serialize)]
struct Said<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
    ret: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RoomCount {
    room_id: i32,
    count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServerCount {
    server: i32,
    count: u64,
}

/// goim's `pushsBodyMsg`. Go does not tell upper from lower case in names.
#[derive(Deserialize)]
struct PushsBody<'a> {
    #[serde(borrow, default, alias = "M", deserialize_with = "even_null")]
    m: Option<&'a RawValue>,
    #[serde(default, alias = "U")]
    u: Option<Vec<i64>>,
}

/// Answers any request below `/1/`; also its label for metrics.
pub(super) async fn answer(goim: &Goim, request: Request<Body>) -> (&'static str, Answer) {
    let Some(call) = Call::find(request.uri().path()) else {
        let page = Answer::go_page(StatusCode::NOT_FOUND, "404 page not found\n");
        return ("goim_unknown", page);
    };
    if *request.method() != call.method() {
        let page = Answer::go_page(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
        return (call.label(), page);
    }
    let answer = match goim.check_key(request.headers()) {
        Ok(()) => run(goim, call, request).await,
        Err(refusal) => Err(Failure::Refused(refusal)),
    };
    (call.label(), answer.unwrap_or_else(Failure::into_answer))
}

async fn run(goim: &Goim, call: Call, request: Request<Body>) -> Result<Answer, Failure> {
    let query = Query::parse(request.uri().query());
    match call {
        Call::Push => push(goim, &query, request).await,
        Call::Pushs => pushs(goim, request).await,
        Call::PushRoom => push_room(goim, &query, request).await,
        Call::PushAll => push_all(goim, request).await,
        Call::ServerDel => server_del(&query),
        Call::Count => count(goim, &query).await,
    }
}

async fn push(goim: &Goim, query: &Query, request: Request<Body>) -> Result<Answer, Failure> {
    let user: i64 = number(query, "uid")?;
    let body = goim.body(request).await?;
    push_users(goim, vec![user], &body).await
}

async fn pushs(goim: &Goim, request: Request<Body>) -> Result<Answer, Failure> {
    let body = goim.body(request).await?;
    // A list would do for serde, and does not for Go.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(told("the body is not an object".to_owned()));
    }
    let asked: PushsBody<'_> =
        serde_json::from_slice(&body).map_err(|error| told(error.to_string()))?;
    let payload = asked.m.map_or("", RawValue::get);
    push_users(goim, asked.u.unwrap_or_default(), payload.as_bytes()).await
}

async fn push_users(goim: &Goim, users: Vec<i64>, body: &[u8]) -> Result<Answer, Failure> {
    let users = goim.recipients(users.iter().map(i64::to_string))?;
    let message = message(goim.payload(body)?, OPERATION);
    if users.is_empty() {
        return Ok(ret(StatusCode::OK, OK));
    }
    let pushed = goim.ask(|engine, reply| engine.push_users(users, message, reply));
    pushed.await.map_err(Failure::Told)?;
    Ok(ret(StatusCode::OK, OK))
}

async fn push_room(goim: &Goim, query: &Query, request: Request<Body>) -> Result<Answer, Failure> {
    // `ensure` asked goim not to drop what a full queue had no room for. Nothing is dropped here.
    let room: i32 = number(query, "rid")?;
    let body = goim.body(request).await?;
    let publish = Publish {
        room: room_name(room),
        payload: goim.payload(&body)?,
        tags: vec![(OPERATION_TAG.into(), OPERATION.to_string().into())],
        skip_history: false,
        idempotency_key: None,
    };
    let pushed = goim.ask(|engine, reply| engine.publish(publish, reply));
    pushed.await.map_err(Failure::Told)?;
    Ok(ret(StatusCode::OK, OK))
}

async fn push_all(goim: &Goim, request: Request<Body>) -> Result<Answer, Failure> {
    let body = goim.body(request).await?;
    let message = message(goim.payload(&body)?, OPERATION);
    let pushed = goim.ask(|engine, reply| engine.push_all(message, reply));
    pushed.await.map_err(Failure::Told)?;
    Ok(ret(StatusCode::OK, OK))
}

/// goim's routers forget the sessions of a server that died. Here a connection and what is known of it end together,
/// so there is never anything left to forget.
fn server_del(query: &Query) -> Result<Answer, Failure> {
    let _server: i32 = number(query, "server")?;
    Ok(ret(StatusCode::OK, OK))
}

async fn count(goim: &Goim, query: &Query) -> Result<Answer, Failure> {
    match query.first("type").unwrap_or_default() {
        "room" => {
            let listing = goim.ask(|engine, reply| engine.rooms(None, reply));
            let rooms = listing.await.map_err(Failure::Told)?;
            let mut counts: Vec<RoomCount> = rooms.iter().filter_map(room_count).collect();
            let max = goim.limits.listing_entries_max;
            if counts.len() > max {
                let message = format!("more rooms than api.listing_entries_max ({max})");
                return Err(Failure::Refused(Refusal::limit(message)));
            }
            counts.sort_unstable_by_key(|count| count.room_id);
            data(goim, counts)
        }
        "server" => data(
            goim,
            [ServerCount {
                server: SERVER,
                count: goim.connections(),
            }],
        ),
        _ => Ok(ret(StatusCode::OK, OK)),
    }
}

/// The room of this number: its name is the number.
fn room_name(room: i32) -> Box<str> {
    room.to_string().into()
}

/// `None` when the room is not one of v1.
fn room_count(room: &RoomInfo) -> Option<RoomCount> {
    let room_id: i32 = room.name.parse().ok()?;
    let is_of_v1 = room_name(room_id) == room.name;
    is_of_v1.then_some(RoomCount {
        room_id,
        count: room.members,
    })
}

/// A number that must be there.
fn number<T: std::str::FromStr>(query: &Query, name: &str) -> Result<T, Failure> {
    let text = query.first(name).unwrap_or_default();
    let no_number = |_| told(format!("{name} is not a number in its bounds"));
    text.parse().map_err(no_number)
}

fn told(message: String) -> Failure {
    Failure::Told(Refusal::bad_request(message))
}

fn ret(status: StatusCode, ret: u32) -> Answer {
    let body = go_json::write_short(&Said::<()> { data: None, ret });
    Answer::new(status, SNIFFED_TEXT, body)
}

fn data(goim: &Goim, data: impl Serialize) -> Result<Answer, Failure> {
    let said = Said {
        data: Some(data),
        ret: OK,
    };
    let body = go_json::write(&said, goim.limits.answer_bytes_max)?;
    Ok(Answer::new(StatusCode::OK, SNIFFED_TEXT, body))
}

impl Failure {
    fn into_answer(self) -> Answer {
        match self {
            Self::Told(refusal) => ret(StatusCode::OK, INTERNAL_ERROR).counted_as(refusal.status),
            Self::Refused(refusal) => ret(refusal.status, INTERNAL_ERROR),
        }
    }
}

impl From<Refusal> for Failure {
    /// What is not the engine's answer.
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// `null` is a message, too.
fn even_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}
