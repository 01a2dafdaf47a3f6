//! The client's end of a simulated connection.

use std::cell::RefCell;
use std::rc::Rc;

use super::socket::{Read, SocketId};
use super::trace::{Event, digest_of};
use super::world::World;

/// A client's end of a connection. Dropping it closes it.
#[derive(Debug)]
pub struct SimClient {
    world: Rc<RefCell<World>>,
    socket: SocketId,
}

/// What a client found when it read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// These bytes.
    Data(Vec<u8>),
    /// Nothing for now.
    Nothing,
    /// The server has finished: nothing will follow.
    End,
    /// The connection was reset.
    Reset,
}

/// The connection takes no more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendError;

impl SimClient {
    pub(super) const fn new(world: Rc<RefCell<World>>, socket: SocketId) -> Self {
        Self { world, socket }
    }

    /// The connection's number in the events.
    #[must_use]
    pub const fn socket(&self) -> u32 {
        self.socket
    }

    /// Whether neither side has closed or reset it, as far as this end knows.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.world.borrow().sockets[self.socket as usize].client_is_open()
    }

    /// How many bytes either side can send while the other reads nothing. Some connections have very small windows.
    #[must_use]
    pub fn window(&self) -> usize {
        self.world.borrow().sockets[self.socket as usize].window()
    }

    /// Sends as many of the bytes as there is space for, and returns how many.
    ///
    /// # Errors
    /// [`SendError`] after a reset, or after this end was shut down or closed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, SendError> {
        let mut world = self.world.borrow_mut();
        let sent = world.sockets[self.socket as usize].client_send(bytes);
        let result = sent.map_or_else(
            |errno| -i64::from(errno),
            |taken| i64::try_from(taken).unwrap_or(i64::MAX),
        );
        let digest = digest_of(&bytes[..sent.unwrap_or(0)]);
        world.chance.note(Event::Client {
            socket: self.socket,
            call: "send",
            result,
            digest,
        });
        sent.map_err(|_| SendError)
    }

    /// Receives at most so many bytes. A client that does not call this is a slow reader.
    pub fn receive(&mut self, bytes_max: usize) -> Received {
        let mut world = self.world.borrow_mut();
        let received = match world.sockets[self.socket as usize].client_read(bytes_max) {
            Read::Data(bytes) => Received::Data(bytes),
            Read::Nothing => return Received::Nothing,
            Read::End => Received::End,
            Read::Error(_) => Received::Reset,
        };
        let (result, digest) = match &received {
            Received::Data(bytes) => (
                i64::try_from(bytes.len()).unwrap_or(i64::MAX),
                digest_of(bytes),
            ),
            _ => (0, 0),
        };
        world.chance.note(Event::Client {
            socket: self.socket,
            call: "receive",
            result,
            digest,
        });
        received
    }

    /// Sends FIN; receiving goes on.
    pub fn shutdown(&mut self) {
        self.call("shutdown", |world, socket| {
            world.sockets[socket as usize].client_shutdown()
        });
    }

    /// Closes both directions: FIN, or RST when something was left unread.
    pub fn close(&mut self) {
        self.call("close", |world, socket| {
            world.sockets[socket as usize].client_close()
        });
    }

    /// Breaks the connection with RST.
    pub fn reset(&mut self) {
        self.call("reset", |world, socket| {
            world.sockets[socket as usize].client_reset()
        });
    }

    fn call(&self, call: &'static str, change: impl FnOnce(&mut World, SocketId)) {
        let mut world = self.world.borrow_mut();
        world.chance.note(Event::Client {
            socket: self.socket,
            call,
            result: 0,
            digest: 0,
        });
        change(&mut world, self.socket);
    }
}

impl Drop for SimClient {
    fn drop(&mut self) {
        // The world is borrowed when a broken contract unwinds through it.
        if let Ok(mut world) = self.world.try_borrow_mut() {
            world.sockets[self.socket as usize].client_close();
        }
    }
}
