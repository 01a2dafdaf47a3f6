//! Publishing over one connection: what is sent, and the answers that come for it, in their order.

use std::net::SocketAddr;

use super::link::Link;
use super::{PublishError, Publisher};

/// What differs between servers.
pub(super) trait Protocol: Send + 'static {
    /// Publications that are sent at a time.
    const CHUNK: usize;

    /// Answers that may be waited for when more is sent. They fit into any socket's buffers, so that the server does not wait
    /// for them to be read while we wait for it to read.
    const UNANSWERED_MAX: u64;

    /// Makes a connection ready to publish.
    fn greet(&mut self, _link: &mut Link) -> Result<(), PublishError> {
        Ok(())
    }

    /// Appends publications; returns how many answers there will be.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: &str,
        payloads: &[Vec<u8>],
    ) -> Result<u64, PublishError>;

    /// Appends a question that is answered when all before it is done, where publications are not answered themselves;
    /// returns how many answers there will be.
    fn write_flush(&mut self, _out: &mut Vec<u8>) -> u64 {
        0
    }

    /// Reads what is at the start of `bytes`, answering it to `out` if need be; returns how many answers it is and how many
    /// bytes it takes, or `None` when it is not complete.
    fn read(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<(u64, usize)>, PublishError>;
}

/// A publisher on a connection of its own to this address.
pub(super) fn publisher(
    address: SocketAddr,
    protocol: impl Protocol,
) -> Result<Box<dyn Publisher>, PublishError> {
    Ok(Box::new(Pipeline::connect(address, protocol)?))
}

#[derive(Debug)]
struct Pipeline<P> {
    protocol: P,
    address: SocketAddr,
    link: Link,
    out: Vec<u8>,
    unanswered: u64,
    /// Whether something was sent since the last flush.
    is_settled: bool,
}

impl<P: Protocol> Pipeline<P> {
    fn connect(address: SocketAddr, mut protocol: P) -> Result<Self, PublishError> {
        let mut link = Link::connect(address)?;
        protocol.greet(&mut link)?;
        Ok(Self {
            protocol,
            address,
            link,
            out: Vec::new(),
            unanswered: 0,
            is_settled: true,
        })
    }

    fn send(&mut self) -> Result<(), PublishError> {
        if !self.out.is_empty() {
            self.link.send(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Waits until there are so many unanswered at most.
    fn await_answers(&mut self, unanswered_max: u64) -> Result<(), PublishError> {
        while self.unanswered > unanswered_max {
            let Self { protocol, out, .. } = self;
            let answers = self.link.receive(|bytes| protocol.read(bytes, out))?;
            self.unanswered = self.unanswered.saturating_sub(answers);
            self.send()?;
        }
        Ok(())
    }

    /// Takes the answers that are there.
    fn take_answers(&mut self) -> Result<(), PublishError> {
        let Self { protocol, out, .. } = self;
        while let Some(answers) = self.link.poll(|bytes| protocol.read(bytes, out))? {
            self.unanswered = self.unanswered.saturating_sub(answers);
        }
        self.send()
    }
}

impl<P: Protocol> Publisher for Pipeline<P> {
    fn publish(&mut self, room: &str, payloads: &[Vec<u8>]) -> Result<(), PublishError> {
        self.offer(room, payloads)?;
        self.settle()
    }

    fn offer(&mut self, room: &str, payloads: &[Vec<u8>]) -> Result<(), PublishError> {
        if self.link.is_stale() {
            self.settle()?;
            self.link = Link::connect(self.address)?;
            self.protocol.greet(&mut self.link)?;
        }
        for chunk in payloads.chunks(P::CHUNK) {
            self.unanswered += self.protocol.write(&mut self.out, room, chunk)?;
            self.is_settled = false;
            self.send()?;
            self.await_answers(P::UNANSWERED_MAX)?;
        }
        self.take_answers()
    }

    fn settle(&mut self) -> Result<(), PublishError> {
        if !self.is_settled {
            self.unanswered += self.protocol.write_flush(&mut self.out);
            self.send()?;
            self.await_answers(0)?;
            self.is_settled = true;
        }
        Ok(())
    }
}
