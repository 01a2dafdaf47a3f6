//! The least that relaying can cost: receive, send on another socket, nothing else.
//!
//! A client asks for a relayed socket by sending `relay ADDRESS`, the peer's; the answer is the address of the socket. What it
//! sends after that goes to the peer as it is, and what the peer sends goes to the client. No allocation ends, nothing is
//! checked, and there is one system call for each packet that is received and one for each that is sent.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::exit;
use std::sync::Arc;
use std::thread;

use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::SockRef;

/// What a request begins with.
pub(crate) const ASK: &[u8] = b"relay ";

/// Bytes that may wait at a socket, as the relays have it.
const BUFFER_BYTES: usize = 8 << 20;

/// Packets of one socket before others have their turn.
const BATCH: usize = 64;

/// Runs a bare relay loop, for `turn` to measure.
#[derive(Debug, Args)]
pub(crate) struct ServeRelayFloor {}

/// Serves until its standard input ends.
pub(crate) fn serve(_: &ServeRelayFloor) -> io::Result<()> {
    let listener = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    for set in [
        SockRef::from(&listener).set_recv_buffer_size(BUFFER_BYTES),
        SockRef::from(&listener).set_send_buffer_size(BUFFER_BYTES),
    ] {
        // As much as the system gives.
        drop(set);
    }
    println!("ready {}", listener.local_addr()?);
    thread::spawn(|| {
        // Whoever started it holds its input open.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        exit(0);
    });
    let epoll = Arc::new(Epoll::new(EpollCreateFlags::empty())?);
    let (sender, made) = std::sync::mpsc::channel();
    let back = listener.try_clone()?;
    let waiting = Arc::clone(&epoll);
    thread::spawn(move || {
        if let Err(error) = from_peers(&waiting, &back, &made) {
            eprintln!("fanfare-bench: the bare loop has stopped: {error}");
            exit(1);
        }
    });
    let mut relayed: HashMap<SocketAddr, (Arc<UdpSocket>, SocketAddr)> = HashMap::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (length, client) = listener.recv_from(&mut buffer)?;
        let packet = &buffer[..length];
        if let Some((socket, peer)) = relayed.get(&client) {
            // A full socket loses packets, like any.
            let _ = socket.send_to(packet, peer);
        } else if let Some(peer) = packet.strip_prefix(ASK).and_then(peer_of) {
            let socket = Arc::new(UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?);
            socket.set_nonblocking(true)?;
            let answer = socket.local_addr()?.to_string();
            let index = relayed.len() as u64;
            // The other thread must know it before anything can arrive.
            let _ = sender.send((Arc::clone(&socket), client));
            epoll.add(&*socket, EpollEvent::new(EpollFlags::EPOLLIN, index))?;
            relayed.insert(client, (socket, peer));
            listener.send_to(answer.as_bytes(), client)?;
        }
    }
}

/// The other direction.
fn from_peers(
    epoll: &Epoll,
    listener: &UdpSocket,
    made: &std::sync::mpsc::Receiver<(Arc<UdpSocket>, SocketAddr)>,
) -> io::Result<()> {
    let mut sockets = Vec::new();
    let mut events = vec![EpollEvent::empty(); 256];
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        sockets.extend(made.try_iter());
        for event in &events[..count] {
            let index = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let Some((socket, client)) = sockets.get(index) else {
                continue;
            };
            for _ in 0..BATCH {
                let Ok((length, _)) = socket.recv_from(&mut buffer) else {
                    break;
                };
                let _ = listener.send_to(&buffer[..length], client);
            }
        }
    }
}

fn peer_of(text: &[u8]) -> Option<SocketAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
