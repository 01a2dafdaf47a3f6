//! What a backend is asked about.

use fanfare_engine::backend::Question;

/// The kinds of questions, each with an endpoint of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Connect,
    Refresh,
    Rpc,
    Send,
    Subscribe,
    Publish,
    SubRefresh,
    /// Not of a connection, but of the relay.
    TurnUser,
    /// Not a question: what becomes of allocations.
    TurnAllocation,
}

impl Event {
    pub(crate) const COUNT: usize = 9;

    /// By their indices.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Connect,
        Self::Refresh,
        Self::Rpc,
        Self::Send,
        Self::Subscribe,
        Self::Publish,
        Self::SubRefresh,
        Self::TurnUser,
        Self::TurnAllocation,
    ];

    pub(super) fn of(question: &Question) -> Self {
        match question {
            Question::Connect(..) => Self::Connect,
            Question::Refresh(..) => Self::Refresh,
            Question::Rpc(..) => Self::Rpc,
            Question::Send(..) => Self::Send,
            Question::Subscribe(..) => Self::Subscribe,
            Question::Publish(..) => Self::Publish,
            Question::SubRefresh(..) => Self::SubRefresh,
        }
    }

    /// As settings, metrics and logs call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refresh => "refresh",
            Self::Rpc => "rpc",
            Self::Send => "send",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::SubRefresh => "sub_refresh",
            Self::TurnUser => "turn_user",
            Self::TurnAllocation => "turn_allocation",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}
