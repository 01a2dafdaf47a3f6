//! Time: pings and their answers, deadlines, tokens that expire, and the end of everything.

use std::time::Duration;

use fanfare_wire::centrifuge::codes::DisconnectCode;

use crate::conn::Phase;
use crate::core::{Accepting, Core, Drain, Now, Op, millis};
use crate::session::{self, Pulse};

/// A gap between turns that is a fault of ours or the machine's, in milliseconds.
const LONG_TURN_MS: u64 = 2_000;

/// After a token has expired, the client has this long to refresh it, in seconds (as in Centrifugo).
pub const EXPIRY_GRACE_S: u64 = 25;

/// Rooms looked at per tick for being over.
const COLLECT_PER_TICK: u32 = 256;

impl Core {
    pub(crate) fn schedule_in(&mut self, slot: u32, after: Duration) {
        self.wheel.schedule(slot, self.now.ms + millis(after));
    }

    /// Handles the deadlines that have passed.
    pub(crate) fn tick(&mut self) {
        if self.drain == Drain::No
            && let Some(window_ms) = self.mesh.inbox().drain_window_ms()
        {
            self.begin_drain(window_ms);
        }
        if self.drain == Drain::Draining && self.conns.open_count() == 0 {
            // Nobody is left to do anything for, and who keeps asking must not keep the shard from its end.
            self.mesh.inbox().close();
        }
        if self.now.ms < self.wheel.next_tick_ms() {
            return;
        }
        let ping_interval_ms = millis(self.shared.config.limits.ping_interval);
        self.output.mark_recent(self.now.ms, ping_interval_ms / 4);
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(self.now.ms, &mut due);
        for slot in due.drain(..) {
            self.deadline(slot);
        }
        self.due = due;
        self.resume_accepting();
        self.homes.collect(self.now.ms, COLLECT_PER_TICK);
    }

    fn deadline(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        match conn.phase {
            // The session that it waits for is told to go as well, and answers.
            Phase::Handshake if self.drain == Drain::Draining && conn.session.awaits_answer() => {
                self.schedule_in(slot, self.shared.config.limits.close_timeout);
            }
            Phase::Handshake | Phase::Open if self.drain == Drain::Draining => {
                self.disconnect(slot, DisconnectCode::SHUTDOWN);
            }
            _ if !self.conns.has_socket(slot) => {
                self.expire_memberships(slot);
                session::poll::deadline(self, slot);
            }
            Phase::Handshake if self.is_behind() => {
                self.schedule_in(slot, Duration::from_secs(1));
            }
            Phase::Handshake => {
                if !conn.session.is_kept_alive() {
                    self.gauges.counters.handshake_timeouts.inc();
                }
                self.disconnect(slot, DisconnectCode::STALE);
            }
            Phase::Open => self.heartbeat(slot),
            Phase::Finishing | Phase::Lingering => self.begin_close(slot),
            Phase::Closing => {}
        }
    }

