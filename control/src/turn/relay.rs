//! The running relay, and the credentials that let clients use it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_turn::budget::Rate;
use fanfare_turn::credentials::Credentials;
use fanfare_turn::framing::Channels;
use fanfare_turn::peers::PeerLimits;
use fanfare_turn::policy::PeerPolicy;
use fanfare_turn::relay::{Access, Config, Drain, QuotaLimits};
use fanfare_turn::server::{
    Directory, Observer, Server, ServerConfig, ServerHandle, StartError, StreamLimits,
};

use super::{addresses, tls};
use crate::config::{Period, Settings, TurnSettings};
use crate::exit::Failure;
use crate::secrets;

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    /// What is configured cannot be.
    #[error("the relay: {0}")]
    Config(String),
    /// The system said no.
    #[error("the relay: {0}")]
    Os(String),
}

impl From<TurnError> for Failure {
    fn from(error: TurnError) -> Self {
        match error {
            TurnError::Config(_) => Self::config(error),
            TurnError::Os(_) => Self::os(error),
        }
    }
}

/// The running relay.
#[derive(Debug)]
pub(crate) struct Relay {
    handle: ServerHandle,
    listening: Vec<SocketAddr>,
    urls: Vec<String>,
    own: Vec<SocketAddr>,
    host: Vec<IpAddr>,
    minting: RwLock<Minting>,
    alternates: [Option<SocketAddr>; 2],
}

/// What credentials are made with.
#[derive(Debug)]
struct Minting {
    credentials: Arc<Credentials>,
    ttl: Duration,
    ttl_max: Duration,
}

/// Credentials for a client, and where it can use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Minted {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) ttl: Duration,
    pub(crate) urls: Vec<String>,
}

impl Relay {
    /// Starts it if it is enabled. `own` are the other sockets of this server, which nobody's packets are relayed to.
    /// `directory` knows users that the configuration does not, and `observer` is told of allocations.
    pub(crate) fn start(
        settings: &Settings,
        own: &[SocketAddr],
        directory: Option<Arc<dyn Directory>>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Option<Self>, Failure> {
        let turn = &settings.turn;
        if !turn.enabled {
            return Ok(None);
        }
        let credentials = Arc::new(credentials_of(settings)?);
        let of_host = addresses::of_host()?;
        let plain = addresses::expand(&turn.addresses, &of_host);
        let with_tls = addresses::expand(&turn.tls_addresses, &of_host);
        let all: Vec<SocketAddr> = plain.iter().chain(&with_tls).copied().collect();
        // By themselves, too: a peer elsewhere may have one of the same ports.
        let own = addresses::expand(own, &of_host);
        let own: Vec<SocketAddr> = own.iter().chain(&all).copied().collect();
        let relay = addresses::relayed(turn, &all, &addresses::of_routes());
        let of_relay = relay
            .iter()
            .flatten()
            .flat_map(|it| [it.local, it.external]);
        let external = turn.external_addresses.iter().copied();
        let host: Vec<IpAddr> = of_relay.chain(external).chain(of_host).collect();
        let server = Server::start(ServerConfig {
            threads: turn.threads.number().unwrap_or_else(threads),
            udp: plain.clone(),
            tcp: plain,
            tls: with_tls,
            tls_config: tls::configured(turn)?,
            relay,
            ports: turn.port_min..=turn.port_max,
            config: config_of(turn),
            quota: QuotaLimits {
                per_user: turn.allocations_per_user_max,
                total: turn.allocations_max,
            },
            streams: StreamLimits {
                streams_max: turn.streams_max,
                strangers_max: turn.streams_unauthenticated_max,
                strangers_per_source_max: turn.streams_unauthenticated_per_source_max,
                handshakes: burst_of_four(turn.unauthenticated_per_second),
                idle_s: seconds(turn.stream_idle_timeout),
                unsent_bytes_max: turn.stream_unsent_bytes_max as usize,
            },
            access: Access {
                credentials: Arc::clone(&credentials),
                policy: Arc::new(policy_of(turn, own.clone(), &host)),
            },
            directory,
            observer,
            sockets_per_thread_max: u32::MAX,
        })
        .map_err(|error| match error {
            StartError::Config(why) => Failure::from(TurnError::Config(why)),
            other => TurnError::Os(other.to_string()).into(),
        })?;
        let relay = Self {
            handle: server.handle(),
            urls: urls(turn, &server),
            listening: server.udp().iter().chain(server.tls()).copied().collect(),
            own,
            host,
            minting: RwLock::new(Minting::of(turn, credentials)),
            alternates: [true, false].map(|is_v4| {
                let of_family = turn.alternate_servers.iter();
                of_family.copied().find(|it| it.is_ipv4() == is_v4)
            }),
        };
        Ok(Some(relay))
    }

    /// A way to ask things of its threads.
    pub(crate) const fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// Where it listens.
    pub(crate) fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// What clients are told of it.
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Makes credentials; an error says why there are none.
    pub(crate) fn mint(&self, user: &str, ttl: Option<Duration>) -> Result<Minted, String> {
        let minting = self.minting.read().unwrap_or_else(PoisonError::into_inner);
        let ttl = ttl.unwrap_or(minting.ttl);
        if ttl > minting.ttl_max || ttl < Duration::from_secs(1) {
            return Err(format!(
                "ttl must be from 1s to {} (turn.credential_ttl_max)",
                Period(minting.ttl_max)
            ));
        }
        let (username, password) = mint(&minting.credentials, user, ttl)?;
        Ok(Minted {
            username,
            password,
            ttl,
            urls: self.urls.clone(),
        })
    }

    /// Takes over what a configuration says of secrets, users, peers and the certificate.
    pub(crate) fn reload(&self, settings: &Settings) -> Result<(), Failure> {
        let turn = &settings.turn;
        let credentials = Arc::new(credentials_of(settings)?);
        let tls = tls::configured(turn)?;
        self.handle.set_access(&Access {
            credentials: Arc::clone(&credentials),
            policy: Arc::new(policy_of(turn, self.own.clone(), &self.host)),
        });
        self.handle.set_tls(tls.as_ref());
        let mut minting = self.minting.write().unwrap_or_else(PoisonError::into_inner);
        *minting = Minting::of(turn, credentials);
        Ok(())
    }

    /// Turns newcomers away from now on.
    pub(crate) fn begin_drain(&self) {
        self.handle.set_drain(Some(Drain {
            alternate: self.alternates,
        }));
    }
}

impl Minting {
    fn of(turn: &TurnSettings, credentials: Arc<Credentials>) -> Self {
        Self {
            credentials,
            ttl: turn.credential_ttl.0,
            ttl_max: turn.credential_ttl_max.0,
        }
    }
}

/// Who may use the relay. Without secrets and users in the configuration, one is made from those that the server has made.
pub(crate) fn credentials_of(settings: &Settings) -> Result<Credentials, Failure> {
    let turn = &settings.turn;
    let users = turn
        .users
        .iter()
        .map(|(user, password)| (user.clone(), password.reveal().to_owned()));
    let mut all: Vec<Vec<u8>> = turn
        .secrets
        .iter()
        .map(|it| it.reveal().as_bytes().to_vec())
        .collect();
    if all.is_empty() && turn.users.is_empty() {
        let made = secrets::read_or_create(&settings.data_dir)?;
        all.push(Credentials::derive_secret(made.token_hmac_secret.reveal()));
    }
    Ok(Credentials::new(&turn.realm, all, users))
}

/// A user name and a password that are good for so long.
pub(crate) fn mint(
    credentials: &Credentials,
    user: &str,
    ttl: Duration,
) -> Result<(String, String), String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    credentials
        .mint(user, now + ttl.as_secs())
        .map(|it| (it.user, it.password))
        .ok_or_else(|| "there is no secret to make credentials with: set turn.secrets".to_owned())
}

