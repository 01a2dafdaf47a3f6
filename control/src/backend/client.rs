//! One exchange with a backend: a POST, and as much of the answer as is allowed.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// What a connection buffers of an answer's head; bodies are read in pieces of at most so much.
const HEAD_BYTES_MAX: usize = 32_768;

/// Header lines of an answer.
const HEADERS_MAX: usize = 64;

/// Why a question has no answer, or none that makes sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("no endpoint is configured for it")]
    NoEndpoint,
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("{0}")]
    Exchange(String),
    #[error("status {0}, where 200 means an answer")]
    Status(u16),
    #[error("the answer is longer than {0} bytes, see backend.answer_bytes_max")]
    TooLong(usize),
    #[error("the answer is not the JSON expected, at line {line} column {column}")]
    Malformed { line: usize, column: usize },
    #[error("the answer has {0}")]
    NotAccepted(&'static str),
}

/// An answer, whatever it says.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    /// Or that it is longer than it may be, or broke off.
    pub(super) body: Result<Bytes, Fault>,
}

/// Keeps connections to backends open between questions. It follows no redirects: the endpoint is where the operator
/// wants questions and what is secret in them to go.
#[derive(Debug)]
pub(super) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    answer_bytes_max: usize,
}

impl HttpClient {
    pub(super) fn new(
        tls: rustls::ClientConfig,
        idle_connections_max: usize,
        idle_timeout: Duration,
        answer_bytes_max: usize,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(idle_timeout)
            .pool_max_idle_per_host(idle_connections_max)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX)
            .build(connector);
        Self {
            client,
            answer_bytes_max,
        }
    }

    /// Posts the body and reads the answer. What is dropped before it has finished closes its connection.
    pub(super) async fn post(
        &self,
        uri: Uri,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Response, Fault> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| Fault::Exchange(with_causes(&error)))?;
        let status = response.status();
        // Also when the status has said enough: a connection can be used again once its answer has been read.
        let body = Limited::new(response.into_body(), self.answer_bytes_max)
            .collect()
            .await
            .map(|body| body.to_bytes())
            .map_err(|error| match error.is::<LengthLimitError>() {
                true => Fault::TooLong(self.answer_bytes_max),
                false => Fault::Exchange(with_causes(&*error)),
            });
        Ok(Response { status, body })
    }
}

/// The error and what it came from; alone it says little more than where it happened.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// TLS that trusts these authorities.
pub(crate) fn tls(roots: Roots) -> Result<rustls::ClientConfig, Box<dyn Error + Send + Sync>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?;
    let builder = match roots {
        Roots::System => hyper_rustls::ConfigBuilderExt::with_native_roots(builder)?,
        Roots::Only(roots) => builder.with_root_certificates(roots),
    };
    Ok(builder.with_no_client_auth())
}

/// Whose certificates are trusted.
#[derive(Debug)]
pub(crate) enum Roots {
    /// The system's authorities.
    System,
    /// These.
    Only(rustls::RootCertStore),
}