    /// Pings the connection, or closes it because the last ping was not answered or its token has expired.
    ///
    /// A native client that has just been sent something is not pinged: it hears from the server, and that it lives is for
    /// TCP to find out, which has its bytes acknowledged or gives it up (`TCP_USER_TIMEOUT`). With a million members that
    /// hear 40 messages a second, pings and their answers took half of the core that sends them.
    fn heartbeat(&mut self, slot: u32) {
        let timeout = self.shared.config.limits.pong_timeout;
        self.expire_memberships(slot);
        let is_behind = self.is_behind();
        let pulse = session::pulse(self, slot);
        let hears = pulse == Pulse::AnswersUnlessItHears && self.took_output_recently(slot);
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        let expires_at = conn
            .identity
            .as_ref()
            .map_or(0, |identity| identity.expires_at);
        let message_timeout = self.shared.config.limits.message_timeout;
        let is_stuck = conn.partial_since_s.is_some_and(|since| {
            self.now.ms > u64::from(since.get()) * 1000 + millis(message_timeout)
        });
        let is_refreshed = conn.is_refreshed_by_backend();
        if expires_at != 0 && is_refreshed && u64::from(expires_at) <= self.now.unix {
            session::refresh(self, slot);
            self.schedule_in(slot, timeout);
        } else if expires_at != 0 && u64::from(expires_at) + EXPIRY_GRACE_S <= self.now.unix {
            self.disconnect(slot, DisconnectCode::EXPIRED);
        } else if is_stuck && !is_behind {
            self.gauges.counters.message_timeouts.inc();
            self.disconnect(slot, DisconnectCode::SLOW);
        } else if pulse == Pulse::Beats {
            self.schedule_in(slot, self.shared.config.limits.ping_interval);
        } else if pulse == Pulse::Listens {
            session::ping(self, slot);
            self.schedule_in(slot, self.shared.config.limits.ping_interval);
        } else if pulse != Pulse::Stopped && !conn.awaits_pong && hears {
            self.schedule_in(slot, self.shared.config.limits.ping_interval / 2);
        } else if pulse != Pulse::Stopped && !conn.awaits_pong {
            conn.awaits_pong = true;
            session::ping(self, slot);
            self.schedule_in(slot, timeout);
        } else if is_behind {
            self.schedule_in(slot, timeout);
        } else {
            self.gauges.counters.pong_timeouts.inc();
            self.disconnect(slot, DisconnectCode::NO_PONG);
        }
    }

    /// The client has answered a ping: the next one follows a full interval after it.
    pub(crate) fn pong(&mut self, slot: u32) {
        let limits = &self.shared.config.limits;
        let (interval, timeout) = (millis(limits.ping_interval), millis(limits.pong_timeout));
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        if !conn.awaits_pong || !conn.is_open() {
            return;
        }
        conn.awaits_pong = false;
        // While draining, the deadline is the one to go.
        if self.drain == Drain::No
            && let Some(answer_by) = self.wheel.deadline_ms(slot)
        {
            self.wheel.schedule(slot, answer_by + interval - timeout);
        }
    }

    /// What clients have sent in time may still be waiting to be read.
    fn is_behind(&self) -> bool {
        self.mesh.is_jammed() || self.now.ms < self.excused_until_ms
    }

    /// Takes over the time. After a long gap, because this turn was long or the machine slept, nobody is held to
    /// deadlines that passed in it: what they sent in time is still to be read.
    pub(crate) fn set_now(&mut self, now: Now) {
        if now.ms > self.now.ms + LONG_TURN_MS {
            self.excused_until_ms = now.ms + LONG_TURN_MS;
        }
        self.now = now;
    }

    /// Spread over one interval, so that a million connections made at once are not pinged at once.
    pub(crate) fn first_ping_in(&self) -> Duration {
        let interval = self.shared.config.limits.ping_interval;
        let spread = fastrand::f64();
        interval.mul_f64(0.5 + spread / 2.0)
    }

    // -- the end

    /// Stops accepting, and disconnects everyone at random within the window.
    fn begin_drain(&mut self, window_ms: u64) {
        if self.drain != Drain::No {
            return;
        }
        self.drain = Drain::Draining;
        for (listener, state) in (0..).zip(&self.accepting) {
            if *state == Accepting::Stopped {
                self.ops.push(Op::StopListening { listener });
            }
        }
        self.stop_accepting();
        for slot in self.conns.slots() {
            if self
                .conns
                .get(slot)
                .is_some_and(|conn| matches!(conn.phase, Phase::Handshake | Phase::Open))
            {
                self.wheel
                    .schedule(slot, self.now.ms + fastrand::u64(..=window_ms));
            }
        }
    }

    /// Nothing is left to do: everyone has gone and every message has been passed on.
    pub(crate) fn is_drained(&self) -> bool {
        self.drain == Drain::Draining
            && self.conns.open_count() == 0
            && self
                .accepting
                .iter()
                .all(|state| *state == Accepting::Stopped)
            && !self.mesh.is_jammed()
            && self.local.is_empty()
            && self.ops.is_empty()
    }
}
