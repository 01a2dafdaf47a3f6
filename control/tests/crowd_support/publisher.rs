//! A service that publishes over a native connection, with the API key.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fanfare_wire::native::{self, ServerFrame};

use crate::support::server::Server;

/// Longest that the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(120);

const ARCHIVE_BYTES_MAX: u32 = 1 << 20;

/// A connected publisher.
pub(crate) struct Publisher {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Publisher {
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.clients()).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut publisher = Self {
            stream,
            received: Vec::new(),
        };
        let mut hello = Vec::new();
        native::write_hello(
            &mut hello,
            &native::Hello {
                token: &server.api_key(),
                client_name: "crowd",
            },
        );
        publisher
            .stream
            .write_all(&hello)
            .expect("the server reads");
        publisher.next(|frame| {
            assert!(matches!(frame, ServerFrame::Welcome(_)), "{frame:?}");
        });
        publisher
    }

    /// Publishes all of them at once, and waits for the server's word on each: its offset and its members.
    pub(crate) fn publish(&mut self, room: &str, payloads: &[String]) -> Vec<(u64, u32)> {
        let mut out = Vec::new();
        for (request, payload) in (1..).zip(payloads) {
            let publish = native::Publish {
                request,
                room,
                data: payload.as_bytes(),
            };
            native::write_publish(&mut out, &publish);
        }
        self.stream.write_all(&out).expect("the server reads");
        let mut answers = Vec::with_capacity(payloads.len());
        while answers.len() < payloads.len() {
            self.next(|frame| match frame {
                ServerFrame::Ack(ack) => answers.push((ack.offset, ack.members)),
                ServerFrame::Ping => {}
                other => panic!("not an answer to a publication: {other:?}"),
            });
        }
        answers
    }

    fn next(&mut self, take: impl FnOnce(ServerFrame<'_>)) {
        loop {
            let frame = native::decode_server(&self.received, ARCHIVE_BYTES_MAX);
            if let Some((frame, bytes)) = frame.expect("the protocol") {
                take(frame);
                self.received.drain(..bytes);
                return;
            }
            let mut chunk = [0; 4096];
            let bytes = self.stream.read(&mut chunk).expect("an answer in time");
            assert!(bytes > 0, "the server has closed the connection");
            self.received.extend_from_slice(&chunk[..bytes]);
        }
    }
}
