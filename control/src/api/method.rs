//! The methods of the API.

/// A method, as in `/api/<method>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Publish,
    Broadcast,
    Batch,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Presence,
    PresenceStats,
    History,
    HistoryRemove,
    Channels,
    Info,
    PushUser,
    PushConnection,
    PushAll,
    TurnCredentials,
    TurnAllocations,
    TurnDisconnect,
}

impl Method {
    pub(super) const ALL: [Self; 18] = [
        Self::Publish,
        Self::Broadcast,
        Self::Batch,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Disconnect,
        Self::Presence,
        Self::PresenceStats,
        Self::History,
        Self::HistoryRemove,
        Self::Channels,
        Self::Info,
        Self::PushUser,
        Self::PushConnection,
        Self::PushAll,
        Self::TurnCredentials,
        Self::TurnAllocations,
        Self::TurnDisconnect,
    ];

    /// The method of this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }

    /// The name in paths, in batches, and as the label of metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Broadcast => "broadcast",
            Self::Batch => "batch",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Disconnect => "disconnect",
            Self::Presence => "presence",
            Self::PresenceStats => "presence_stats",
            Self::History => "history",
            Self::HistoryRemove => "history_remove",
            Self::Channels => "channels",
            Self::Info => "info",
            Self::PushUser => "push_user",
            Self::PushConnection => "push_connection",
            Self::PushAll => "push_all",
            Self::TurnCredentials => "turn_credentials",
            Self::TurnAllocations => "turn_allocations",
            Self::TurnDisconnect => "turn_disconnect",
        }
    }

    /// The label of what was asked for; one for all that is no method, for metrics keep every label.
    pub(super) fn label(method: Option<Self>) -> &'static str {
        method.map_or("unknown", Self::as_str)
    }
}
