//! Allocations that are made and given back, as fast as the relay does it, each from an address of loopback of its own: coturn
//! refuses for seconds whoever comes from where something was given back (437), and ports come round within those.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fanfare_turn::stun::{AttributeType, Message, Method, TransactionId};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::client::{Client, RelayError, User, code_of};

/// How long nothing may happen.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Clients that allocate and give back, each by itself, one request after the other.
#[derive(Debug)]
pub struct Churn {
    relay: SocketAddr,
    user: User,
    clients: Vec<(Client, Step, TransactionId)>,
    /// Clients that there have been.
    connected: u32,
}

/// What has become of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Churned {
    /// Allocations made and given back.
    pub cycles: u64,
    /// Time that it took.
    pub elapsed: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Allocating,
    Returning,
}

impl Churn {
    /// So many clients.
    ///
    /// # Errors
    /// There are not as many sockets.
    pub fn new(relay: SocketAddr, user: &User, clients: usize) -> Result<Self, RelayError> {
        let connect = |number| connect(relay, user, number);
        let connected = u32::try_from(clients).unwrap_or(u32::MAX);
        let clients = (0..connected).map(|it| Ok((connect(it)?, Step::Allocating, [0; 12])));
        Ok(Self {
            relay,
            user: user.clone(),
            clients: clients.collect::<Result<_, RelayError>>()?,
            connected,
        })
    }

    /// Allocates and gives back for so long. At the end nothing is left allocated.
    ///
    /// # Errors
    /// The relay refuses, or does not answer any more.
    pub fn run(&mut self, how_long: Duration) -> Result<Churned, RelayError> {
        let began = Instant::now();
        let mut cycles = 0;
        for (client, step, transaction) in &mut self.clients {
            *client = connect(self.relay, &self.user, self.connected)?;
            self.connected += 1;
            *step = Step::Allocating;
            *transaction = ask(client, *step)?;
        }
        let mut left = self.clients.len();
        let mut heard = Instant::now();
        let mut buffer = [0; 2_048];
        let mut is_over = vec![false; self.clients.len()];
        while left > 0 {
            if heard.elapsed() > SILENCE_MAX {
                return Err(RelayError::Silent);
            }
            self.wait()?;
            for (at, (client, step, transaction)) in self.clients.iter_mut().enumerate() {
                let Ok(length) = client.socket().recv(&mut buffer) else {
                    continue;
                };
                heard = Instant::now();
                let Ok(message) = Message::parse(&buffer[..length]) else {
                    return Err(RelayError::Answer("no message"));
                };
                if message.transaction() != *transaction || is_over[at] {
                    continue;
                }
                match code_of(&message) {
                    Some(401 | 438) => client.learn(&message)?,
                    Some(code) => return Err(RelayError::Refused(code)),
                    None if *step == Step::Allocating => *step = Step::Returning,
                    None => {
                        *step = Step::Allocating;
                        cycles += 1;
                        if began.elapsed() >= how_long {
                            is_over[at] = true;
                            left -= 1;
                            continue;
                        }
                        *client = connect(self.relay, &self.user, self.connected)?;
                        self.connected += 1;
                    }
                }
                *transaction = ask(client, *step)?;
            }
        }
        Ok(Churned {
            cycles,
            elapsed: began.elapsed(),
        })
    }

    fn wait(&self) -> Result<(), RelayError> {
        use std::os::fd::AsFd;
        let mut all: Vec<PollFd<'_>> = self
            .clients
            .iter()
            .map(|(client, ..)| PollFd::new(client.socket().as_fd(), PollFlags::POLLIN))
            .collect();
        let waited = poll(&mut all, PollTimeout::from(100_u8));
        waited.map_err(|errno| RelayError::Io(errno.into()))?;
        Ok(())
    }
}

fn connect(relay: SocketAddr, user: &User, number: u32) -> Result<Client, RelayError> {
    let from = match relay.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => address(number).into(),
        ip => ip,
    };
    let client = Client::connect_from(from, relay, user)?;
    client.socket().set_nonblocking(true)?;
    Ok(client)
}

/// One of the upper half of loopback's, in turns.
fn address(number: u32) -> Ipv4Addr {
    const ADDRESSES: u32 = 1 << 22;
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 128, 0, 1).to_bits() + number % ADDRESSES)
}

fn ask(client: &mut Client, step: Step) -> Result<TransactionId, RelayError> {
    let transaction = client.transaction();
    let request = match step {
        Step::Allocating => client.request(Method::ALLOCATE, transaction, |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        }),
        Step::Returning => client.request(Method::REFRESH, transaction, |writer| {
            writer.attribute(AttributeType::LIFETIME, &[0; 4]);
        }),
    };
    client.socket().send(&request)?;
    Ok(transaction)
}
