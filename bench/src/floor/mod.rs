//! The physical limit: a server with nothing in it but the sends.
//!
//! It lets members in with the words of the native protocol, and then writes each publication to every member's socket, one
//! after the other, in a bare loop of [`send(2)`](Mode::Send) or through a [bare ring](Mode::Ring). No rooms, no slow
//! members, no pings, no counters: what a server costs above this is the price of being one.
//!
//! A socket that does not take a whole frame ends the process: the loop measures sends, and members are expected to read.

mod members;
pub(crate) mod relay;
pub(crate) mod relay_mmsg;
mod ring;

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::exit;
use std::sync::mpsc::channel;
use std::thread;

use clap::{Args, ValueEnum};
use fanfare_engine::ring::raise_nofile;
use fanfare_wire::native;
use socket2::SockRef;

use ring::Sender;

/// The room's number in every frame.
const ROOM: u32 = 1;

/// Longest payload that is taken from the publisher.
const PAYLOAD_BYTES_MAX: u32 = 1 << 20;

/// Runs a bare loop as a server, for `floor` to measure.
#[derive(Debug, Args)]
pub(crate) struct ServeFloor {
    mode: Mode,
    /// Members that there will be; nothing is published before they are there.
    members: u32,
}

/// How the sends are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// `send(2)`, one call each.
    Send,
    /// `IORING_OP_SEND`, hundreds per call.
    Ring,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Ring => "ring",
        }
    }
}

/// Serves until its standard input ends.
///
/// A publisher's connection carries, again and again, the length of a room's name (`u32`, little endian), the name, the
/// length of a payload, the payload; the answer to each is the number of its publications sent so far (`u64`). One publishes at
/// a time; the next is served when it has ended.
pub(crate) fn serve(args: &ServeFloor) -> io::Result<()> {
    raise_nofile()?;
    let clients = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    SockRef::from(&clients).listen(4096)?;
    let ingest = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    println!(
        "ready clients={} ingest={}",
        clients.local_addr()?,
        ingest.local_addr()?
    );
    thread::spawn(|| {
        // Whoever started it holds its input open.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        exit(0);
    });
    let members = args.members as usize;
    let (sender, joined) = channel();
    thread::spawn(move || {
        if let Err(error) = members::let_in(&clients, members, &sender) {
            eprintln!("fanfare-bench: a member could not be let in: {error}");
            exit(1);
        }
    });
    // A publisher that comes before them waits in the backlog.
    let mut members = Loop::new(args.mode, joined.iter().take(members).collect())?;
    let mut offset = 0;
    loop {
        let (publisher, _) = ingest.accept()?;
        publisher.set_nodelay(true)?;
        fan_out(publisher, &mut members, &mut offset)?;
    }
}

/// Sends what the publisher says, until it has ended.
fn fan_out(mut publisher: TcpStream, members: &mut Loop, offset: &mut u64) -> io::Result<()> {
    let mut input = BufReader::new(publisher.try_clone()?);
    let mut payload = Vec::new();
    let mut frame = Vec::new();
    let mut sent: u64 = 0;
    while read_publication(&mut input, &mut payload)? {
        *offset += 1;
        frame.clear();
        native::write_publication(&mut frame, ROOM, *offset, &payload);
        members.send(&frame)?;
        sent += 1;
        publisher.write_all(&sent.to_le_bytes())?;
    }
    Ok(())
}

enum Loop {
    Send(Vec<TcpStream>),
    Ring(Box<Sender>),
}

impl Loop {
    fn new(mode: Mode, members: Vec<TcpStream>) -> io::Result<Self> {
        Ok(match mode {
            Mode::Send => Self::Send(members),
            Mode::Ring => Self::Ring(Box::new(Sender::new(members)?)),
        })
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let members = match self {
            Self::Ring(sender) => return sender.send(frame),
            Self::Send(members) => members,
        };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        for member in members {
            let taken = SockRef::from(&*member).send_with_flags(frame, flags)?;
            if taken != frame.len() {
                return Err(io::Error::other("a socket took a part of a frame"));
            }
        }
        Ok(())
    }
}

/// Reads one publication's payload; `false` at the end of the stream.
fn read_publication(input: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    // The room's name does not matter: there is one room.
    read_bytes(input, u32::from_le_bytes(length), payload)?;
    input.read_exact(&mut length)?;
    read_bytes(input, u32::from_le_bytes(length), payload)?;
    Ok(true)
}

fn read_bytes(input: &mut impl Read, bytes: u32, into: &mut Vec<u8>) -> io::Result<()> {
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(io::Error::other(format!(
            "{bytes} bytes were announced, {PAYLOAD_BYTES_MAX} are taken"
        )));
    }
    into.resize(bytes as usize, 0);
    input.read_exact(into)
}
