//! An echo server on cramped queues and few buffers, with receives cancelled at random: every byte must come
//! back, in order. io_uring's receives into provided buffers have lost or mixed up data on some kernels, so this is to be
//! run on every new one; the seed of a failed run is in its output.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fanfare_engine::ring::{Ring, RingConfig, Short, Slot, Token};
use fastrand::Rng;
use socket2::SockRef;

use crate::support::{ACCEPT, RECEIVE, Rig, WRITABLE};

const CONNECTIONS: usize = 48;
const BYTES_EACH: usize = 96 * 1024;

const CRAMPED: RingConfig = RingConfig {
    slots: 64,
    submission_entries: 8,
    completion_entries: 32,
    buffers: 16,
    buffer_bytes: 1024,
};

#[test]
fn every_byte_comes_back_in_order() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rig = Rig::new(CRAMPED);
    rig.accept();
    let addr = rig.addr;
    let clients = std::thread::spawn(move || run_clients(addr, Rng::with_seed(seed)));
    let (cancels, shorts) = serve(&mut rig, &mut Rng::with_seed(!seed));
    clients.join().unwrap();
    assert!(
        cancels > 0 && shorts > 0,
        "{cancels} cancels, {shorts} short sends"
    );
    assert_eq!(rig.buffers_free(), 16);
}

#[derive(Default)]
struct Echo {
    unsent: Vec<u8>,
    is_blocked: bool,
    is_receiving: bool,
    is_ended: bool,
}

/// Echoes until every connection has ended. Returns how many receives were cancelled and sends were short.
fn serve(rig: &mut Rig, rng: &mut Rng) -> (u32, u32) {
    let mut echoes: Vec<Option<Echo>> = (0..rig.ring.slots()).map(|_| None).collect();
    let (mut accepted, mut ended, mut cancels, mut shorts) = (0, 0, 0, 0);
    while ended < CONNECTIONS {
        for event in rig.events_within(Duration::from_secs(20)) {
            let kind = event.token.kind();
            if kind == ACCEPT {
                if let Ok(slot) = usize::try_from(event.result) {
                    echoes[slot] = Some(Echo::default());
                    accepted += 1;
                }
                if !event.more && accepted < CONNECTIONS {
                    rig.accept();
                }
                continue;
            }
            let echo = echoes[event.token.index() as usize].as_mut().unwrap();
            if kind == WRITABLE {
                echo.is_blocked = false;
                continue;
            }
            assert_eq!(kind, RECEIVE);
            echo.is_receiving = event.more;
            match event.buffer {
                Some(buffer) => echo.unsent.extend_from_slice(&buffer),
                None if event.result == 0 => {
                    echo.is_ended = true;
                    ended += 1;
                }
                None => assert!(
                    [-libc::ENOBUFS, -libc::ECANCELED].contains(&event.result),
                    "receive ended with {}",
                    event.result
                ),
            }
        }
        for (slot, echo) in (0..).map(Slot).zip(&mut echoes) {
            let Some(echo) = echo.as_mut().filter(|echo| !echo.is_ended) else {
                continue;
            };
            if !echo.is_receiving {
                echo.is_receiving = true;
                rig.receive(slot);
            } else if rng.u8(..) < 4 {
                rig.cancel_receive(slot);
                cancels += 1;
            }
        }
        shorts += send_unsent(rig, &mut echoes);
    }
    (cancels, shorts)
}

/// Sends what waits, and polls the sockets that do not take it. Returns how many sends were short.
fn send_unsent(rig: &mut Rig, echoes: &mut [Option<Echo>]) -> u32 {
    let ready: Vec<usize> = (0..echoes.len())
        .filter(|&slot| {
            echoes[slot]
                .as_ref()
                .is_some_and(|echo| !echo.is_blocked && !echo.unsent.is_empty())
        })
        .collect();
    let mut short = Vec::new();
    let sends = ready
        .iter()
        .map(|&slot| (Slot(slot as u32), &*echoes[slot].as_ref().unwrap().unsent));
    rig.ring.send_all(sends, &mut short);
    let count = short.len() as u32;
    let mut short = short.into_iter().peekable();
    for (index, slot) in (0..).zip(ready) {
        let echo = echoes[slot].as_mut().unwrap();
        match short.next_if(|short| short.index == index) {
            Some(Short { taken, .. }) => {
                echo.unsent.drain(..taken.unwrap() as usize);
                echo.is_blocked = true;
                let token = Token::new(WRITABLE, 0, slot as u32);
                rig.ring.poll_writable(Slot(slot as u32), token);
            }
            None => echo.unsent.clear(),
        }
    }
    assert!(
        short.next().is_none(),
        "outcomes are in the order of the sends"
    );
    count
}

struct Client {
    stream: TcpStream,
    salt: u8,
    written: usize,
    read: usize,
}

fn run_clients(addr: SocketAddr, mut rng: Rng) {
    let mut clients: Vec<Client> = (0..CONNECTIONS)
        .map(|_| {
            let stream = TcpStream::connect(addr).unwrap();
            SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
            stream.set_nonblocking(true).unwrap();
            Client {
                stream,
                salt: rng.u8(..),
                written: 0,
                read: 0,
            }
        })
        .collect();
    let mut space = vec![0; 16_384];
    while !clients.is_empty() {
        for client in &mut clients {
            let len = rng.usize(1..8192).min(BYTES_EACH - client.written);
            let said: Vec<u8> = (0..len)
                .map(|i| pattern(client.salt, client.written + i))
                .collect();
            client.written += taken(client.stream.write(&said));
            if rng.bool() {
                let len = taken(client.stream.read(&mut space));
                for (i, &byte) in space[..len].iter().enumerate() {
                    assert_eq!(
                        byte,
                        pattern(client.salt, client.read + i),
                        "at byte {}",
                        client.read + i
                    );
                }
                client.read += len;
            }
        }
        clients.retain(|client| client.read < BYTES_EACH);
    }
}

fn taken(result: std::io::Result<usize>) -> usize {
    match result {
        Ok(n) => n,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

/// The byte at this place of a client's stream: no two nearby stretches are alike.
fn pattern(salt: u8, position: usize) -> u8 {
    let position = position as u32;
    (position.wrapping_mul(0x9e37_79b1) >> 13) as u8 ^ (position >> 8) as u8 ^ salt
}
