//! What may go wrong in a simulated run, how likely it is, and how often it did.

use fastrand::Rng;

/// Something that the kernel or the network may do and that code tends to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A send is taken in part although there is space.
    ShortSend,
    /// A send is not taken at all although there is space.
    SendBlocked,
    /// The connection is reset in the middle of a send.
    SendError,
    /// A receive ends with `-ENOBUFS` although a buffer is free by the time that is known.
    NoBuffers,
    /// An accept ends (`more == false`) with a valid result.
    AcceptEndsEarly,
    /// A receive ends (`more == false`) with a valid result.
    ReceiveEndsEarly,
    /// An accept ends with `-EMFILE`, `-ENFILE` or `-ECONNABORTED`.
    AcceptError,
    /// A completion becomes visible late.
    Delay,
    /// A completion overtakes one of another operation.
    Reorder,
    /// The completion queue overflows: what is left comes with a later turn, and multishot operations end.
    Overflow,
    /// A cancelled operation completes long after its slot was given to another connection.
    Stale,
    /// A cancelled operation completes with its natural result, because it was faster.
    CancelRace,
    /// A socket is reported writable although it is not.
    SpuriousWritable,
    /// Queued operations are submitted at once, as when the submission queue is full.
    EarlySubmit,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::ShortSend,
        Self::SendBlocked,
        Self::SendError,
        Self::NoBuffers,
        Self::AcceptEndsEarly,
        Self::ReceiveEndsEarly,
        Self::AcceptError,
        Self::Delay,
        Self::Reorder,
        Self::Overflow,
        Self::Stale,
        Self::CancelRace,
        Self::SpuriousWritable,
        Self::EarlySubmit,
    ];
}

/// The probability, 0 to 1, of each [`Fault`] whenever it could happen.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    chances: [f32; Fault::ALL.len()],
}

impl Faults {
    /// A world in which nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            chances: [0.0; Fault::ALL.len()],
        }
    }

    /// Each fault is absent in a third of the worlds, rare in a third, and frequent in the rest. Runs in which
    /// some are absent reach states that runs with a little of everything do not (swarm testing).
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        let mut faults = Self::none();
        for fault in Fault::ALL {
            let chance = match rng.u32(0..3) {
                0 => 0.0,
                1 => rng.f32() * 0.02,
                _ => rng.f32() * 0.3,
            };
            // A reset ends a connection, so even "frequent" must leave most connections alive for a while.
            let scale = if fault == Fault::SendError { 0.05 } else { 1.0 };
            faults.chances[fault as usize] = chance * scale;
        }
        faults
    }

    /// The same with another probability for this fault.
    #[must_use]
    pub const fn with(mut self, fault: Fault, chance: f32) -> Self {
        self.chances[fault as usize] = chance;
        self
    }

    /// The probability of this fault.
    #[must_use]
    pub const fn chance(&self, fault: Fault) -> f32 {
        self.chances[fault as usize]
    }
}

/// How often each fault has happened.
#[derive(Debug, Clone, Default)]
pub(super) struct FaultCounts([u64; Fault::ALL.len()]);

impl FaultCounts {
    pub(super) const fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    pub(super) const fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }
}
