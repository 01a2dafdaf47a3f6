//! A client of the relay that does one thing after the other.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_turn::framing::{Channels, Next, next_of_stream};
use fanfare_turn::stun::{
    AttributeType, Class, Integrity, Key, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::url::{Transport, Url};

/// The first wait for an answer over UDP, which doubles each time (RFC 8489 section 6.2.1).
const RTO: Duration = Duration::from_millis(500);

/// Bytes of a message.
const BYTES_MAX: usize = 65_536;

/// Who is to be relayed for.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
}

/// Why an answer is none.
#[derive(Debug)]
pub(super) enum Failed {
    Network(io::Error),
    /// Nothing came in time.
    Silence,
    /// Something else came.
    Nonsense(&'static str),
    /// It was refused.
    Refused(u16),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silence,
            _ => Self::Network(error),
        }
    }
}

trait Stream: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

enum Wire {
    Udp(UdpSocket),
    /// With what has been received and is no whole message yet.
    Stream(Box<dyn Stream>, Vec<u8>),
}

/// A connection to a relay, or a socket.
pub(super) struct Client {
    wire: Wire,
    local: SocketAddr,
    timeout: Duration,
    user: Option<User>,
    login: Option<Login>,
}

/// What belongs to a signature, as the last challenge said.
struct Login {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: Key,
}

/// An answer, as it was received.
pub(super) struct Answer(Vec<u8>);

impl Answer {
    fn message(&self) -> Result<Message<'_>, Failed> {
        Message::parse(&self.0).map_err(|_| Failed::Nonsense("an answer is malformed"))
    }

    pub(super) fn text(&self, kind: AttributeType) -> Option<String> {
        let message = self.message().ok()?;
        message
            .first(kind)
            .map(|it| String::from_utf8_lossy(it).into_owned())
    }

    pub(super) fn address(&self, kind: AttributeType) -> Option<SocketAddr> {
        let message = self.message().ok()?;
        message.address(message.first(kind)?)
    }
}

