//! The least that relaying can cost: receive, send on another socket, nothing else.
//!
//! A client asks for a relayed socket by sending `relay ADDRESS`, the peer's; the answer is the address of the socket. What it
//! sends after that goes to the peer as it is, and what the peer sends goes to the client. No allocation ends, nothing is
//! checked. There is one with a system call for each packet that is received and one for each that is sent, and one on a
//! ring.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::exit;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;
use fanfare_engine::ring::{
    Datagram, HEAD_BYTES, KernelRing, Received, Ring, RingConfig, Slot, Token,
};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::SockRef;

use super::Mode;

/// What a request begins with.
pub(crate) const ASK: &[u8] = b"relay ";

/// Bytes that may wait at a socket, as the relays have it.
pub(super) const BUFFER_BYTES: usize = 8 << 20;

/// Packets of one socket before others have their turn.
const BATCH: usize = 64;

/// Runs a bare relay loop, for `turn` to measure.
#[derive(Debug, Args)]
pub(crate) struct ServeRelayFloor {
    mode: Mode,
}

/// Serves until its standard input ends.
pub(crate) fn serve(args: &ServeRelayFloor) -> io::Result<()> {
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
    match args.mode {
        Mode::Send => with_calls(&listener),
        Mode::Ring => with_ring(listener),
    }
}

/// `recvfrom(2)` and `sendto(2)`, a thread for each direction.
fn with_calls(listener: &UdpSocket) -> io::Result<()> {
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
            let socket = Arc::new(relay_socket()?);
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

/// A multishot receive at each socket, and many sends in one system call: what the relay does, without the relay.
fn with_ring(listener: UdpSocket) -> io::Result<()> {
    const LISTENER: u32 = u32::MAX;
    let config = RingConfig {
        slots: 16_384,
        submission_entries: 512,
        completion_entries: 4_096,
        buffers: 256,
        buffer_bytes: (1 << 16) + 1_088,
    };
    let mut ring =
        KernelRing::new(config, Vec::new()).map_err(|it| io::Error::other(it.to_string()))?;
    let to_clients = ring.install(listener.into())?;
    let mut by_client: HashMap<SocketAddr, (Slot, SocketAddr)> = HashMap::new();
    let mut by_index: Vec<(Slot, SocketAddr)> = Vec::new();
    let mut silent = vec![(to_clients, LISTENER)];
    let mut completions = Vec::new();
    let mut sends = Vec::new();
    let mut failed = Vec::new();
    loop {
        for (slot, index) in silent.drain(..) {
            ring.receive_datagrams(slot, Token::new(1, 0, index));
        }
        ring.turn(Duration::from_secs(1), &mut completions)?;
        for completion in completions.drain(..) {
            let index = completion.token.index();
            let known = by_index.get(index as usize).copied();
            if !completion.more {
                silent.push((known.map_or(to_clients, |it| it.0), index));
            }
            let Some(received) = completion.buffer.and_then(Received::read) else {
                continue;
            };
            let from = received.from();
            let buffer = received.into_buffer();
            let packet = &buffer[HEAD_BYTES..];
            if let Some((_, client)) = known {
                sends.push((to_clients, client, buffer));
            } else if let Some((slot, peer)) = by_client.get(&from) {
                sends.push((*slot, *peer, buffer));
            } else if let Some(peer) = packet.strip_prefix(ASK).and_then(peer_of) {
                let socket = relay_socket()?;
                let answer = socket.local_addr()?.to_string();
                let slot = ring.install(socket.into())?;
                by_client.insert(from, (slot, peer));
                silent.push((slot, u32::try_from(by_index.len()).unwrap_or(LISTENER)));
                by_index.push((slot, from));
                let answer = std::iter::once(Datagram {
                    slot: to_clients,
                    to: from,
                    pieces: std::iter::once(answer.as_bytes()),
                    car_bytes: None,
                    is_whole: false,
                });
                ring.send_datagrams(answer, &mut failed);
            }
        }
        let datagrams = sends.iter().map(|(slot, to, buffer)| Datagram {
            slot: *slot,
            to: *to,
            pieces: std::iter::once(&buffer[HEAD_BYTES..]),
            car_bytes: None,
            is_whole: false,
        });
        ring.send_datagrams(datagrams, &mut failed);
        sends.clear();
        failed.clear();
    }
}

fn relay_socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
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
