//! A reply as it goes out, and how it ended.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

/// What gin says of its JSON.
pub(super) const JSON: &str = "application/json; charset=utf-8";
/// What Go's `net/http` takes any JSON for when the handler says nothing.
pub(super) const SNIFFED_TEXT: &str = "text/plain; charset=utf-8";
/// gin's own pages.
pub(super) const TEXT: &str = "text/plain";

/// A whole HTTP reply.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
    /// The page of Go's `net/http`, which it asks browsers not to guess about.
    is_go_page: bool,
    outcome: StatusCode,
}

impl Answer {
    pub(super) fn new(
        status: StatusCode,
        content_type: &'static str,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            status,
            content_type,
            body: body.into(),
            is_go_page: false,
            outcome: status,
        }
    }

    /// An error of Go's `http.Error`.
    pub(super) fn go_page(status: StatusCode, text: &'static str) -> Self {
        Self {
            is_go_page: true,
            ..Self::new(status, SNIFFED_TEXT, text)
        }
    }

    /// What became of the request where the status does not say: goim answers 200 to nearly everything.
    pub(super) fn counted_as(self, outcome: StatusCode) -> Self {
        Self { outcome, ..self }
    }

    /// The status for metrics.
    pub(super) fn outcome(&self) -> StatusCode {
        self.outcome
    }

    pub(super) fn into_response(self) -> Response {
        const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if self.is_go_page {
            headers.insert(NO_SNIFF, HeaderValue::from_static("nosniff"));
        }
        response
    }
}