fn config_of(turn: &TurnSettings) -> Config {
    Config {
        lifetime_s: seconds(turn.allocation_lifetime),
        lifetime_max_s: seconds(turn.allocation_lifetime_max),
        peers: PeerLimits {
            permissions_max: turn.permissions_max as usize,
            channels_max: turn.channels_max as usize,
            channels: if turn.legacy_channels {
                Channels::RFC_5766
            } else {
                Channels::RFC_8656
            },
            new_peers: Rate::new(turn.new_peers_per_second, turn.permissions_max),
        },
        packets: Rate::new(turn.packets_per_second, turn.packets_per_second),
        bytes: Rate::new(
            turn.bytes_per_second,
            (turn.bytes_per_second / 2).max(65_536),
        ),
        has_tcp: turn.tcp_peers,
        connections_max: turn.connections_max as usize,
        strangers: burst_of_four(turn.unauthenticated_per_second),
        bindings: burst_of_four(turn.bindings_per_second),
        // What the threads find out themselves.
        ..Config::default()
    }
}

/// Four seconds' worth at once: pages gather candidates for several connections in a moment.
fn burst_of_four(per_second: u32) -> Rate {
    Rate::new(per_second, per_second.saturating_mul(4))
}

fn policy_of(turn: &TurnSettings, own: Vec<SocketAddr>, host: &[IpAddr]) -> PeerPolicy {
    PeerPolicy::new(&turn.allowed_peers, &turn.denied_peers, own)
        .with_host(host.iter().copied(), &turn.allowed_peers)
}

fn seconds(period: Period) -> u32 {
    u32::try_from(period.0.as_secs()).unwrap_or(u32::MAX)
}

/// One for every four processors: the others fan out.
fn threads() -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(processors.div_ceil(4)).unwrap_or(u16::MAX)
}

/// What clients are told: what is configured, or every address that is listened on.
fn urls(turn: &TurnSettings, server: &Server) -> Vec<String> {
    if !turn.urls.is_empty() {
        return turn.urls.clone();
    }
    let listed = |scheme: &'static str, query: &'static str, addresses: &[SocketAddr]| {
        let others: Vec<_> = addresses
            .iter()
            .filter(|it| !it.ip().is_loopback())
            .collect();
        let shown = if others.is_empty() {
            addresses.iter().collect()
        } else {
            others
        };
        let url = move |it: &SocketAddr| format!("{scheme}:{it}{query}");
        shown.into_iter().map(url).collect::<Vec<_>>()
    };
    [
        listed("turn", "?transport=udp", server.udp()),
        listed("turn", "?transport=tcp", server.tcp()),
        listed("turns", "?transport=tcp", server.tls()),
    ]
    .concat()
}
