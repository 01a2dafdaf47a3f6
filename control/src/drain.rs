//! How the server stops: on SIGTERM or SIGINT it sends its clients elsewhere first. And how it reads again, on SIGHUP,
//! what can be changed while it runs.

use std::time::{Duration, Instant};

use fanfare_engine::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::ShutdownSettings;
use crate::exit::Failure;
use crate::turn::Relay;

/// After the window, for the last closes to be answered and the shards to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How often it is looked whether the relay's last allocation has ended.
const RELAY_POLL: Duration = Duration::from_millis(50);

/// The signals the server acts on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// A signal that asks the server to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Terminate,
    Interrupt,
}

impl Signals {
    /// Takes the signals over from their default actions.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::os(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to stop. A hang-up is none: it asks for a reload.
    async fn stop(&mut self, reload: &impl Fn()) -> Stop {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Stop::Terminate,
                _ = self.interrupt.recv() => return Stop::Interrupt,
                _ = self.hangup.recv() => reload(),
            }
        }
    }
}

impl Stop {
    /// What a shell reports for a process that the signal killed.
    fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Waits for a signal, then drains the engine and the relay; a second signal ends the process at once.
pub(crate) async fn run(
    mut signals: Signals,
    engine: Engine,
    relay: Option<&Relay>,
    settings: &ShutdownSettings,
    reload: impl Fn(),
) -> Result<(), Failure> {
    let window = settings.drain_window.0;
    let first = signals.stop(&reload).await;
    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(signal = ?first, window_ms, "draining; a second signal stops at once");
    engine.handle().begin_drain(window);
    if let Some(relay) = relay {
        relay.begin_drain();
    }
    let relay_deadline = Instant::now() + settings.relay_window.0;
    let waiting = tokio::task::spawn_blocking(move || engine.wait(window + GRACE));
    let drained = async {
        let waited = waiting.await;
        if let Some(relay) = relay {
            wait_for_calls(relay, relay_deadline).await;
        }
        waited
    };
    tokio::select! {
        waited = drained => match waited {
            Ok(Ok(())) => tracing::info!("stopped: every connection was closed in order"),
            Ok(Err(connections)) => tracing::warn!(connections, "stopped: the time was up, and connections were cut"),
            Err(error) => return Err(Failure::internal(format!("the engine did not stop in order: {error}"))),
        },
        second = signals.stop(&|| ()) => {
            tracing::warn!(signal = ?second, "stopped at once by a second signal");
            std::process::exit(second.exit_code());
        }
    }
    Ok(())
}

/// Waits until the relay has no allocations, or the time is up.
async fn wait_for_calls(relay: &Relay, deadline: Instant) {
    loop {
        let allocations = relay.handle().allocation_count();
        if allocations == 0 {
            return;
        }
        if Instant::now() >= deadline {
            tracing::warn!(allocations, "the time was up, and what they relay was cut");
            return;
        }
        tokio::time::sleep(RELAY_POLL).await;
    }
}
