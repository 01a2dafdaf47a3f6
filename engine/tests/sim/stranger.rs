//! Connections that mean no good, or mean nothing at all.

use fanfare_engine::ring::sim::{Received, SimClient, SimNet};
use fanfare_wire::native::{self, Hello};
use fanfare_wire::ws::{self, handshake};
use fastrand::Rng;

/// A connection that speaks no protocol, or breaks off in the middle of one.
#[derive(Debug)]
pub(crate) struct Stranger {
    end: Option<SimClient>,
    script: Vec<u8>,
    reads: bool,
    rng: Rng,
}

impl Stranger {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            end: None,
            script: Vec::new(),
            reads: false,
            rng,
        }
    }

    pub(crate) fn step(&mut self, net: &SimNet, shards: u16) {
        let Some(end) = &mut self.end else {
            if self.rng.u32(0..8) == 0 {
                self.end = net.connect(self.rng.u16(0..shards), 0).ok();
                self.script = script(&mut self.rng);
                self.reads = self.rng.bool();
            }
            return;
        };
        let offered = self.script.len().min(self.rng.usize(0..100));
        let is_over = match end.send(&self.script[..offered]) {
            Ok(taken) => {
                self.script.drain(..taken);
                self.script.is_empty() && self.rng.u32(0..20) == 0
            }
            Err(_) => true,
        };
        let has_ended = self.reads && matches!(end.receive(100), Received::End | Received::Reset);
        if is_over || has_ended {
            if self.rng.bool() {
                end.reset();
            }
            self.end = None;
        }
    }

    pub(crate) fn hang_up(&mut self) {
        self.end = None;
    }
}

fn script(rng: &mut Rng) -> Vec<u8> {
    let mut script = Vec::new();
    match rng.u32(0..6) {
        0 => {}
        1 => native::write_hello(
            &mut script,
            &Hello {
                token: "stranger",
                client_name: "",
            },
        ),
        2 => handshake::write_client_handshake(
            &mut script,
            "sim",
            "/connection/websocket",
            &handshake::client_key([7; 16]),
            None,
        ),
        3 => {
            handshake::write_client_handshake(
                &mut script,
                "sim",
                "/connection/websocket",
                &handshake::client_key([7; 16]),
                None,
            );
            let connect = br#"{"id":1,"connect":{"token":"stranger"}}"#;
            ws::write_masked_frame(&mut script, ws::Opcode::Text, connect, [1, 2, 3, 4]);
        }
        4 => script.extend(b"GET / HTTP/1.1\r\nHost: sim\r\n\r\n"),
        _ => script.extend(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    }
    // Breaks off, or goes on with anything.
    if rng.bool() {
        script.truncate(rng.usize(0..=script.len()));
    }
    if rng.bool() {
        script.extend((0..rng.usize(0..400)).map(|_| rng.u8(..)));
    }
    if !script.is_empty() && rng.u32(0..3) == 0 {
        let at = rng.usize(0..script.len());
        script[at] ^= 1 << rng.u32(0..8);
    }
    script
}
