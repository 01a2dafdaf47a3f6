//! nats-server, with core NATS: no JetStream, so nothing is stored.

use std::ffi::OsStr;
use std::io::Write as _;
use std::net::SocketAddr;

use super::link::Link;
use super::pipeline::{Protocol, publisher};
use super::process::{Process, free_address, write_file};
use super::programs::{ask, in_path};
use super::{Contestant, Missing, PublishError, Running, Spec, StartError};
use crate::swarm::Language;

const NAME: &str = "nats-server";

#[derive(Debug)]
pub(super) struct NatsServer;

impl Contestant for NatsServer {
    fn name(&self) -> &str {
        NAME
    }

    fn find(&self) -> Result<String, Missing> {
        let program = in_path(NAME).ok_or_else(missing)?;
        let said = ask(&program, &["--version"]).ok_or_else(missing)?;
        Ok(said.trim_start_matches("nats-server: v").to_owned())
    }

    fn start(&self, spec: &Spec) -> Result<Running, StartError> {
        let program = in_path(NAME).ok_or_else(missing)?;
        let clients = free_address(NAME)?;
        let file = write_file(NAME, spec, "nats.conf", &configuration(spec, clients))?;
        let arguments = [OsStr::new("--config"), file.as_os_str()];
        let mut process = Process::start(NAME, &program, &arguments, spec)?;
        process.wait_for_listener(clients)?;
        Ok(Running::of(process, clients, Language::Nats, move || {
            publisher(clients, Lines)
        }))
    }
}

fn missing() -> Missing {
    Missing::debian(NAME, NAME)
}

/// The runtime of Go takes as many threads as it may use cores, so there is nothing to set for that.
fn configuration(spec: &Spec, clients: SocketAddr) -> String {
    format!(
        "listen: \"{clients}\"\n\
         max_connections: {connections}\n\
         # The default, unless what is asked for is longer.\n\
         max_payload: {payload_bytes}\n\
         # The default of 10 s ends members that a busy machine has let wait: nothing is to be lost.\n\
         write_deadline: \"60s\"\n\
         # No line for anybody who comes or goes.\n\
         debug: false\n\
         trace: false\n\
         logtime: false\n",
        connections = spec.files(),
        payload_bytes = spec.payload_bytes.max(1 << 20),
    )
}

/// A connection of a client.
struct Lines;

impl Protocol for Lines {
    const CHUNK: usize = 4_096;
    const UNANSWERED_MAX: u64 = 16;

    fn greet(&mut self, link: &mut Link) -> Result<(), PublishError> {
        link.send(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"bench\"}\r\n")
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: &str,
        payloads: &[Vec<u8>],
    ) -> Result<u64, PublishError> {
        for payload in payloads {
            write!(out, "PUB {room} {}\r\n", payload.len())?;
            out.extend_from_slice(payload);
            out.extend_from_slice(b"\r\n");
        }
        Ok(0)
    }

    fn write_flush(&mut self, out: &mut Vec<u8>) -> u64 {
        out.extend_from_slice(b"PING\r\n");
        1
    }

    fn read(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<(u64, usize)>, PublishError> {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            return Ok(None);
        };
        let answers = match bytes[..end].trim_ascii_end() {
            b"PONG" => 1,
            b"PING" => {
                out.extend_from_slice(b"PONG\r\n");
                0
            }
            line if line.starts_with(b"-ERR") => {
                let why = String::from_utf8_lossy(line).into_owned();
                return Err(PublishError::Refused(why));
            }
            // `INFO`, at the start and when the cluster changes.
            _ => 0,
        };
        Ok(Some((answers, end + 1)))
    }
}
