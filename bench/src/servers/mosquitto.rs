//! mosquitto, an MQTT broker.

use std::ffi::OsStr;
use std::net::SocketAddr;

use super::link::Link;
use super::pipeline::{Protocol, publisher};
use super::process::{Process, free_address, write_file};
use super::programs::{ask, in_path};
use super::{Contestant, Missing, PublishError, Running, Spec, StartError};
use crate::swarm::Language;
use crate::swarm::mqtt::{self, Packet};

const NAME: &str = "mosquitto";

/// Types of packets, in the upper half of the first byte (MQTT 3.1.1 section 2.2.1).
const CONNACK: u8 = 2;
const PINGRESP: u8 = 13;

const PUBLISH: u8 = 0x30;
const PINGREQ: [u8; 2] = [0xc0, 0];

#[derive(Debug)]
pub(super) struct Mosquitto;

impl Contestant for Mosquitto {
    fn name(&self) -> &str {
        NAME
    }

    fn find(&self) -> Result<String, Missing> {
        let program = in_path(NAME).ok_or_else(missing)?;
        let said = ask(&program, &["-h"]).ok_or_else(missing)?;
        let first = said.lines().next().unwrap_or_default();
        Ok(first.trim_start_matches("mosquitto version ").to_owned())
    }

    fn start(&self, spec: &Spec) -> Result<Running, StartError> {
        let program = in_path(NAME).ok_or_else(missing)?;
        let clients = free_address(NAME)?;
        let file = write_file(NAME, spec, "mosquitto.conf", &configuration(clients))?;
        let arguments = [OsStr::new("-c"), file.as_os_str()];
        let mut process = Process::start(NAME, &program, &arguments, spec)?;
        process.wait_for_listener(clients)?;
        Ok(Running::of(process, clients, Language::Mqtt, move || {
            publisher(clients, Packets)
        }))
    }
}

fn missing() -> Missing {
    Missing::debian(NAME, NAME)
}

/// It has one thread, whatever it may use.
fn configuration(clients: SocketAddr) -> String {
    format!(
        "listener {port} {ip}\n\
         max_connections -1\n\
         allow_anonymous true\n\
         # As root it would become a user who cannot read this folder.\n\
         user root\n\
         # A member that has more than 1,000 publications before it loses the next, at QoS 0 too: without a bound on what\n\
         # is in flight there is none on what waits.\n\
         max_inflight_messages 0\n\
         max_inflight_bytes 0\n\
         max_queued_messages 0\n\
         max_queued_bytes 0\n\
         # As all others here have it.\n\
         set_tcp_nodelay true\n\
         # Statistics for nobody, and files that nobody reads.\n\
         sys_interval 0\n\
         persistence false\n\
         connection_messages false\n\
         log_dest stderr\n\
         log_type error\n\
         log_type warning\n",
        port = clients.port(),
        ip = clients.ip(),
    )
}

/// A connection of a client, at `QoS` 0.
struct Packets;

impl Protocol for Packets {
    const CHUNK: usize = 4_096;
    const UNANSWERED_MAX: u64 = 16;

    fn greet(&mut self, link: &mut Link) -> Result<(), PublishError> {
        link.send(&mqtt::CONNECT)?;
        // The answer to that is the first to come.
        link.receive(|bytes| self.read(bytes, &mut Vec::new()))?;
        Ok(())
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: &str,
        payloads: &[Vec<u8>],
    ) -> Result<u64, PublishError> {
        let topic_bytes = u16::try_from(room.len())
            .map_err(|_| PublishError::Refused("a topic of more than 64 KiB".to_owned()))?;
        for payload in payloads {
            out.push(PUBLISH);
            mqtt::write_length(out, 2 + room.len() + payload.len());
            out.extend_from_slice(&topic_bytes.to_be_bytes());
            out.extend_from_slice(room.as_bytes());
            out.extend_from_slice(payload);
        }
        // Nothing acknowledges a publication at this level.
        Ok(0)
    }

    /// Packets are done in their order.
    fn write_flush(&mut self, out: &mut Vec<u8>) -> u64 {
        out.extend_from_slice(&PINGREQ);
        1
    }

    fn read(
        &mut self,
        bytes: &[u8],
        _: &mut Vec<u8>,
    ) -> Result<Option<(u64, usize)>, PublishError> {
        let read =
            Packet::read(bytes).map_err(|error| PublishError::Protocol(error.to_string()))?;
        let Some(packet) = read else {
            return Ok(None);
        };
        match (packet.first >> 4, packet.body) {
            (CONNACK, &[_, 0]) => Ok(Some((0, packet.bytes))),
            (CONNACK, &[_, code]) => Err(PublishError::Refused(format!("connect code {code}"))),
            (PINGRESP, []) => Ok(Some((1, packet.bytes))),
            (kind, _) => Err(PublishError::Protocol(format!("a packet of type {kind}"))),
        }
    }
}
