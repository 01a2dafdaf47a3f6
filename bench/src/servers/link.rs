//! A publisher's connection: what is sent and what is answered, one after the other.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PublishError;

/// Longest that a server may take to read or to answer. Some answer only after they have sent to all members what came
/// before: mosquitto takes minutes for ten million deliveries.
const PATIENCE: Duration = Duration::from_secs(300);

/// A connection that was silent for so long is made anew: it may have been closed for an unanswered ping. No server here
/// waits less for an answer.
const IDLE_MAX: Duration = Duration::from_secs(5);

const READ_BYTES: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of that has been taken.
    taken: usize,
    used_at: Instant,
}

impl Link {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, PublishError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            received: Vec::new(),
            taken: 0,
            used_at: Instant::now(),
        })
    }

    /// Whether it was silent for so long that it should be made anew.
    pub(super) fn is_stale(&self) -> bool {
        self.used_at.elapsed() > IDLE_MAX
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        self.used_at = Instant::now();
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next thing that `decode` finds at the start of what was received and not yet taken; it tells how many bytes that
    /// is, or `None` when there is not enough.
    pub(super) fn receive<T>(
        &mut self,
        mut decode: impl FnMut(&[u8]) -> Result<Option<(T, usize)>, PublishError>,
    ) -> Result<T, PublishError> {
        loop {
            if let Some(found) = self.take(&mut decode)? {
                return Ok(found);
            }
            self.fill()?;
        }
    }

    /// The same, if it is there without waiting.
    pub(super) fn poll<T>(
        &mut self,
        mut decode: impl FnMut(&[u8]) -> Result<Option<(T, usize)>, PublishError>,
    ) -> Result<Option<T>, PublishError> {
        if let Some(found) = self.take(&mut decode)? {
            return Ok(Some(found));
        }
        self.stream.set_nonblocking(true)?;
        let filled = self.fill();
        self.stream.set_nonblocking(false)?;
        match filled {
            Err(PublishError::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            filled => filled.and_then(|()| self.take(&mut decode)),
        }
    }

    fn take<T>(
        &mut self,
        decode: &mut impl FnMut(&[u8]) -> Result<Option<(T, usize)>, PublishError>,
    ) -> Result<Option<T>, PublishError> {
        let found = decode(&self.received[self.taken..])?;
        Ok(found.map(|(found, bytes)| {
            self.taken += bytes;
            found
        }))
    }

    /// Reads once more.
    fn fill(&mut self) -> Result<(), PublishError> {
        self.received.drain(..self.taken);
        self.taken = 0;
        let before = self.received.len();
        self.received.resize(before + READ_BYTES, 0);
        let read = loop {
            match self.stream.read(&mut self.received[before..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let bytes = read.as_ref().map_or(0, |&bytes| bytes);
        self.received.truncate(before + bytes);
        if read? == 0 {
            return Err(PublishError::Closed);
        }
        self.used_at = Instant::now();
        Ok(())
    }
}
