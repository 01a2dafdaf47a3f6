//! `fanfare serve`: starts the engine and the control API, and waits to be told to stop.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_engine::backend::Backend;
use fanfare_engine::{Engine, EngineConfig, StartError};
use fanfare_turn::server::{Directory, Observer};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::{self, ApiLimits, App, ConnectionLimits, EngineHandle};
use crate::api_keys::ApiKeys;
use crate::backend::{Plan, Webhooks};
use crate::banner::Banner;
use crate::cli::{Common, ServeArgs};
use crate::config::{self, Loaded, Secret, Settings};
use crate::exit::Failure;
use crate::goim::{self, Goim, Nodes};
use crate::metrics::Metrics;
use crate::tokens::{KeySet, TokenAuthority};
use crate::turn::Relay;
use crate::{drain, logging, secrets};

/// After the drain, for the control API's last answers to be sent.
const API_GRACE: Duration = Duration::from_secs(1);

/// Serves until a signal ends it.
pub(crate) fn run(common: &Common, args: &ServeArgs) -> Result<(), Failure> {
    let loaded = config::from_command_line(common)?;
    let settings = &loaded.settings;
    logging::start(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::os(format!("cannot start the control API's runtime: {error}")))?;
    // Before anything is started: from here on a stop is an orderly one, and a hang-up is none.
    let signals = {
        let _context = runtime.enter();
        drain::Signals::listen()?
    };
    let trust = Trust::establish(&loaded)?;
    // Before the engine, whose start takes longer: of two servers on one machine the second should fail here.
    let listener = bind(settings.api.address)?;
    let api_address = listener.local_addr().map_err(Failure::os)?;
    let backend = match configured_backend(&loaded)? {
        Some(plan) => Some(Arc::new(Webhooks::start(plan).map_err(Failure::os)?)),
        None => None,
    };
    let authority = TokenAuthority::new(trust.token_keys, trust.api_keys.clone(), &settings.token);
    let engine_config = settings.to_engine();
    let asked = backend.clone().map(|it| it as Arc<dyn Backend>);
    let engine =
        Engine::start_with(engine_config.clone(), Arc::new(authority), asked).map_err(|error| {
            match error {
                StartError::Config(_) => Failure::config(error),
                StartError::Ring(_) | StartError::Listen(_) | StartError::Os { .. } => {
                    Failure::os(error)
                }
            }
        })?;
    log_start(&engine_config, &engine, api_address, loaded.file.as_deref());
    goim::warn_of_open_doors(&settings.goim, api_address);
    let mut own = engine.client_addrs().to_vec();
    own.push(api_address);
    let directory = backend.clone().filter(|it| it.knows_turn_users());
    let directory = directory.map(|it| it as Arc<dyn Directory>);
    let observer = backend.clone().filter(|it| it.observes_turn());
    let observer = observer.map(|it| it as Arc<dyn Observer>);
    let relay = Relay::start(settings, &own, directory, observer)?.map(Arc::new);
    if let Some(relay) = &relay {
        tracing::info!(listening = ?relay.listening(), urls = ?relay.urls(), "the relay has started");
    }
    let metrics = Arc::new(Metrics::new(
        EngineHandle(engine.handle()),
        backend.as_deref().map(Webhooks::counters),
        relay.as_deref().map(|relay| relay.handle().clone()),
    ));
    let goim = settings.goim.enabled.then(|| {
        let port = client_port(engine.client_addrs());
        let nodes = Nodes::new(&settings.goim, &host_name(), port);
        let keys = trust.api_keys.clone();
        let goim = Goim::new(Box::new(engine.handle()), keys, settings, nodes);
        goim::router(goim, Arc::clone(&metrics))
    });
    let app = Arc::new(App {
        handle: EngineHandle(engine.handle()),
        relay: relay.clone(),
        keys: trust.api_keys.clone(),
        limits: ApiLimits::new(settings),
        metrics,
        started: Instant::now(),
        uid: run_id()?,
        node: node_name(engine.client_addrs()),
    });
    if !args.quiet {
        Banner {
            settings,
            client_addresses: engine.client_addrs(),
            api_address,
            relay_urls: relay.as_deref().map_or(&[], Relay::urls),
            api_keys: &trust.api_keys,
            generated: trust.generated.as_ref(),
        }
        .print()?;
    }
    let limits = ConnectionLimits {
        connections_max: settings.api.connections_max,
        head_timeout: settings.api.head_timeout.0,
        write_timeout: settings.api.request_timeout.0,
    };
    let mut router = api::router(app);
    if let Some(goim) = goim {
        router = router.merge(goim);
    }
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(Failure::os)?;
        let (stop, stopping) = watch::channel(false);
        let serving = tokio::spawn(api::serve(listener, router, limits, stopping));
        // The API goes on during the drain: monitors watch it, and publications still reach who is there.
        let reload = || reload(common, relay.as_deref());
        let drained = drain::run(
            signals,
            engine,
            relay.as_deref(),
            &settings.shutdown,
            reload,
        )
        .await;
        stop.send_replace(true);
        if timeout(API_GRACE, serving).await.is_err() {
            tracing::warn!("connections to the control API were cut");
        }
        drained
    })
}

