//! One HTTP request: who asks, what for, and the answer in the form they want.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Path, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::answer::Answer;
use super::errors::{RETRY_AFTER_SECONDS, Refusal};
use super::method::Method;
use super::methods;
use super::request::Request as Asked;
use super::{ApiLimits, App};
use crate::api_keys::ApiKeys;

/// Headers that choose how errors are told; ours and Centrifugo's.
const ERROR_MODES: [&str; 2] = ["x-fanfare-error-mode", "x-centrifugo-error-mode"];

/// How an error is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorMode {
    /// By the HTTP status, besides the error object.
    Transport,
    /// By the error object alone; the status is 200.
    Ok200,
}

/// `POST /api/<method>`.
pub(super) async fn call(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let began = Instant::now();
    let method = Method::parse(&name);
    let headers = request.headers();
    let (result, mode) = match authorised(headers, &app.keys) {
        // Without a key there is no choice of modes either: who cannot ask gets the status.
        false => (Err(Refusal::UNAUTHORIZED), ErrorMode::Transport),
        true => match error_mode(headers) {
            Ok(mode) => (handle(&app, method, request).await, mode),
            Err(refusal) => (Err(refusal), ErrorMode::Transport),
        },
    };
    let status = status(&result);
    app.metrics
        .count_request(Method::label(method), status.as_u16(), began.elapsed());
    count_operation(&app, method, &result);
    respond(result, mode)
}

/// Counts an operation, unless it was several, which have been counted by themselves.
pub(super) fn count_operation(app: &App, method: Option<Method>, result: &Result<Answer, Refusal>) {
    let is_several = matches!(method, Some(Method::Batch | Method::Broadcast));
    if !is_several || result.is_err() {
        app.metrics
            .count_operations(Method::label(method), status(result).as_u16(), 1);
    }
}

/// Any other path.
pub(super) async fn unknown_path() -> Response {
    respond(Err(Refusal::UNKNOWN_PATH), ErrorMode::Transport)
}

/// Another verb than the path is for.
pub(super) async fn wrong_verb() -> Response {
    respond(Err(Refusal::WRONG_VERB), ErrorMode::Transport)
}

fn status(result: &Result<Answer, Refusal>) -> StatusCode {
    match result {
        Ok(_) => StatusCode::OK,
        Err(refusal) => refusal.status,
    }
}

async fn handle(
    app: &Arc<App>,
    method: Option<Method>,
    request: Request<Body>,
) -> Result<Answer, Refusal> {
    let method = method.ok_or(Refusal::UNKNOWN_METHOD)?;
    let key = request.headers().get("idempotency-key").cloned();
    let body = read_body(request, &app.limits).await?;
    let text =
        std::str::from_utf8(&body).map_err(|_| Refusal::bad_request("the body is not UTF-8"))?;
    let mut request = Asked::parse(method, text, &app.limits)?;
    if let Some(key) = key {
        let key = key
            .to_str()
            .map_err(|_| Refusal::bad_request("Idempotency-Key is not ASCII"))?;
        request.set_idempotency_key(key)?;
    }
    drop(body);
    methods::run_any(app, request).await
}

/// Reads the whole body, within its bounds of size (the router's layer) and time.
pub(crate) async fn read_body(
    request: Request<Body>,
    limits: &ApiLimits,
) -> Result<Bytes, Refusal> {
    let max = limits.body_bytes_max;
    let too_long = || {
        Refusal::limit(format!(
            "the body is longer than api.body_bytes_max ({max})"
        ))
    };
    // What says itself that it is too long need not be waited for.
    let declared = request.body().size_hint().lower();
    if usize::try_from(declared).is_ok_and(|len| len > max) {
        return Err(too_long());
    }
    match tokio::time::timeout(limits.request_timeout, Bytes::from_request(request, &())).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(too_long())
        }
        Ok(Err(_)) => Err(Refusal::bad_request("the body did not arrive whole")),
        Err(_) => Err(Refusal::SLOW_REQUEST),
    }
}

/// Whether the request carries a key that is known.
pub(crate) fn authorised(headers: &HeaderMap, keys: &ApiKeys) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let from_scheme = || {
        let (scheme, key) = text(AUTHORIZATION.as_str())?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("apikey").then(|| key.trim())
    };
    text("x-api-key")
        .or_else(from_scheme)
        .is_some_and(|key| keys.contains(key))
}

fn error_mode(headers: &HeaderMap) -> Result<ErrorMode, Refusal> {
    let Some(mode) = ERROR_MODES.iter().find_map(|name| headers.get(*name)) else {
        return Ok(ErrorMode::Transport);
    };
    match mode.as_bytes() {
        b"transport" => Ok(ErrorMode::Transport),
        b"200" => Ok(ErrorMode::Ok200),
        _ => Err(Refusal::bad_request(
            "an error mode is \"transport\" or \"200\"",
        )),
    }
}

#[derive(Serialize)]
pub(super) struct ErrorReply<'a> {
    pub(super) error: &'a Refusal,
}

fn respond(result: Result<Answer, Refusal>, mode: ErrorMode) -> Response {
    let status = match (&result, mode) {
        (Err(refusal), ErrorMode::Transport) => refusal.status,
        _ => StatusCode::OK,
    };
    let is_temporary = result.as_ref().is_err_and(Refusal::is_temporary);
    let body = match result {
        Ok(answer) => answer.into_body(),
        Err(error) => serde_json::to_vec(&ErrorReply { error: &error }).unwrap_or_default(),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_temporary {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    response
}
