//! glommio 0.9: one executor. Its sockets try the system call first and wait on io_uring only when that would block.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{self, Shutdown};
use std::ops::ControlFlow::{Break, Continue};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement, executor, spawn_local};

use crate::hub::Hub;
use crate::listeners::{Listeners, is_transient};
use crate::outbox::Outbox;
use crate::protocol::{CLIENT_READ_BYTES, INGEST_READ_BYTES, Ingest, Session};

/// Operations that enter the kernel together, in each of its three rings.
const RING_DEPTH: usize = 1024;

/// Memory for storage, of which there is none: the least it takes, where 10 MiB would be set aside.
const STORAGE_BYTES: usize = 64 * 1024;

/// Its two tasks take turns; neither holds it while it waits.
type Stream = Rc<RefCell<TcpStream>>;

pub(crate) fn run(listeners: Listeners, hub: Rc<Hub>) -> io::Result<()> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .ring_depth(RING_DEPTH)
        .io_memory(STORAGE_BYTES)
        .make()
        .map_err(io::Error::from)?;
    let failed = executor.run(async {
        listeners.announce()?;
        let ingest = into_glommio(listeners.ingest);
        spawn_local(serve_ingest(ingest, Rc::clone(&hub))).detach();
        serve_clients(&into_glommio(listeners.clients), &hub).await
    });
    failed.map(|never: Infallible| match never {})
}

/// glommio's own `bind` fixes the backlog at 1024.
#[allow(unsafe_code)]
fn into_glommio(listener: net::TcpListener) -> TcpListener {
    // SAFETY: the descriptor is a listening TCP socket, and nothing else owns it.
    unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) }
}

async fn serve_clients(listener: &TcpListener, hub: &Rc<Hub>) -> io::Result<Infallible> {
    loop {
        let stream = match listener.accept().await.map_err(io::Error::from) {
            Ok(stream) => stream,
            Err(error) if is_transient(&error) => continue,
            Err(error) => return Err(error),
        };
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let stream = Rc::new(RefCell::new(stream));
        let outbox = hub.outbox();
        let session = Session::new(Rc::clone(hub), Rc::clone(&outbox));
        spawn_local(write(Rc::clone(&stream), outbox)).detach();
        spawn_local(read(stream, session)).detach();
        // Connecting clients must not keep the others waiting.
        glommio::yield_if_needed().await;
    }
}

async fn read(stream: Stream, mut session: Session) {
    let received = |context: &mut Context<'_>| {
        // The buffer is on the stack only while there is something to read: an idle connection has none.
        let mut buffer = [0; CLIENT_READ_BYTES];
        match ready!(poll_read(&stream, context, &mut buffer)) {
            Ok(0) | Err(_) => Poll::Ready(None),
            Ok(bytes) => Poll::Ready(Some(session.receive(&mut buffer[..bytes]))),
        }
    };
    let mut received = pin!(poll_fn(received));
    loop {
        match received.as_mut().await {
            Some(Continue(())) => {}
            Some(Break(())) => return,
            None => break,
        }
    }
    hang_up(&stream).await;
}

async fn write(stream: Stream, outbox: Rc<Outbox>) {
    while let Some(batch) = outbox.next_batch().await {
        if write_all(&stream, batch).await.is_err() {
            outbox.abandon();
            hang_up(&stream).await;
            return;
        }
    }
}

async fn write_all(stream: &Stream, mut bytes: Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        let written =
            poll_fn(|context| Pin::new(&mut *stream.borrow_mut()).poll_write(context, &bytes));
        bytes.advance(written.await?);
    }
    Ok(())
}

fn poll_read(
    stream: &Stream,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    Pin::new(&mut *stream.borrow_mut()).poll_read(context, buffer)
}

/// Ends the connection's other task too, whatever it waits for.
async fn hang_up(stream: &Stream) {
    let shut_down = poll_fn(|context| {
        let stream = stream.borrow();
        pin!(stream.shutdown(Shutdown::Both)).poll(context)
    });
    // It fails if the peer was faster, which is as well.
    let _ = shut_down.await;
}

async fn serve_ingest(listener: TcpListener, hub: Rc<Hub>) {
    while let Ok(stream) = listener.accept().await {
        if let Err(error) = publish(stream, &hub).await {
            eprintln!("publisher: {error}");
        }
    }
}

async fn publish(stream: TcpStream, hub: &Hub) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = Rc::new(RefCell::new(stream));
    let mut ingest = Ingest::default();
    let mut buffer = vec![0; INGEST_READ_BYTES];
    loop {
        match poll_fn(|context| poll_read(&stream, context, &mut buffer)).await? {
            0 => return Ok(()),
            bytes => ingest.receive(&buffer[..bytes]),
        }
        if ingest.hand_out(hub).await? {
            write_all(&stream, ingest.acknowledgement()).await?;
        }
        // The writers' turn, even if there is more to read.
        executor().yield_now().await;
    }
}