/// Reads the configuration again for what can be changed while the server runs. What is wrong with it is said, and all stays
/// as it was.
fn reload(common: &Common, relay: Option<&Relay>) {
    let reloaded = config::from_command_line(common).and_then(|loaded| match relay {
        Some(relay) => relay.reload(&loaded.settings),
        None => Ok(()),
    });
    match reloaded {
        Ok(()) => tracing::info!(
            "read the configuration again: secrets, users, peers and certificate of the relay are in effect, all else is \
             as it was at the start"
        ),
        Err(error) => tracing::error!(%error, "nothing was reloaded"),
    }
}

/// Whom the server believes.
struct Trust {
    api_keys: ApiKeys,
    token_keys: KeySet,
    /// What is not configured, if anything is not.
    generated: Option<Generated>,
}

/// Secrets that were made here and are in use.
#[derive(Debug)]
pub(crate) struct Generated {
    pub(crate) file: PathBuf,
    pub(crate) api_key: bool,
    pub(crate) token_secret: bool,
}

impl Trust {
    /// Takes what is configured, and generates what is not.
    fn establish(loaded: &Loaded) -> Result<Self, Failure> {
        let settings = &loaded.settings;
        let api_keys = configured_api_keys(settings)?;
        let token_keys = configured_token_keys(loaded)?;
        let data_dir = &settings.data_dir;
        let generated = Generated {
            file: secrets::path(data_dir),
            api_key: api_keys.is_none(),
            token_secret: token_keys.is_empty(),
        };
        if !generated.api_key && !generated.token_secret {
            return Ok(Self {
                api_keys: api_keys.unwrap_or_default(),
                token_keys,
                generated: None,
            });
        }
        let made = secrets::read_or_create(data_dir)?;
        let token_keys = match generated.token_secret {
            true => KeySet::hmac(&made.token_hmac_secret).map_err(Failure::config)?,
            false => token_keys,
        };
        Ok(Self {
            api_keys: api_keys.unwrap_or_else(|| ApiKeys::new(vec![made.api_key])),
            token_keys,
            generated: Some(generated),
        })
    }
}

/// The token keys of the configuration. A complaint says where to look.
pub(crate) fn configured_token_keys(loaded: &Loaded) -> Result<KeySet, Failure> {
    KeySet::configured(&loaded.settings.token).map_err(|error| {
        let place = loaded.origins.of(&format!("token.{}", error.setting()));
        Failure::config(format!("{place}: {error}"))
    })
}

/// How the backend of the configuration is asked, if it names one. A complaint says where to look.
pub(crate) fn configured_backend(loaded: &Loaded) -> Result<Option<Plan>, Failure> {
    Plan::new(&loaded.settings)
        .map_err(|error| Failure::config(format!("{}: {error}", loaded.origins.of(error.key()))))
}

/// The API keys of the configuration, if it names any.
pub(crate) fn configured_api_keys(settings: &Settings) -> Result<Option<ApiKeys>, Failure> {
    if let Some(path) = &settings.api.key_file {
        return ApiKeys::from_file(path).map(Some);
    }
    let keys: Vec<Secret> = settings.api.keys.clone();
    Ok((!keys.is_empty()).then(|| ApiKeys::new(keys)))
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let explain = |error: std::io::Error| {
        Failure::os(format!(
            "cannot listen on {address} for the control API: {error}. Another server may run there; \
             choose another api.address, for example FANFARE__API__ADDRESS=127.0.0.1:9001"
        ))
    };
    let listener = TcpListener::bind(address).map_err(explain)?;
    listener.set_nonblocking(true).map_err(explain)?;
    Ok(listener)
}

/// The one line that says what runs here.
fn log_start(config: &EngineConfig, engine: &Engine, api: SocketAddr, file: Option<&Path>) {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kernel = kernel.trim(),
        shards = config.shards,
        clients = ?engine.client_addrs(),
        %api,
        config = %file.map_or_else(|| "none".to_owned(), |file| file.display().to_string()),
        message_bytes_max = config.limits.message_bytes_max,
        connections_per_user_max = config.limits.connections_per_user_max,
        rooms_per_connection_max = config.limits.rooms_per_connection_max,
        namespaces = config.namespaces.named.len(),
        allow_anonymous = config.allow_anonymous,
        "started"
    );
    if !api.ip().is_loopback() {
        tracing::warn!(%api, "the control API is plain HTTP on an address others may reach: put TLS in front of it");
    }
}

/// Tells this run of the server from every other.
fn run_id() -> Result<String, Failure> {
    getrandom::u64()
        .map(|id| format!("{id:016x}"))
        .map_err(|error| Failure::os(format!("the kernel gives no random bytes: {error}")))
}

/// Host and port, which is what tells one server from another.
fn node_name(client_addresses: &[SocketAddr]) -> String {
    format!("{}:{}", host_name(), client_port(client_addresses))
}

fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    host.trim().to_owned()
}

/// Of the first client address.
fn client_port(client_addresses: &[SocketAddr]) -> u16 {
    client_addresses.first().map_or(0, SocketAddr::port)
}
