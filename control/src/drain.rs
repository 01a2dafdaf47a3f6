//! How the server stops: on SIGTERM or SIGINT it sends its clients elsewhere first.

use std::time::Duration;

use fanfare_engine::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// After the window, for the last closes to be answered and the shards to stop.
const GRACE: Duration = Duration::from_secs(10);

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

    /// Waits for a signal to stop. A hang-up is none: it commonly asks for a reload, and must not kill.
    async fn stop(&mut self) -> Stop {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Stop::Terminate,
                _ = self.interrupt.recv() => return Stop::Interrupt,
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP ignored: the configuration is read at the start only; restart to change it");
                }
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

/// Waits for a signal, then drains the engine; a second signal ends the process at once.
pub(crate) async fn run(
    mut signals: Signals,
    engine: Engine,
    window: Duration,
) -> Result<(), Failure> {
    let first = signals.stop().await;
    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(signal = ?first, window_ms, "draining; a second signal stops at once");
    engine.handle().begin_drain(window);
    let waiting = tokio::task::spawn_blocking(move || engine.wait(window + GRACE));
    tokio::select! {
        waited = waiting => match waited {
            Ok(Ok(())) => tracing::info!("stopped: every connection was closed in order"),
            Ok(Err(connections)) => tracing::warn!(connections, "stopped: the time was up, and connections were cut"),
            Err(error) => return Err(Failure::internal(format!("the engine did not stop in order: {error}"))),
        },
        second = signals.stop() => {
            tracing::warn!(signal = ?second, "stopped at once by a second signal");
            std::process::exit(second.exit_code());
        }
    }
    Ok(())
}
