//! A blocking connection with a buffer for what comes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{ANSWER_MAX, IngestError};

/// What one read takes at most.
const READ_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Connection {
    target: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What has been received and not been used yet.
    start: usize,
    end: usize,
}

impl Connection {
    pub(super) fn open(target: SocketAddr) -> Result<Self, IngestError> {
        let stream = TcpStream::connect(target).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            stream.set_write_timeout(Some(ANSWER_MAX))?;
            Ok(stream)
        });
        Ok(Self {
            target,
            stream: stream.map_err(|source| IngestError::Io { target, source })?,
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
        })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), IngestError> {
        let sent = self.stream.write_all(bytes);
        sent.map_err(|source| self.broken(source))
    }

    /// What has come and is not used yet.
    pub(super) fn received(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// So much of it has been used.
    pub(super) fn used(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Waits for more.
    pub(super) fn receive(&mut self) -> Result<(), IngestError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            return Err(IngestError::Protocol(format!(
                "an answer longer than {READ_BYTES} bytes"
            )));
        }
        let read = loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read.map_err(|source| self.broken(source))? {
            0 => Err(IngestError::Closed("without a word".to_owned())),
            bytes => {
                self.end += bytes;
                Ok(())
            }
        }
    }

    fn broken(&self, source: io::Error) -> IngestError {
        let target = self.target;
        IngestError::Io { target, source }
    }
}
