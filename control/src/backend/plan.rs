//! From settings to what questions are asked with.

use std::path::Path;
use std::time::Duration;

use fanfare_engine::backend::{Asked, Refused};
use hyper::{StatusCode, Uri};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::answer::Reader;
use super::client::{self, Roots};
use super::endpoint;
use super::event::Event;
use super::headers::Headers;
use super::request::Form;
use crate::config::{BackendSettings, Settings};

/// Where and how a backend is asked.
#[derive(Debug)]
pub(crate) struct Plan {
    hooks: [Option<Webhook>; Event::COUNT],
    pub(super) headers: Headers,
    pub(super) form: Form,
    pub(super) reader: Reader,
    statuses: Vec<(u16, Refused)>,
    pub(super) under_way_max: usize,
    pub(super) answer_bytes_max: usize,
    pub(super) idle_connections_max: usize,
    pub(super) idle_timeout: Duration,
    pub(super) tls: rustls::ClientConfig,
}

/// Where the questions of one event go.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) uri: Uri,
    pub(super) timeout: Duration,
}

/// Why a backend cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("backend.tls_root_file: cannot read certificates from {path}: {reason}")]
    RootFile { path: String, reason: String },
    #[error(
        "an endpoint of the backend is https, and TLS cannot be set up: {0}. Install the system's certificates \
         (ca-certificates), or set backend.tls_root_file"
    )]
    Tls(Box<dyn std::error::Error + Send + Sync>),
}

impl PlanError {
    /// The key of the setting to look at.
    pub(crate) const fn key(&self) -> &'static str {
        match self {
            Self::RootFile { .. } => "backend.tls_root_file",
            Self::Tls(_) => "backend",
        }
    }
}

impl Plan {
    /// `None` when no endpoint is configured.
    pub(crate) fn new(settings: &Settings) -> Result<Option<Self>, PlanError> {
        let backend = &settings.backend;
        let hooks = Event::ALL.map(|event| {
            // What is no URL was refused with the configuration.
            let uri = endpoint::parse(backend.endpoint(event)?).ok()?;
            Some(Webhook {
                uri,
                timeout: backend.timeout(event).0,
            })
        });
        if hooks.iter().all(Option::is_none) {
            return Ok(None);
        }
        let has_tls = hooks
            .iter()
            .flatten()
            .any(|hook| hook.uri.scheme_str() == Some("https"));
        let tls = client::tls(roots(backend, has_tls)?).map_err(PlanError::Tls)?;
        let usize_of = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let payload_bytes_max = settings
            .api
            .payload_bytes_max
            .max(settings.limits.message_bytes_max);
        let headers = Headers::new(
            backend.http_headers.iter().map(String::as_str),
            backend.emulated_headers.iter().map(String::as_str),
            backend
                .static_headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.reveal())),
        );
        Ok(Some(Self {
            hooks,
            headers,
            form: Form {
                is_binary: backend.binary_encoding,
                has_meta: backend.include_connection_meta,
            },
            reader: Reader {
                payload_bytes_max: usize_of(payload_bytes_max),
                user_bytes_max: usize_of(settings.limits.user_name_bytes_max),
                keeps_meta: backend.include_connection_meta,
            },
            statuses: backend
                .status_to_code_transforms
                .iter()
                .filter_map(|transform| Some((transform.status_code, transform.refusal()?)))
                .collect(),
            under_way_max: usize_of(backend.under_way_max),
            answer_bytes_max: usize_of(backend.answer_bytes_max),
            idle_connections_max: usize_of(backend.idle_connections_max),
            idle_timeout: backend.idle_timeout.0,
            tls,
        }))
    }

    pub(super) fn asked(&self) -> Asked {
        let is_asked = |event| self.hook(event).is_some();
        Asked {
            connect: is_asked(Event::Connect),
            refresh: is_asked(Event::Refresh),
            rpc: is_asked(Event::Rpc),
            send: is_asked(Event::Send),
        }
    }

    pub(super) fn hook(&self, event: Event) -> Option<&Webhook> {
        self.hooks[event.index()].as_ref()
    }

    /// What a status means that is not an answer; the first that fits.
    pub(super) fn refusal_of(&self, status: StatusCode) -> Option<Refused> {
        self.statuses
            .iter()
            .find(|(code, _)| *code == status.as_u16())
            .map(|(_, refusal)| refusal.clone())
    }
}

fn roots(backend: &BackendSettings, has_tls: bool) -> Result<Roots, PlanError> {
    if let Some(path) = &backend.tls_root_file {
        return root_file(path).map(Roots::Only);
    }
    if has_tls {
        return Ok(Roots::System);
    }
    // Reading the system's takes some milliseconds and half a megabyte, for nothing.
    Ok(Roots::Only(RootCertStore::empty()))
}

fn root_file(path: &Path) -> Result<RootCertStore, PlanError> {
    let explain = |reason: String| PlanError::RootFile {
        path: path.display().to_string(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| explain(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| explain(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| explain(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(explain("it holds none, in PEM".to_owned()));
    }
    Ok(roots)
}
