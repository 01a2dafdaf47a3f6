//! The numbers by which the protocol says why. Numbers, texts and ranges are Centrifugo's, so that SDKs act on them as
//! their authors meant.

/// Why a command failed; the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(u16);

impl ErrorCode {
    /// Something went wrong in the server; trying again may help.
    pub const INTERNAL: Self = Self(100);
    /// The request is not authorised.
    pub const UNAUTHORIZED: Self = Self(101);
    /// The channel, or its namespace, does not exist.
    pub const UNKNOWN_CHANNEL: Self = Self(102);
    /// Access is not allowed.
    pub const PERMISSION_DENIED: Self = Self(103);
    /// The method does not exist.
    pub const METHOD_NOT_FOUND: Self = Self(104);
    /// The client is already in the channel.
    pub const ALREADY_SUBSCRIBED: Self = Self(105);
    /// A limit is exceeded.
    pub const LIMIT_EXCEEDED: Self = Self(106);
    /// The request is malformed; trying again does not help.
    pub const BAD_REQUEST: Self = Self(107);
    /// The feature is not enabled.
    pub const NOT_AVAILABLE: Self = Self(108);
    /// The token has expired: get a new one and try again.
    pub const TOKEN_EXPIRED: Self = Self(109);
    /// The connection has expired, and no token is involved.
    pub const EXPIRED: Self = Self(110);
    /// Too many requests; trying again later helps.
    pub const TOO_MANY_REQUESTS: Self = Self(111);
    /// The history no longer holds what was asked for, or is of another epoch.
    pub const UNRECOVERABLE_POSITION: Self = Self(112);

    /// A code of the application, 400 to 1999.
    #[must_use]
    pub const fn custom(code: u16) -> Option<Self> {
        match code {
            400..=1999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The code with this number, whoever gave it out.
    #[must_use]
    pub const fn numbered(number: u16) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The text that goes with it; empty for an application's.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::INTERNAL => "internal server error",
            Self::UNAUTHORIZED => "unauthorized",
            Self::UNKNOWN_CHANNEL => "unknown channel",
            Self::PERMISSION_DENIED => "permission denied",
            Self::METHOD_NOT_FOUND => "method not found",
            Self::ALREADY_SUBSCRIBED => "already subscribed",
            Self::LIMIT_EXCEEDED => "limit exceeded",
            Self::BAD_REQUEST => "bad request",
            Self::NOT_AVAILABLE => "not available",
            Self::TOKEN_EXPIRED => "token expired",
            Self::EXPIRED => "expired",
            Self::TOO_MANY_REQUESTS => "too many requests",
            Self::UNRECOVERABLE_POSITION => "unrecoverable position",
            _ => "",
        }
    }

    /// Whether SDKs repeat the request by themselves.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::INTERNAL | Self::TOO_MANY_REQUESTS)
    }
}

/// Why a connection was closed: the code of the WebSocket close frame, or of a disconnect push.
///
/// SDKs connect again after 3000 to 3499 and 4000 to 4499, and stay away after 3500 to 3999 and 4500 to 4999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DisconnectCode(u16);

impl DisconnectCode {
    /// The connection ended without a word from the server.
    pub const CONNECTION_CLOSED: Self = Self(3000);
    /// The server is stopping.
    pub const SHUTDOWN: Self = Self(3001);
    /// Something went wrong in the server.
    pub const SERVER_ERROR: Self = Self(3004);
    /// The connection's token has expired.
    pub const EXPIRED: Self = Self(3005);
    /// A subscription's token has expired.
    pub const SUBSCRIPTION_EXPIRED: Self = Self(3006);
    /// The client reads too slowly.
    pub const SLOW: Self = Self(3008);
    /// Writing to the connection failed.
    pub const WRITE_ERROR: Self = Self(3009);
    /// The client's position in a channel is wrong; coming back recovers it.
    pub const INSUFFICIENT_STATE: Self = Self(3010);
    /// A service asked for it, and wants the client back.
    pub const FORCE_RECONNECT: Self = Self(3011);
    /// A ping went unanswered.
    pub const NO_PONG: Self = Self(3012);
    /// The client sends too many commands.
    pub const TOO_MANY_REQUESTS: Self = Self(3013);
    /// The token is invalid.
    pub const INVALID_TOKEN: Self = Self(3500);
    /// The client sent something malformed.
    pub const BAD_REQUEST: Self = Self(3501);
    /// The client did not introduce itself in time.
    pub const STALE: Self = Self(3502);
    /// A service asked for it, and does not want the client back.
    pub const FORCE_NO_RECONNECT: Self = Self(3503);
    /// A limit on connections is reached.
    pub const CONNECTION_LIMIT: Self = Self(3504);
    /// A limit on channels is reached.
    pub const CHANNEL_LIMIT: Self = Self(3505);
    /// The data does not fit the connection's encoding.
    pub const INAPPROPRIATE_PROTOCOL: Self = Self(3506);
    /// The client may not do this.
    pub const PERMISSION_DENIED: Self = Self(3507);
    /// What the client sent without wanting an answer is not enabled.
    pub const NOT_AVAILABLE: Self = Self(3508);
    /// The client caused too many errors.
    pub const TOO_MANY_ERRORS: Self = Self(3509);

