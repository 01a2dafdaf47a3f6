//! Errors of the API: Centrifugo's codes, with the HTTP status each one has.

use std::borrow::Cow;

use axum::http::StatusCode;
use fanfare_engine::api::ApiError;
use fanfare_wire::centrifuge::codes::ErrorCode;
use serde::Serialize;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: Cow<'static, str>,
    #[serde(skip)]
    pub(crate) status: StatusCode,
}

/// Seconds after which a busy server may be asked again, for `Retry-After`.
pub(crate) const RETRY_AFTER_SECONDS: &str = "1";

impl Refusal {
    const fn new(code: ErrorCode, status: StatusCode, message: &'static str) -> Self {
        Self {
            code: code.number(),
            status,
            message: Cow::Borrowed(message),
        }
    }

    pub(crate) const UNAUTHORIZED: Self = Self::new(
        ErrorCode::UNAUTHORIZED,
        StatusCode::UNAUTHORIZED,
        "unauthorized: send a known key as X-API-Key, or as Authorization: apikey <key>",
    );
    pub(crate) const UNKNOWN_METHOD: Self = Self::new(
        ErrorCode::METHOD_NOT_FOUND,
        StatusCode::NOT_FOUND,
        "method not found",
    );
    pub(crate) const UNKNOWN_PATH: Self = Self::new(
        ErrorCode::METHOD_NOT_FOUND,
        StatusCode::NOT_FOUND,
        "no such path: the API is at /api/<method>",
    );
    pub(crate) const WRONG_VERB: Self = Self::new(
        ErrorCode::METHOD_NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        "the API is asked with POST, the probes with GET",
    );
    pub(crate) const NOT_BEGUN: Self = Self::new(
        ErrorCode::INTERNAL,
        StatusCode::GATEWAY_TIMEOUT,
        "api.answer_timeout was over before its turn: nothing was done",
    );
    pub(crate) const NO_ANSWER: Self = Self::new(
        ErrorCode::INTERNAL,
        StatusCode::GATEWAY_TIMEOUT,
        "no answer from a shard in time: it is not known whether it was done",
    );
    pub(crate) const SLOW_REQUEST: Self = Self::new(
        ErrorCode::BAD_REQUEST,
        StatusCode::REQUEST_TIMEOUT,
        "the request did not arrive in time: nothing was done",
    );
    pub(crate) const INTERNAL: Self = Self::new(
        ErrorCode::INTERNAL,
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal server error",
    );

    /// 107: the request is not understood.
    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: ErrorCode::BAD_REQUEST.number(),
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    /// 106: it is more than the server takes at once.
    pub(crate) fn limit(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: ErrorCode::LIMIT_EXCEEDED.number(),
            status: StatusCode::PAYLOAD_TOO_LARGE,
            message: message.into(),
        }
    }

    /// 108: the server does not do this.
    pub(crate) fn not_available(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: ErrorCode::NOT_AVAILABLE.number(),
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_temporary(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let (code, status) = match error {
            ApiError::UnknownRoom => (ErrorCode::UNKNOWN_CHANNEL, StatusCode::NOT_FOUND),
            ApiError::BadRequest => (ErrorCode::BAD_REQUEST, StatusCode::BAD_REQUEST),
            ApiError::NotAvailable => (ErrorCode::NOT_AVAILABLE, StatusCode::BAD_REQUEST),
            ApiError::UnrecoverablePosition => (
                ErrorCode::UNRECOVERABLE_POSITION,
                StatusCode::RANGE_NOT_SATISFIABLE,
            ),
            ApiError::TooManyRooms => (ErrorCode::LIMIT_EXCEEDED, StatusCode::INSUFFICIENT_STORAGE),
            ApiError::TooMuch => (ErrorCode::LIMIT_EXCEEDED, StatusCode::PAYLOAD_TOO_LARGE),
            // "Too many requests" is Centrifugo's one temporary code a service can get. The status says whose
            // limit it is: the server's, not the caller's.
            ApiError::Busy | ApiError::Stopping => (
                ErrorCode::TOO_MANY_REQUESTS,
                StatusCode::SERVICE_UNAVAILABLE,
            ),
        };
        Self {
            code: code.number(),
            status,
            message: error.to_string().into(),
        }
    }
}
