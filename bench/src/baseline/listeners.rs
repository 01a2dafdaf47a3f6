//! The two listening sockets.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted. A storm of 10,000 comes in faster than one thread takes it.
const BACKLOG: i32 = 4096;

/// Bound and listening, and blocking: io_uring answers an accept on a non-blocking socket with `EAGAIN`.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) clients: TcpListener,
    pub(crate) ingest: TcpListener,
}

impl Listeners {
    pub(crate) fn bind(clients: SocketAddr, ingest: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            clients: listen(clients)?,
            ingest: listen(ingest)?,
        })
    }

    /// Tells whoever started the server where it is. A runtime calls this when it runs.
    pub(crate) fn announce(&self) -> io::Result<()> {
        let clients = self.clients.local_addr()?;
        let ingest = self.ingest.local_addr()?;
        let mut output = io::stdout().lock();
        writeln!(output, "ready clients={clients} ingest={ingest}")?;
        output.flush()
    }
}

/// Whether accepting may go on after this error. Anything else, such as too few descriptors, would turn into a
/// measurement of fewer connections than were asked for, so the server ends with it.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
