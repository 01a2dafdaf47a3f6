//! Fanfare itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::net::SocketAddr;

use fanfare_wire::native::{self, ServerFrame};

use super::link::Link;
use super::pipeline::{Protocol, publisher};
use super::process::{Process, write_file};
use super::programs::{ask, built};
use super::{Api, Contestant, Missing, PublishError, Publisher, Running, Spec, StartError};
use crate::swarm::Language;

/// The variable with the program's path.
const VARIABLE: &str = "FANFARE_BIN";

/// Longest frame that is taken from the server.
const ARCHIVE_BYTES_MAX: u32 = 1 << 20;

/// The server of this project.
#[derive(Debug, Clone)]
pub struct Fanfare {
    name: &'static str,
    language: Language,
    settings: BTreeMap<String, String>,
}

impl Fanfare {
    /// Its members speak native frames over TCP.
    #[must_use]
    pub fn native() -> Self {
        Self::new("fanfare", Language::Native)
    }

    /// Its members speak native frames over WebSocket.
    #[must_use]
    pub fn native_web_socket() -> Self {
        Self::new("fanfare-websocket", Language::NativeWebSocket)
    }

    /// Its members speak the Centrifuge protocol.
    #[must_use]
    pub fn centrifuge() -> Self {
        Self::new("fanfare-centrifuge", Language::CentrifugeJson)
    }

    fn new(name: &'static str, language: Language) -> Self {
        Self {
            name,
            language,
            settings: BTreeMap::new(),
        }
    }

    /// Sets a key of `docs/configuration.md`, such as `rooms.history_size`, to a value as TOML writes it. All else is as
    /// it comes, but that everyone may subscribe to everything, and that there is no history.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    fn configuration(&self, spec: &Spec, key: &str) -> String {
        let mut settings: BTreeMap<String, String> = [
            ("client.addresses", r#"["127.0.0.1:0"]"#.to_owned()),
            ("client.allow_anonymous", "true".to_owned()),
            ("api.address", r#""127.0.0.1:0""#.to_owned()),
            ("api.keys", format!("[\"{key}\"]")),
            ("engine.shards", spec.threads().to_string()),
            ("rooms.subscribe", r#""everyone""#.to_owned()),
            // Who is measured is not asked to reconnect elsewhere.
            ("shutdown.drain_window", r#""0s""#.to_owned()),
            ("log.level", r#""warn""#.to_owned()),
            // With both this and the API's key, no secret is generated.
            ("token.hmac_secret", format!("\"{key}\"")),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        if spec.threads() > spec.cpus.len() && !spec.cpus.is_empty() {
            // Shards that share a core have long turns, in which many small answers to pings come in.
            settings.insert("engine.receive_buffers".to_owned(), "1024".to_owned());
            settings.insert("engine.receive_buffer_bytes".to_owned(), "1024".to_owned());
        }
        settings.extend(self.settings.clone());
        let mut text = String::new();
        for (key, value) in settings {
            // A String does not fail to be written to.
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    }
}

impl Contestant for Fanfare {
    fn name(&self) -> &str {
        self.name
    }

    fn find(&self) -> Result<String, Missing> {
        let program = built("fanfare", VARIABLE).ok_or_else(missing)?;
        let said = ask(&program, &["--version"]).ok_or_else(missing)?;
        Ok(said.trim_start_matches("fanfare ").to_owned())
    }

    fn start(&self, spec: &Spec) -> Result<Running, StartError> {
        let program = built("fanfare", VARIABLE).ok_or_else(missing)?;
        let key = format!("{:032x}", fastrand::u128(..));
        let configuration = self.configuration(spec, &key);
        let file = write_file(self.name, spec, "fanfare.toml", &configuration)?;
        let arguments = [OsStr::new("--config"), file.as_os_str()];
        let mut process = Process::start(self.name, &program, &arguments, spec)?;
        let (clients, api) = process.wait_for_output(|text| {
            let clients = between(text, "ws://", "/connection/websocket")?;
            Some((clients, between(text, "http://", "/api/")?))
        })?;
        let api = Api { address: api, key };
        Ok(Running {
            api: Some(api.clone()),
            ..Running::of(process, clients, self.language, move || {
                fanfare_publisher(clients, &api.key)
            })
        })
    }
}

fn missing() -> Missing {
    Missing {
        what: "fanfare".to_owned(),
        remedy: format!("cargo build -p fanfare-control with this profile, or {VARIABLE}=its path"),
    }
}

/// The address between these in the banner.
fn between(text: &str, before: &str, after: &str) -> Option<SocketAddr> {
    let end = text.find(after)?;
    let start = text[..end].rfind(before)? + before.len();
    text[start..end].parse().ok()
}

/// A publisher on a native connection, for which this key opens it.
///
/// # Errors
/// When the server is not there or does not accept the key.
pub fn fanfare_publisher(
    address: SocketAddr,
    key: &str,
) -> Result<Box<dyn Publisher>, PublishError> {
    let key = key.to_owned();
    publisher(address, Native { key })
}

/// A service on a native connection, which an API key opens.
struct Native {
    key: String,
}

impl Protocol for Native {
    const CHUNK: usize = 256;
    // Of 30 bytes each.
    const UNANSWERED_MAX: u64 = 512;

    fn greet(&mut self, link: &mut Link) -> Result<(), PublishError> {
        let mut hello = Vec::new();
        native::write_hello(
            &mut hello,
            &native::Hello {
                token: &self.key,
                client_name: "bench",
            },
        );
        link.send(&hello)?;
        // The welcome is the first to come; what it may answer is the server's ping, which is not due.
        link.receive(|bytes| self.read(bytes, &mut Vec::new()))?;
        Ok(())
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: &str,
        payloads: &[Vec<u8>],
    ) -> Result<u64, PublishError> {
        for data in payloads {
            // Any number but 0 asks for an answer, and which one is answered is not looked at.
            let publish = native::Publish {
                request: 1,
                room,
                data,
            };
            native::write_publish(out, &publish);
        }
        Ok(payloads.len() as u64)
    }

    fn read(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<(u64, usize)>, PublishError> {
        let decoded = native::decode_server(bytes, ARCHIVE_BYTES_MAX)
            .map_err(|error| PublishError::Protocol(error.to_string()))?;
        let Some((frame, taken)) = decoded else {
            return Ok(None);
        };
        let refused = |code: u16, why: &str| Err(PublishError::Refused(format!("{code}: {why}")));
        match frame {
            ServerFrame::Ack(_) => Ok(Some((1, taken))),
            ServerFrame::Ping => {
                native::write_client_pong(out);
                Ok(Some((0, taken)))
            }
            ServerFrame::Error(error) => refused(error.code, error.message),
            ServerFrame::Disconnect(end) => refused(end.code, end.reason),
            _ => Ok(Some((0, taken))),
        }
    }
}
