//! A simulated TCP connection: two bounded byte pipes, and the states of their ends as Linux keeps them.
//!
//! What an end was sent before a reset stays readable, an error is reported once, and the end of the stream
//! hides it (`net/ipv4/tcp.c`: `tcp_recvmsg_locked`, `sk_stream_error`, `tcp_poll`).

use std::collections::VecDeque;

use fastrand::Rng;

/// A connection of the run; never reused.
pub(super) type SocketId = u32;

/// One direction of a connection.
#[derive(Debug)]
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    has_ended: bool,
}

impl Pipe {
    const fn new(capacity: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            capacity,
            has_ended: false,
        }
    }

    fn space(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.space());
        self.bytes.extend(&bytes[..taken]);
        taken
    }

    fn read(&mut self, bytes_max: usize) -> Vec<u8> {
        let length = bytes_max.min(self.bytes.len());
        self.bytes.drain(..length).collect()
    }
}

/// What a read of either end found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Data(Vec<u8>),
    Nothing,
    End,
    Error(i32),
}

/// What became of bytes that the server sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendOutcome {
    Taken(usize),
    Error(i32),
    /// All of it left for a peer that is gone; its reset is on its way back.
    IntoTheVoid,
}

/// A connection between a client and a slot.
#[derive(Debug)]
pub(super) struct Socket {
    to_server: Pipe,
    to_client: Pipe,
    server: End,
    client: End,
    /// Who keeps the server's end open: its slot and the operations in flight on it.
    pub(super) holds: u32,
    /// The reset of a vanished client is on its way.
    pub(super) reset_is_due: bool,
}

/// The state of one end.
#[derive(Debug, Default)]
struct End {
    is_closed: bool,
    is_reset: bool,
    /// Reported once, by whichever call comes first.
    error: Option<i32>,
}

