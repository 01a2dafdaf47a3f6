//! Who may do what: the question the engine asks and whoever embeds it answers.

use crate::api::Payload;

/// Decides about connections and subscriptions. Called on shard threads, once per connection and once per
/// subscription that brings a token, so it must not block.
pub trait Authority: Send + Sync + 'static {
    /// Checks the token of a connection. `now` is Unix time in seconds.
    ///
    /// # Errors
    /// Why the token is not accepted.
    fn connect(&self, token: &str, now: u64) -> Result<Grant, Denied>;

    /// Checks a subscription token for exactly this user and room.
    ///
    /// # Errors
    /// Why the token is not accepted.
    fn subscribe(
        &self,
        token: &str,
        user: &str,
        room: &str,
        now: u64,
    ) -> Result<SubscriptionGrant, Denied>;
}

/// What an accepted connection token grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// The user's name; empty for an anonymous connection.
    pub user: Box<str>,
    /// Unix time in seconds at which the grant ends, unless refreshed.
    pub expires_at: Option<u64>,
    /// JSON shown to others in presence and in publications of this client.
    pub info: Option<Box<str>>,
    /// What is granted by name, over what the namespaces allow.
    pub capabilities: Vec<Capability>,
    /// Rooms the connection is subscribed to by the server.
    pub rooms: Vec<Box<str>>,
    /// Data for the client with its subscription to some of these.
    pub room_data: Vec<(Box<str>, Payload)>,
    /// A service: may do everything in every room, and is not counted as a user.
    pub is_service: bool,
}

/// Rights on some rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// Names of rooms; a name that ends in `*` stands for every name that begins so.
    pub rooms: Vec<Box<str>>,
    /// What may be done in them.
    pub rights: Rights,
}

/// A set of rights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights {
    /// Subscribe.
    pub subscribe: bool,
    /// Publish.
    pub publish: bool,
    /// Read the presence.
    pub presence: bool,
    /// Read the history.
    pub history: bool,
}

/// What an accepted subscription token grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionGrant {
    /// Unix time in seconds at which the subscription ends, unless refreshed.
    pub expires_at: Option<u64>,
    /// JSON shown to others as channel info.
    pub info: Option<Box<str>>,
    /// Further rights in the room.
    pub rights: Rights,
}

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not a token of ours: malformed, wrong key or algorithm, wrong audience or issuer.
    #[error("the token is invalid")]
    Invalid,
    /// It was one, and its time has passed.
    #[error("the token has expired")]
    Expired,
    /// A valid token that does not speak of this user or room.
    #[error("the token does not permit this")]
    NotPermitted,
}
