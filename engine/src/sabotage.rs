//! Faults that tests switch on to see that they are caught. Nothing switches them on in a server.

/// An invariant to be broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "sim"),
    expect(unreachable_pub, reason = "part of the harness")
)]
pub enum Sabotage {
    /// A send that was taken in part counts as taken whole: the rest of it is lost.
    ForgetShortSends,
    /// A connection that a stall held back is not visited when its socket is writable again.
    ForgetReturning,
    /// The first delivery of each room on a shard is dropped silently.
    DropDeliveries,
    /// A member that joins starts one frame behind: it gets a publication twice.
    JoinBehind,
    /// A slow member is moved to the tail without being told.
    SkipSilently,
    /// A member that leaves is not reported to the home.
    ForgetLeave,
}