impl Socket {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let capacity = |rng: &mut Rng| match rng.u32(0..4) {
            0 => rng.usize(16..256),
            1 => rng.usize(256..4096),
            _ => rng.usize(4096..65_536),
        };
        Self {
            to_server: Pipe::new(capacity(rng)),
            to_client: Pipe::new(capacity(rng)),
            server: End::default(),
            client: End::default(),
            holds: 0,
            reset_is_due: false,
        }
    }

    /// The smaller of the capacities of both directions.
    pub(super) fn window(&self) -> usize {
        self.to_client.capacity.min(self.to_server.capacity)
    }

    // The server's end.

    pub(super) fn server_is_readable(&self) -> bool {
        !self.to_server.bytes.is_empty() || self.to_server.has_ended || self.server.is_reset
    }

    /// How many bytes the server could read right now.
    pub(super) fn server_unread(&self) -> usize {
        self.to_server.bytes.len()
    }

    pub(super) fn server_read(&mut self, bytes_max: usize) -> Read {
        if !self.to_server.bytes.is_empty() {
            return Read::Data(self.to_server.read(bytes_max));
        }
        if self.to_server.has_ended {
            return Read::End;
        }
        if let Some(error) = self.server.error.take() {
            return Read::Error(error);
        }
        if self.server.is_reset {
            Read::End
        } else {
            Read::Nothing
        }
    }

    /// Sends at most `limit` of the bytes.
    pub(super) fn server_send(&mut self, bytes: &[u8], limit: usize) -> SendOutcome {
        if self.server.is_reset || self.to_client.has_ended {
            return SendOutcome::Error(self.server.error.take().unwrap_or(libc::EPIPE));
        }
        if self.client.is_closed {
            return SendOutcome::IntoTheVoid;
        }
        SendOutcome::Taken(self.to_client.write(&bytes[..limit.min(bytes.len())]))
    }

    /// The poll mask restricted to what `POLLOUT` asks for and what is always reported.
    pub(super) fn server_poll_mask(&self) -> i32 {
        let mut mask = 0;
        // Linux calls a socket writable when a third of its buffer is free (sk_stream_is_writeable).
        let is_roomy = self.to_client.space() * 2 >= self.to_client.bytes.len();
        if is_roomy || self.to_client.has_ended || self.server.is_reset || self.client.is_closed {
            mask |= i32::from(libc::POLLOUT);
        }
        if self.server.error.is_some() {
            mask |= i32::from(libc::POLLERR);
        }
        if self.server.is_reset || (self.to_client.has_ended && self.to_server.has_ended) {
            mask |= i32::from(libc::POLLHUP);
        }
        mask
    }

    pub(super) const fn server_shutdown(&mut self) -> i32 {
        if self.server.is_reset {
            return -libc::ENOTCONN;
        }
        self.to_client.has_ended = true;
        0
    }

    /// The last hold is gone. Closing with unread input resets the connection, and then only what the client
    /// already had (`kept` of the unread bytes) remains readable for it.
    pub(super) fn server_close(&mut self, rng: &mut Rng) {
        self.server.is_closed = true;
        if self.server.is_reset || self.client.is_closed {
            return;
        }
        if self.to_server.bytes.is_empty() {
            self.to_client.has_ended = true;
            return;
        }
        let kept = rng.usize(0..=self.to_client.bytes.len());
        self.to_client.bytes.truncate(kept);
        self.reset_client();
    }

    /// The client's reset has arrived.
    pub(super) fn reset_server(&mut self) {
        if self.server.is_reset || self.server.is_closed {
            return;
        }
        self.server.is_reset = true;
        // tcp_reset: a connection whose peer had finished reports EPIPE.
        self.server.error = Some(if self.to_server.has_ended {
            libc::EPIPE
        } else {
            libc::ECONNRESET
        });
    }

    /// The network breaks the connection for both ends.
    pub(super) fn break_both(&mut self) {
        self.reset_server();
        self.reset_client();
    }

    fn reset_client(&mut self) {
        self.client.is_reset = true;
        self.client.error = Some(libc::ECONNRESET);
    }

    // The client's end.

    pub(super) fn client_is_open(&self) -> bool {
        !self.client.is_closed && !self.client.is_reset
    }

    pub(super) fn client_send(&mut self, bytes: &[u8]) -> Result<usize, i32> {
        if self.client.is_closed || self.client.is_reset || self.to_server.has_ended {
            return Err(self.client.error.take().unwrap_or(libc::EPIPE));
        }
        if self.server.is_closed {
            // The answer to bytes for a closed socket is a reset.
            self.reset_client();
            return Ok(bytes.len());
        }
        Ok(self.to_server.write(bytes))
    }

    pub(super) fn client_read(&mut self, bytes_max: usize) -> Read {
        if self.client.is_closed {
            return Read::End;
        }
        if !self.to_client.bytes.is_empty() {
            return Read::Data(self.to_client.read(bytes_max));
        }
        if self.to_client.has_ended {
            return Read::End;
        }
        if self.client.is_reset {
            return Read::Error(self.client.error.take().unwrap_or(libc::ECONNRESET));
        }
        Read::Nothing
    }

    pub(super) const fn client_shutdown(&mut self) {
        if !self.client.is_reset {
            self.to_server.has_ended = true;
        }
    }

    /// Closing with unread input resets the connection, as on Linux.
    pub(super) fn client_close(&mut self) {
        if self.client.is_closed {
            return;
        }
        self.client.is_closed = true;
        if self.client.is_reset || self.server.is_closed {
            return;
        }
        if self.to_client.bytes.is_empty() {
            self.to_server.has_ended = true;
        } else {
            self.reset_server();
        }
        self.to_client.bytes.clear();
    }

    pub(super) fn client_reset(&mut self) {
        if self.client.is_closed {
            return;
        }
        self.client.is_closed = true;
        self.to_client.bytes.clear();
        self.reset_server();
    }
}
