//! tokio-uring 0.5: every read and write an operation on one io_uring, driven by tokio's current-thread runtime.

use std::convert::Infallible;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;

use tokio::task::yield_now;
use tokio_uring::net::{TcpListener, TcpStream};
use tokio_uring::{spawn, uring_builder};

use crate::hub::Hub;
use crate::listeners::{Listeners, is_transient};
use crate::outbox::Outbox;
use crate::protocol::{CLIENT_READ_BYTES, INGEST_READ_BYTES, Ingest, Session};

/// Operations that enter the kernel with one system call.
const SUBMISSIONS: u32 = 1024;

/// Results that fit without the kernel's overflow list: one read and one write of each of 10,000 connections.
const COMPLETIONS: u32 = 32 * 1024;

pub(crate) fn run(listeners: Listeners, hub: Rc<Hub>) -> io::Result<()> {
    let mut ring = uring_builder();
    ring.setup_cqsize(COMPLETIONS)
        .setup_single_issuer()
        .setup_coop_taskrun();
    let failed = tokio_uring::builder()
        .entries(SUBMISSIONS)
        .uring_builder(&ring)
        .start(async {
            listeners.announce()?;
            let ingest = TcpListener::from_std(listeners.ingest);
            spawn(serve_ingest(ingest, Rc::clone(&hub)));
            serve_clients(&TcpListener::from_std(listeners.clients), &hub).await
        });
    failed.map(|never: Infallible| match never {})
}

async fn serve_clients(listener: &TcpListener, hub: &Rc<Hub>) -> io::Result<Infallible> {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => Rc::new(stream),
            Err(error) if is_transient(&error) => continue,
            Err(error) => return Err(error),
        };
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let outbox = hub.outbox();
        let session = Session::new(Rc::clone(hub), Rc::clone(&outbox));
        spawn(write(Rc::clone(&stream), outbox));
        spawn(read(stream, session));
    }
}

async fn read(stream: Rc<TcpStream>, mut session: Session) {
    // The kernel holds the buffer of a read until something comes, so every connection has one.
    let mut buffer = Vec::with_capacity(CLIENT_READ_BYTES);
    loop {
        let result;
        (result, buffer) = stream.read(buffer).await;
        match result {
            Ok(0) | Err(_) => break,
            Ok(bytes) => {
                if session.receive(&mut buffer[..bytes]).is_break() {
                    return;
                }
            }
        }
    }
    hang_up(&stream);
}

async fn write(stream: Rc<TcpStream>, outbox: Rc<Outbox>) {
    while let Some(batch) = outbox.next_batch().await {
        if stream.write_all(batch).await.0.is_err() {
            outbox.abandon();
            hang_up(&stream);
            return;
        }
    }
}

/// Ends the connection's other task too, whatever it waits for.
fn hang_up(stream: &TcpStream) {
    // It fails if the peer was faster, which is as well.
    let _ = stream.shutdown(Shutdown::Both);
}

async fn serve_ingest(listener: TcpListener, hub: Rc<Hub>) {
    while let Ok((stream, _)) = listener.accept().await {
        if let Err(error) = publish(&stream, &hub).await {
            eprintln!("publisher: {error}");
        }
    }
}

async fn publish(stream: &TcpStream, hub: &Hub) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut ingest = Ingest::default();
    let mut buffer = Vec::with_capacity(INGEST_READ_BYTES);
    loop {
        let result;
        (result, buffer) = stream.read(buffer).await;
        match result? {
            0 => return Ok(()),
            bytes => ingest.receive(&buffer[..bytes]),
        }
        if ingest.hand_out(hub).await? {
            stream.write_all(ingest.acknowledgement()).await.0?;
        }
        // The writers' turn, even if there is more to read.
        yield_now().await;
    }
}