    /// A code of the application, 4000 to 4999.
    #[must_use]
    pub const fn custom(code: u16) -> Option<Self> {
        match code {
            4000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The code with this number, whoever gave it out.
    #[must_use]
    pub const fn numbered(number: u16) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The text that goes with it; empty for an application's.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::CONNECTION_CLOSED => "connection closed",
            Self::SHUTDOWN => "shutdown",
            Self::SERVER_ERROR => "internal server error",
            Self::EXPIRED => "connection expired",
            Self::SUBSCRIPTION_EXPIRED => "subscription expired",
            Self::SLOW => "slow",
            Self::WRITE_ERROR => "write error",
            Self::INSUFFICIENT_STATE => "insufficient state",
            Self::FORCE_RECONNECT => "force reconnect",
            Self::NO_PONG => "no pong",
            Self::TOO_MANY_REQUESTS => "too many requests",
            Self::INVALID_TOKEN => "invalid token",
            Self::BAD_REQUEST => "bad request",
            Self::STALE => "stale",
            Self::FORCE_NO_RECONNECT => "force disconnect",
            Self::CONNECTION_LIMIT => "connection limit",
            Self::CHANNEL_LIMIT => "channel limit",
            Self::INAPPROPRIATE_PROTOCOL => "inappropriate protocol",
            Self::PERMISSION_DENIED => "permission denied",
            Self::NOT_AVAILABLE => "not available",
            Self::TOO_MANY_ERRORS => "too many errors",
            _ => "",
        }
    }

    /// Whether SDKs connect again by themselves.
    #[must_use]
    pub const fn asks_to_reconnect(self) -> bool {
        !matches!(self.0, 3500..=3999 | 4500..=4999)
    }
}

/// Why a client was taken out of a channel. SDKs subscribe again by themselves from 2500 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnsubscribeCode(u16);

impl UnsubscribeCode {
    /// The client asked for it; never sent over Centrifuge, the answer to a native request.
    pub const CLIENT: Self = Self(0);
    /// The connection ended; never sent.
    pub const DISCONNECT: Self = Self(1);
    /// A service asked for it.
    pub const SERVER: Self = Self(2000);
    /// The client's position in the channel is wrong; subscribing again recovers it.
    pub const INSUFFICIENT_STATE: Self = Self(2500);
    /// The subscription's token has expired.
    pub const EXPIRED: Self = Self(2501);

    /// A code of the application, 2100 to 2499 or 2600 to 2999.
    #[must_use]
    pub const fn custom(code: u16) -> Option<Self> {
        match code {
            2100..=2499 | 2600..=2999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The text that goes with it; empty for an application's.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::CLIENT => "client unsubscribed",
            Self::DISCONNECT => "client disconnected",
            Self::SERVER => "server unsubscribe",
            Self::INSUFFICIENT_STATE => "insufficient state",
            Self::EXPIRED => "subscription expired",
            _ => "",
        }
    }

    /// Whether SDKs subscribe again by themselves.
    #[must_use]
    pub const fn asks_to_resubscribe(self) -> bool {
        self.0 >= 2500
    }
}
