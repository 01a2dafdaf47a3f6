//! `[backend]`: where the user's own server is asked, about what, and how much at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fanfare_engine::backend::Refused;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::settings::{RoomSettings, Settings};
use super::values::{Period, Secret};
use crate::backend::{Event, endpoint, headers, refusal};

const SECOND: u64 = 1;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// A shorter timeout would be over before a busy machine has sent the question.
const TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// The user's backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BackendSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rpc_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) send_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subscribe_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) publish_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sub_refresh_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turn_user_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turn_allocation_endpoint: Option<String>,
    pub(crate) connect_timeout: Period,
    pub(crate) refresh_timeout: Period,
    pub(crate) rpc_timeout: Period,
    pub(crate) send_timeout: Period,
    pub(crate) subscribe_timeout: Period,
    pub(crate) publish_timeout: Period,
    pub(crate) sub_refresh_timeout: Period,
    pub(crate) turn_user_timeout: Period,
    pub(crate) turn_allocation_timeout: Period,
    pub(crate) http_headers: Vec<String>,
    pub(crate) emulated_headers: Vec<String>,
    pub(crate) static_headers: BTreeMap<String, Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_root_file: Option<PathBuf>,
    pub(crate) binary_encoding: bool,
    pub(crate) include_connection_meta: bool,
    pub(crate) status_to_code_transforms: Vec<StatusTransform>,
    pub(crate) under_way_max: u32,
    pub(crate) answer_bytes_max: u32,
    pub(crate) idle_connections_max: u32,
    pub(crate) idle_timeout: Period,
}

/// What an HTTP status other than 200 means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusTransform {
    pub(crate) status_code: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to_error: Option<ToError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to_disconnect: Option<ToDisconnect>,
}

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToError {
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) temporary: bool,
}

/// The end of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToDisconnect {
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) reason: String,
}

impl Default for BackendSettings {
    fn default() -> Self {
        let timeout = Period::seconds(1);
        Self {
            connect_endpoint: None,
            refresh_endpoint: None,
            rpc_endpoint: None,
            send_endpoint: None,
            subscribe_endpoint: None,
            publish_endpoint: None,
            sub_refresh_endpoint: None,
            turn_user_endpoint: None,
            turn_allocation_endpoint: None,
            connect_timeout: timeout,
            refresh_timeout: timeout,
            rpc_timeout: timeout,
            send_timeout: timeout,
            subscribe_timeout: timeout,
            publish_timeout: timeout,
            sub_refresh_timeout: timeout,
            turn_user_timeout: timeout,
            turn_allocation_timeout: timeout,
            http_headers: Vec::new(),
            emulated_headers: Vec::new(),
            static_headers: BTreeMap::new(),
            tls_root_file: None,
            binary_encoding: false,
            include_connection_meta: false,
            status_to_code_transforms: Vec::new(),
            under_way_max: 1_024,
            answer_bytes_max: 256 << 10,
            idle_connections_max: 256,
            idle_timeout: Period::seconds(30),
        }
    }
}

impl BackendSettings {
    /// Where the event goes, if it does.
    pub(crate) fn endpoint(&self, event: Event) -> Option<&str> {
        let endpoint = match event {
            Event::Connect => &self.connect_endpoint,
            Event::Refresh => &self.refresh_endpoint,
            Event::Rpc => &self.rpc_endpoint,
            Event::Send => &self.send_endpoint,
            Event::Subscribe => &self.subscribe_endpoint,
            Event::Publish => &self.publish_endpoint,
            Event::SubRefresh => &self.sub_refresh_endpoint,
            Event::TurnUser => &self.turn_user_endpoint,
            Event::TurnAllocation => &self.turn_allocation_endpoint,
        };
        endpoint.as_deref()
    }

    /// How long an answer may take, from the question's first byte to the answer's last.
    pub(crate) fn timeout(&self, event: Event) -> Period {
        match event {
            Event::Connect => self.connect_timeout,
            Event::Refresh => self.refresh_timeout,
            Event::Rpc => self.rpc_timeout,
            Event::Send => self.send_timeout,
            Event::Subscribe => self.subscribe_timeout,
            Event::Publish => self.publish_timeout,
            Event::SubRefresh => self.sub_refresh_timeout,
            Event::TurnUser => self.turn_user_timeout,
            Event::TurnAllocation => self.turn_allocation_timeout,
        }
    }
}

