//! tokio: epoll, the current-thread runtime.

use std::convert::Infallible;
use std::io;
use std::net::{self, Shutdown};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{spawn_local, yield_now};

use crate::hub::Hub;
use crate::listeners::{Listeners, is_transient};
use crate::outbox::Outbox;
use crate::protocol::{CLIENT_READ_BYTES, INGEST_READ_BYTES, Ingest, Session};

pub(crate) fn run(listeners: Listeners, hub: Rc<Hub>) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .build_local(LocalOptions::default())?;
    let failed = runtime.block_on(async {
        listeners.announce()?;
        let ingest = into_tokio(listeners.ingest)?;
        spawn_local(serve_ingest(ingest, Rc::clone(&hub)));
        serve_clients(&into_tokio(listeners.clients)?, &hub).await
    });
    failed.map(|never| match never {})
}

fn into_tokio(listener: net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
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
        spawn_local(write(Rc::clone(&stream), outbox));
        spawn_local(read(stream, session));
    }
}

async fn read(stream: Rc<TcpStream>, mut session: Session) {
    while stream.readable().await.is_ok() {
        // The buffer is on the stack only while there is something to read: an idle connection has none.
        let mut buffer = [0; CLIENT_READ_BYTES];
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => {
                if session.receive(&mut buffer[..bytes]).is_break() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    hang_up(&stream);
}

async fn write(stream: Rc<TcpStream>, outbox: Rc<Outbox>) {
    while let Some(batch) = outbox.next_batch().await {
        if write_all(&stream, batch).await.is_err() {
            outbox.abandon();
            hang_up(&stream);
            return;
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(&bytes) {
            Ok(written) => bytes.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends the connection's other task too, whatever it waits for.
fn hang_up(stream: &TcpStream) {
    // It fails if the peer was faster, which is as well.
    let _ = SockRef::from(stream).shutdown(Shutdown::Both);
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
    let mut buffer = vec![0; INGEST_READ_BYTES];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(bytes) => ingest.receive(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if ingest.hand_out(hub).await? {
            write_all(stream, ingest.acknowledgement()).await?;
        }
        // The writers' turn, even if there is more to read.
        yield_now().await;
    }
}
