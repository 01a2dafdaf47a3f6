//! One client of a relay, over UDP.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use fanfare_turn::stun::{
    AttributeType, Class, Integrity, Key, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};
use thiserror::Error;

/// How long an answer may take before the request is sent again (RFC 8489 section 6.2.1: 500 ms).
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How often a request is sent.
const SENDS_MAX: u32 = 7;

/// Who uses a relay.
#[derive(Debug, Clone)]
pub struct User {
    /// As the relay knows them.
    pub name: String,
    /// In the clear.
    pub password: String,
}

/// Why a relay does not do what is asked.
#[derive(Debug, Error)]
pub enum RelayError {
    /// No socket, or nobody there.
    #[error("the relay cannot be asked: {0}")]
    Io(#[from] io::Error),
    /// No answer to any of the requests.
    #[error("the relay did not answer {SENDS_MAX} times")]
    Silent,
    /// An error.
    #[error("the relay refuses with {0}")]
    Refused(u16),
    /// Something that makes no sense.
    #[error("the relay's answer makes no sense: {0}")]
    Answer(&'static str),
}

/// One client with what it has been told by the relay.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    user: User,
    /// Realm, nonce, and the key that follows from them.
    session: Option<(Vec<u8>, Vec<u8>, Key)>,
    next: u64,
}

impl Client {
    /// A client at a port of its own that speaks to this relay.
    ///
    /// # Errors
    /// There is no socket.
    pub fn connect(relay: SocketAddr, user: &User) -> Result<Self, RelayError> {
        Self::connect_from(relay.ip(), relay, user)
    }

    /// The same, from this address.
    ///
    /// # Errors
    /// As above.
    pub fn connect_from(from: IpAddr, relay: SocketAddr, user: &User) -> Result<Self, RelayError> {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect(relay)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self {
            socket,
            user: user.clone(),
            session: None,
            next: fastrand::u64(..),
        })
    }

    /// Asks for a relayed address.
    ///
    /// # Errors
    /// There is none.
    pub fn allocate(&mut self) -> Result<SocketAddr, RelayError> {
        let answer = self.ask(Method::ALLOCATE, |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        })?;
        let message = parse(&answer)?;
        let relayed = message.first(AttributeType::XOR_RELAYED_ADDRESS);
        relayed
            .and_then(|value| message.address(value))
            .ok_or(RelayError::Answer("no relayed address"))
    }

    /// Binds a channel to a peer.
    ///
    /// # Errors
    /// It may not be reached.
    pub fn bind(&mut self, channel: u16, peer: SocketAddr) -> Result<(), RelayError> {
        let [high, low] = channel.to_be_bytes();
        self.ask(Method::CHANNEL_BIND, |writer| {
            writer
                .attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0])
                .xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })?;
        Ok(())
    }

    /// Where it sends from.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Its socket, to be used otherwise.
    #[must_use]
    pub fn into_socket(self) -> UdpSocket {
        self.socket
    }

    fn ask(
        &mut self,
        method: Method,
        write: impl Fn(&mut Writer<'_>),
    ) -> Result<Vec<u8>, RelayError> {
        loop {
            let transaction = self.transaction();
            let request = self.request(method, transaction, &write);
            let answer = self.exchange(&request, transaction)?;
            let message = parse(&answer)?;
            match code_of(&message) {
                None => return Ok(answer),
                Some(401) if self.session.is_none() => {}
                Some(438) => {}
                Some(code) => return Err(RelayError::Refused(code)),
            }
            self.session = Some(session_of(&message, &self.user)?);
        }
    }

    pub(super) fn transaction(&mut self) -> TransactionId {
        self.next = self.next.wrapping_add(1);
        let mut id = [7; 12];
        id[..8].copy_from_slice(&self.next.to_be_bytes());
        id
    }

    pub(super) fn request(
        &self,
        method: Method,
        transaction: TransactionId,
        write: impl Fn(&mut Writer<'_>),
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut writer = Writer::new(&mut out, Class::Request, method, transaction);
        write(&mut writer);
        if let Some((realm, nonce, key)) = &self.session {
            writer
                .attribute(AttributeType::USERNAME, self.user.name.as_bytes())
                .attribute(AttributeType::REALM, realm)
                .attribute(AttributeType::NONCE, nonce)
                .integrity(Integrity::Sha1, key);
        }
        out
    }

    fn exchange(&self, request: &[u8], transaction: TransactionId) -> Result<Vec<u8>, RelayError> {
        let mut buffer = vec![0; 2_048];
        for _ in 0..SENDS_MAX {
            self.socket.send(request)?;
            loop {
                match self.socket.recv(&mut buffer) {
                    Ok(length) => {
                        let is_ours = Message::parse(&buffer[..length])
                            .is_ok_and(|message| message.transaction() == transaction);
                        if is_ours {
                            buffer.truncate(length);
                            return Ok(buffer);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Err(RelayError::Silent)
    }

    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Takes over what a 401 or 438 says.
    pub(super) fn learn(&mut self, message: &Message<'_>) -> Result<(), RelayError> {
        self.session = Some(session_of(message, &self.user)?);
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<Message<'_>, RelayError> {
    Message::parse(bytes).map_err(|_| RelayError::Answer("no message"))
}

pub(super) fn code_of(message: &Message<'_>) -> Option<u16> {
    match message.first(AttributeType::ERROR_CODE) {
        Some(&[_, _, class, number, ..]) => Some(u16::from(class) * 100 + u16::from(number)),
        _ => None,
    }
}

fn session_of(message: &Message<'_>, user: &User) -> Result<(Vec<u8>, Vec<u8>, Key), RelayError> {
    let of = |kind| message.first(kind).map(<[u8]>::to_vec);
    let (Some(realm), Some(nonce)) = (of(AttributeType::REALM), of(AttributeType::NONCE)) else {
        return Err(RelayError::Answer("no realm and no nonce"));
    };
    let key = Key::long_term(
        PasswordAlgorithm::Md5,
        user.name.as_bytes(),
        &realm,
        user.password.as_bytes(),
    );
    Ok((realm, nonce, key))
}