impl Check<'_> {
    pub(super) fn backend(&mut self, settings: &Settings) {
        let backend = &settings.backend;
        for event in Event::ALL {
            let name = event.name();
            if let Some(Err(error)) = backend.endpoint(event).map(endpoint::parse) {
                self.refuse(&format!("backend.{name}_endpoint"), &error.to_string());
            }
            self.number(
                &format!("backend.{name}_timeout"),
                backend.timeout(event),
                &(Period(TIMEOUT_MIN)..=Period::seconds(MINUTE)),
            );
        }
        self.backend_headers(backend);
        for transform in &backend.status_to_code_transforms {
            if let Some(problem) = transform.problem() {
                self.refuse("backend.status_to_code_transforms", &problem);
            }
        }
        self.numbers(&[
            ("backend.under_way_max", backend.under_way_max, 1..=65_536),
            (
                "backend.answer_bytes_max",
                backend.answer_bytes_max,
                1_024..=16 << 20,
            ),
            (
                "backend.idle_connections_max",
                backend.idle_connections_max,
                0..=65_536,
            ),
        ]);
        self.periods(&[("backend.idle_timeout", backend.idle_timeout, SECOND, HOUR)]);
        self.backend_fits(settings);
    }

    fn backend_headers(&mut self, backend: &BackendSettings) {
        let lists = [
            ("backend.http_headers", &backend.http_headers),
            ("backend.emulated_headers", &backend.emulated_headers),
        ];
        for (key, names) in lists {
            for error in names
                .iter()
                .filter_map(|name| headers::parse_name(name).err())
            {
                self.refuse(key, &error.to_string());
            }
        }
        for (name, value) in &backend.static_headers {
            let key = format!("backend.static_headers.{name}");
            if let Err(error) = headers::parse_name(name) {
                self.refuse(&key, &error.to_string());
            }
            if headers::parse_value(value.reveal()).is_none() {
                self.refuse(&key, "has a character that no header can carry");
            }
        }
    }

    /// What concerns other sections.
    fn backend_fits(&mut self, settings: &Settings) {
        let backend = &settings.backend;
        let mut endpoints = Event::ALL
            .into_iter()
            .filter_map(|event| backend.endpoint(event))
            .peekable();
        if endpoints.peek().is_some() && backend.answer_bytes_max > settings.limits.direct_bytes_max
        {
            let message = format!(
                "is {}, and may be at most limits.direct_bytes_max ({}): a larger reply would close its connection",
                backend.answer_bytes_max, settings.limits.direct_bytes_max
            );
            self.refuse("backend.answer_bytes_max", &message);
        }
        if backend.tls_root_file.is_some() && !endpoints.any(|url| url.starts_with("https:")) {
            self.refuse(
                "backend.tls_root_file",
                "is set, and no endpoint begins with https://",
            );
        }
        self.backend_room("rooms", &settings.rooms, backend);
        for (name, room) in &settings.namespaces {
            self.backend_room(&format!("namespaces.{name}"), room, backend);
        }
    }

    fn backend_room(&mut self, section: &str, room: &RoomSettings, backend: &BackendSettings) {
        let switches = [
            (room.backend_subscribe, Event::Subscribe),
            (room.backend_publish, Event::Publish),
            (room.backend_sub_refresh, Event::SubRefresh),
        ];
        for (is_on, event) in switches {
            if is_on && backend.endpoint(event).is_none() {
                let name = event.name();
                self.refuse(
                    &format!("{section}.backend_{name}"),
                    &format!("is true, and backend.{name}_endpoint is not set"),
                );
            }
        }
    }
}

impl StatusTransform {
    /// What it turns the status into; checked when the configuration was.
    pub(crate) fn refusal(&self) -> Option<Refused> {
        match (&self.to_error, &self.to_disconnect) {
            (Some(to), None) => refusal::error(to.code.into(), &to.message, to.temporary),
            (None, Some(to)) => refusal::disconnect(to.code.into(), &to.reason),
            _ => None,
        }
    }

    fn problem(&self) -> Option<String> {
        let status = self.status_code;
        if !(100..=599).contains(&status) || status == 200 {
            return Some(format!(
                "holds status_code {status}, and it must be from 100 to 599, and not 200, which is no failure"
            ));
        }
        if self.to_error.is_some() == self.to_disconnect.is_some() {
            return Some(format!(
                "says of status {status} both to_error and to_disconnect, or neither: keep one of them"
            ));
        }
        if self.refusal().is_none() {
            return Some(format!(
                "has a code for status {status} out of bounds: errors have {} to {}, disconnects {} to {}",
                refusal::ERROR_CODES.start(),
                refusal::ERROR_CODES.end(),
                refusal::DISCONNECT_CODES.start(),
                refusal::DISCONNECT_CODES.end(),
            ));
        }
        None
    }
}
