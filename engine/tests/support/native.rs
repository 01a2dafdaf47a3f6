//! A blocking native client over TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use fanfare_wire::native::{self, ServerFrame};
use socket2::{Domain, Socket, Type};

/// Where a member left off: an epoch and an offset.
pub type Recover = Option<(u64, u64)>;

/// A frame of the server, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Welcome {
        client: String,
    },
    Subscribed {
        request: u32,
        room: u32,
        epoch: u64,
        offset: u64,
        was_recovering: bool,
        recovered: bool,
    },
    Unsubscribed {
        request: u32,
        code: u16,
    },
    Publication {
        room: u32,
        offset: u64,
        data: Vec<u8>,
    },
    Ack {
        request: u32,
        epoch: u64,
        offset: u64,
        members: u32,
    },
    Error {
        request: u32,
        code: u16,
    },
    Gap {
        room: u32,
        from: u64,
        to: u64,
    },
    Message(Vec<u8>),
    Disconnect {
        code: u16,
    },
    Ping,
    Pong,
    /// The server has closed the connection.
    Closed,
}

/// A native client over a blocking socket, with a deadline on every read.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes taken from the socket at a time: a random number up to this.
    pub read_bytes_max: usize,
    /// Whether pings of the server are answered (and left out) or returned.
    pub answers_pings: bool,
}

impl Client {
    pub fn open(addr: SocketAddr) -> Self {
        Self::on(TcpStream::connect(addr).expect("the engine listens"))
    }

    /// A client whose kernel takes little before it has to be read: about 2 KiB.
    pub fn open_narrow(addr: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(1).expect("a small buffer");
        socket.connect(&addr.into()).expect("the engine listens");
        Self::on(socket.into())
    }

    /// Lets the kernel take more from now on.
    pub fn widen(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_recv_buffer_size(1 << 20).expect("a buffer");
    }

    pub fn on(stream: TcpStream) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self {
            stream,
            buffer: Vec::new(),
            read_bytes_max: 65_536,
            answers_pings: true,
        }
    }

    /// A connection that has been welcomed.
    pub fn connect(addr: SocketAddr, token: &str) -> Self {
        Self::open(addr).greet(token)
    }

    pub fn greet(mut self, token: &str) -> Self {
        self.hello(token);
        let welcome = self.next();
        assert!(matches!(welcome, Frame::Welcome { .. }), "{welcome:?}");
        self
    }

    pub fn hello(&mut self, token: &str) {
        let hello = native::Hello {
            token,
            client_name: "test",
        };
        self.send(|out| native::write_hello(out, &hello));
    }

    pub fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.stream.write_all(&out).expect("the server reads");
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn subscribe(&mut self, request: u32, room: &str, recover: Recover) {
        self.subscribe_with(request, room, "", recover);
    }

    pub fn subscribe_with(&mut self, request: u32, room: &str, token: &str, recover: Recover) {
        let (epoch, offset) = recover.unwrap_or_default();
        let message = native::Subscribe {
            request,
            room,
            token,
            recover: recover.is_some(),
            epoch,
            offset,
        };
        self.send(|out| native::write_subscribe(out, &message));
    }

    /// Subscribes and waits until it is a member; returns the room's number and position.
    pub fn join(&mut self, room: &str) -> (u32, u64, u64) {
        self.subscribe(u32::MAX, room, None);
        match self.next() {
            Frame::Subscribed {
                room,
                epoch,
                offset,
                ..
            } => (room, epoch, offset),
            other => panic!("cannot join {room}: {other:?}"),
        }
    }

    pub fn unsubscribe(&mut self, request: u32, room: &str) {
        self.send(|out| native::write_unsubscribe(out, &native::Unsubscribe { request, room }));
    }

    pub fn publish(&mut self, request: u32, room: &str, data: &[u8]) {
        let message = native::Publish {
            request,
            room,
            data,
        };
        self.send(|out| native::write_publish(out, &message));
    }

    /// Says no more, and goes on reading.
    pub fn say_no_more(&self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("still connected");
    }

    /// The next frame; pings are answered and left out, unless it was asked not to.
    pub fn next(&mut self) -> Frame {
        loop {
            let decoded = native::decode_server(&self.buffer, 1 << 24);
            if let Some((frame, consumed)) = decoded.expect("the server speaks the protocol") {
                let frame = own(frame);
                self.buffer.drain(..consumed);
                if frame == Frame::Ping && self.answers_pings {
                    self.send(native::write_client_pong);
                    continue;
                }
                return frame;
            }
            let mut chunk = [0; 65_536];
            let wanted = fastrand::usize(1..=self.read_bytes_max);
            match self.stream.read(&mut chunk[..wanted]) {
                Ok(0) => {
                    assert!(self.buffer.is_empty(), "the stream ends inside of a frame");
                    return Frame::Closed;
                }
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                // Its ring's probe leaves the thread that started the engine something to finish.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Frame::Closed,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// The data of the publication that has to come next, and its offset.
    pub fn publication(&mut self) -> (u64, Vec<u8>) {
        match self.next() {
            Frame::Publication { offset, data, .. } => (offset, data),
            other => panic!("expected a publication: {other:?}"),
        }
    }

    /// Whether nothing has been sent up to now: it would come before the answer to a ping.
    pub fn has_nothing_to_read(&mut self) -> bool {
        self.send(native::write_client_ping);
        self.next() == Frame::Pong
    }

    /// All that still comes.
    pub fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            match self.next() {
                Frame::Closed => return frames,
                frame => frames.push(frame),
            }
        }
    }
}

pub fn own(frame: ServerFrame<'_>) -> Frame {
    match frame {
        ServerFrame::Welcome(it) => Frame::Welcome {
            client: it.client.to_owned(),
        },
        ServerFrame::Subscribed(it) => Frame::Subscribed {
            request: it.request,
            room: it.room,
            epoch: it.epoch,
            offset: it.offset,
            was_recovering: it.was_recovering,
            recovered: it.recovered,
        },
        ServerFrame::Unsubscribed(it) => Frame::Unsubscribed {
            request: it.request,
            code: it.code,
        },
        ServerFrame::Publication(it) => Frame::Publication {
            room: it.room,
            offset: it.offset,
            data: it.data.to_vec(),
        },
        ServerFrame::Ack(it) => Frame::Ack {
            request: it.request,
            epoch: it.epoch,
            offset: it.offset,
            members: it.members,
        },
        ServerFrame::Error(it) => Frame::Error {
            request: it.request,
            code: it.code,
        },
        ServerFrame::Gap(it) => Frame::Gap {
            room: it.room,
            from: it.from,
            to: it.to,
        },
        ServerFrame::Message(it) => Frame::Message(it.data.to_vec()),
        ServerFrame::Disconnect(it) => Frame::Disconnect { code: it.code },
        ServerFrame::Ping => Frame::Ping,
        ServerFrame::Pong => Frame::Pong,
    }
}