impl Client {
    /// Connects; with TLS, the server has to show a certificate for its name.
    pub(super) fn connect(
        url: &Url,
        at: SocketAddr,
        tls: &Arc<rustls::ClientConfig>,
        timeout: Duration,
        user: Option<User>,
    ) -> Result<Self, Failed> {
        let (wire, local) = if url.transport == Transport::Udp {
            let any: SocketAddr = if at.is_ipv4() {
                ([0, 0, 0, 0], 0).into()
            } else {
                ([0_u16; 8], 0).into()
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(at)?;
            let local = socket.local_addr()?;
            (Wire::Udp(socket), local)
        } else {
            let stream = TcpStream::connect_timeout(&at, timeout)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            let local = stream.local_addr()?;
            let stream: Box<dyn Stream> = if url.transport == Transport::Tls {
                let name = ServerName::try_from(url.host.clone())
                    .map_err(|_| Failed::Nonsense("the host is no name of a certificate"))?;
                let connection = ClientConnection::new(Arc::clone(tls), name)
                    .map_err(|error| Failed::Network(io::Error::other(error)))?;
                let mut stream = StreamOwned::new(connection, stream);
                // Now, so that what is wrong with it is told apart.
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock)?;
                }
                Box::new(stream)
            } else {
                Box::new(stream)
            };
            (Wire::Stream(stream, Vec::new()), local)
        };
        Ok(Self {
            wire,
            local,
            timeout,
            user,
            login: None,
        })
    }

    pub(super) const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Asks without a signature.
    pub(super) fn ask_plainly(
        &mut self,
        method: Method,
        write: impl Fn(&mut Writer<'_>),
    ) -> Result<Answer, Failed> {
        let (id, request) = request(method, write, None);
        let answer = self.exchange(id, &request)?;
        match code_in(&answer.message()?) {
            None => Ok(answer),
            Some(401 | 438) if method != Method::BINDING => Ok(answer),
            Some(code) => Err(Failed::Refused(code)),
        }
    }

    /// Asks with a signature, of which it is told first what belongs to it.
    pub(super) fn ask(
        &mut self,
        method: Method,
        write: impl Fn(&mut Writer<'_>),
    ) -> Result<Answer, Failed> {
        // A challenge, perhaps a nonce that has ended meanwhile, and the answer.
        for _ in 0..3 {
            let login = self.user.as_ref().zip(self.login.as_ref());
            let is_signed = login.is_some();
            let (id, request) = request(method, &write, login);
            let answer = self.exchange(id, &request)?;
            let message = answer.message()?;
            match code_in(&message) {
                None => return Ok(answer),
                Some(401) if !is_signed => {}
                Some(438) => {}
                Some(code) => return Err(Failed::Refused(code)),
            }
            let first = |kind| message.first(kind).map(<[u8]>::to_vec);
            let (Some(realm), Some(nonce), Some(user)) = (
                first(AttributeType::REALM),
                first(AttributeType::NONCE),
                &self.user,
            ) else {
                return Err(Failed::Nonsense("a challenge lacks REALM or NONCE"));
            };
            let key = Key::long_term(
                PasswordAlgorithm::Md5,
                user.name.as_bytes(),
                &realm,
                user.password.as_bytes(),
            );
            self.login = Some(Login { realm, nonce, key });
        }
        Err(Failed::Refused(438))
    }

    /// Sends to a peer, through the relay.
    pub(super) fn send_to(&mut self, peer: SocketAddr, data: &[u8]) -> Result<(), Failed> {
        let mut out = Vec::new();
        Writer::new(&mut out, Class::Indication, Method::SEND, transaction())
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(AttributeType::DATA, data);
        self.send(&out)
    }

    /// What a peer has sent, and who that was; `None` if nothing comes within this time.
    pub(super) fn receive_from(
        &mut self,
        within: Duration,
    ) -> Result<Option<(SocketAddr, Vec<u8>)>, Failed> {
        let until = Instant::now() + within;
        loop {
            let bytes = match self.receive(until) {
                Ok(bytes) => bytes,
                Err(Failed::Silence) => return Ok(None),
                Err(failed) => return Err(failed),
            };
            let Ok(message) = Message::parse(&bytes) else {
                continue;
            };
            let peer = message.first(AttributeType::XOR_PEER_ADDRESS);
            let peer = peer.and_then(|it| message.address(it));
            if let (Class::Indication, Some(peer), Some(data)) =
                (message.class(), peer, message.first(AttributeType::DATA))
            {
                return Ok(Some((peer, data.to_vec())));
            }
        }
    }

    /// Sends, over UDP again and again, until there is an answer.
    fn exchange(&mut self, id: TransactionId, request: &[u8]) -> Result<Answer, Failed> {
        let until = Instant::now() + self.timeout;
        let mut wait = match self.wire {
            Wire::Udp(_) => RTO,
            Wire::Stream(..) => self.timeout,
        };
        loop {
            self.send(request)?;
            let next = (Instant::now() + wait).min(until);
            loop {
                match self.receive(next) {
                    Ok(bytes) => {
                        let is_it = Message::parse(&bytes).is_ok_and(|it| {
                            it.transaction() == id
                                && matches!(it.class(), Class::Success | Class::Error)
                        });
                        if is_it {
                            return Ok(Answer(bytes));
                        }
                    }
                    Err(Failed::Silence) if Instant::now() < until => break,
                    Err(failed) => return Err(failed),
                }
            }
            wait *= 2;
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        match &mut self.wire {
            Wire::Udp(socket) => {
                socket.send(bytes)?;
            }
            Wire::Stream(stream, _) => {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
        }
        Ok(())
    }

    /// The next message.
    fn receive(&mut self, until: Instant) -> Result<Vec<u8>, Failed> {
        let mut buffer = vec![0; BYTES_MAX];
        let left = || {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failed::Silence);
            }
            Ok(Some(left))
        };
        match &mut self.wire {
            Wire::Udp(socket) => {
                socket.set_read_timeout(left()?)?;
                let length = socket.recv(&mut buffer)?;
                buffer.truncate(length);
                Ok(buffer)
            }
            Wire::Stream(stream, input) => loop {
                let next = next_of_stream(input, BYTES_MAX, Channels::RFC_5766)
                    .map_err(|_| Failed::Nonsense("what came is not STUN"))?;
                if let Next::Whole(length) = next {
                    return Ok(input.drain(..length).collect());
                }
                stream.socket().set_read_timeout(left()?)?;
                let length = stream.read(&mut buffer)?;
                if length == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                input.extend_from_slice(&buffer[..length]);
            },
        }
    }
}

fn request(
    method: Method,
    write: impl Fn(&mut Writer<'_>),
    login: Option<(&User, &Login)>,
) -> (TransactionId, Vec<u8>) {
    let id = transaction();
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, Class::Request, method, id);
    write(&mut writer);
    if let Some((user, Login { realm, nonce, key })) = login {
        writer
            .attribute(AttributeType::USERNAME, user.name.as_bytes())
            .attribute(AttributeType::REALM, realm)
            .attribute(AttributeType::NONCE, nonce)
            .integrity(Integrity::Sha1, key);
    }
    writer.fingerprint();
    (id, out)
}

/// Nobody else on the way may guess it, or they could answer.
fn transaction() -> TransactionId {
    let mut id = [0; 12];
    getrandom::fill(&mut id).unwrap_or_else(|error| panic!("no source of randomness: {error}"));
    id
}

/// The error that an answer is, if it is one.
fn code_in(message: &Message<'_>) -> Option<u16> {
    let value = message.first(AttributeType::ERROR_CODE);
    match (message.class(), value) {
        (Class::Error, Some([_, _, class, number, ..])) => {
            Some(u16::from(*class) * 100 + u16::from(*number))
        }
        (Class::Error, _) => Some(0),
        _ => None,
    }
}
