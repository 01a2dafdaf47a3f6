//! Centrifugo 6, with its engine in memory.

use std::ffi::OsStr;
use std::net::SocketAddr;

use serde_json::json;
use serde_json::value::RawValue;

use super::pipeline::{Protocol, publisher};
use super::process::{Process, free_address, write_file};
use super::programs::{ask, in_path};
use super::{Contestant, Missing, PublishError, Running, Spec, StartError};
use crate::http;
use crate::swarm::Language;

const NAME: &str = "centrifugo";

#[derive(Debug)]
pub(super) struct Centrifugo;

impl Contestant for Centrifugo {
    fn name(&self) -> &str {
        NAME
    }

    fn find(&self) -> Result<String, Missing> {
        let program = in_path(NAME).ok_or_else(missing)?;
        let said = ask(&program, &["version"]).ok_or_else(missing)?;
        Ok(said.trim_start_matches("Centrifugo v").to_owned())
    }

    fn start(&self, spec: &Spec) -> Result<Running, StartError> {
        let program = in_path(NAME).ok_or_else(missing)?;
        let clients = free_address(NAME)?;
        let key = format!("{:032x}", fastrand::u128(..));
        let text = configuration(clients, &key);
        let file = write_file(NAME, spec, "centrifugo.json", &text)?;
        let arguments = [OsStr::new("--config"), file.as_os_str()];
        let mut process = Process::start(NAME, &program, &arguments, spec)?;
        process.wait_for_listener(clients)?;
        let language = Language::CentrifugeJson;
        Ok(Running::of(process, clients, language, move || {
            publisher(clients, Batches { key: key.clone() })
        }))
    }
}

fn missing() -> Missing {
    Missing {
        what: NAME.to_owned(),
        remedy: "put a release of github.com/centrifugal/centrifugo, version 6, into the path"
            .to_owned(),
    }
}

/// The runtime of Go takes as many threads as it may use cores, so there is nothing to set for that.
fn configuration(clients: SocketAddr, key: &str) -> String {
    json!({
        "http_server": {"address": clients.ip(), "port": clients.port()},
        "http_api": {"key": key},
        // Anybody may come and hear, as with all others here.
        "client": {"allow_anonymous_connect_without_token": true, "allowed_origins": ["*"]},
        "channel": {"without_namespace": {
            "allow_subscribe_for_client": true,
            "allow_subscribe_for_anonymous": true,
        }},
        // No line for anybody who comes or goes.
        "log": {"level": "error"},
    })
    .to_string()
}

/// Batches on a connection that is kept alive.
struct Batches {
    key: String,
}

impl Protocol for Batches {
    const CHUNK: usize = 256;
    // Of some 10 KB each at most.
    const UNANSWERED_MAX: u64 = 1;

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: &str,
        payloads: &[Vec<u8>],
    ) -> Result<u64, PublishError> {
        let mut commands = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let data: &RawValue = serde_json::from_slice(payload)
                .map_err(|error| PublishError::Refused(format!("not JSON: {error}")))?;
            commands.push(json!({"publish": {"channel": room, "data": data}}));
        }
        let body = json!({ "commands": commands }).to_string();
        let headers = format!(
            "X-API-Key: {}\r\nContent-Type: application/json\r\n",
            self.key
        );
        http::write_post(out, "/api/batch", &headers, body.as_bytes());
        Ok(1)
    }

    fn read(
        &mut self,
        bytes: &[u8],
        _: &mut Vec<u8>,
    ) -> Result<Option<(u64, usize)>, PublishError> {
        let Some(answer) = http::answer(bytes)? else {
            return Ok(None);
        };
        // The status is 200 whatever comes of it.
        let said = String::from_utf8_lossy(&bytes[answer.body.clone()]);
        if said.contains("\"error\"") {
            return Err(PublishError::Refused(said.into_owned()));
        }
        Ok(Some((1, answer.body.end)))
    }
}
