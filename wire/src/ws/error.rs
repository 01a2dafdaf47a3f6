use super::close::code;

/// Why a peer's bytes are not a WebSocket message this side accepts.
///
/// Each one is final: the decoder gives no event after it, and the connection is to be closed with [`Error::close_code`]
/// (RFC 6455 section 7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// RSV1, RSV2 or RSV3 is set where no negotiated extension gives it a meaning (section 5.2). permessage-deflate gives one
    /// to RSV1 on the first frame of a text or binary message alone (RFC 7692 section 6).
    #[error("a reserved bit is set where no negotiated extension gives it a meaning")]
    ReservedBits,
    /// Opcodes 3-7 and 11-15 are reserved (section 5.2).
    #[error("opcode {0} is reserved")]
    ReservedOpcode(u8),
    /// A client must mask every frame (section 5.1).
    #[error("the frame is not masked; a client must mask every frame")]
    Unmasked,
    /// A server must not mask (section 5.1).
    #[error("the frame is masked; a server must not mask")]
    Masked,
    /// Control frames carry at most 125 bytes (section 5.5).
    #[error("a control frame declares more than 125 bytes")]
    ControlTooLong,
    /// Control frames cannot be fragmented (section 5.5).
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// The shortest form of the payload length must be used (section 5.2).
    #[error("the payload length is not in its shortest form")]
    LengthNotMinimal,
    /// The most significant bit of a 64-bit payload length must be 0 (section 5.2).
    #[error("the top bit of a 64-bit payload length is set")]
    LengthTopBit,
    /// A continuation frame came though no message was begun (section 5.4).
    #[error("a continuation frame came with no message to continue")]
    NothingToContinue,
    /// A text or binary frame came before the fragmented message ended (section 5.4).
    #[error("a new message began before the fragmented one ended")]
    MessageUnfinished,
    /// A Close payload holds no code, or one of two bytes or more (section 5.5.1).
    #[error("a close frame carries a single byte")]
    CloseTruncated,
    /// The code is undefined or must not appear in a frame (section 7.4).
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
    /// Text messages and close reasons are UTF-8 (sections 5.6, 5.5.1).
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// A compressed message is not a DEFLATE stream that ends where the message does (RFC 7692 section 7.2.2).
    #[error("a compressed message does not hold a whole DEFLATE stream")]
    InvalidDeflate,
    /// The declared length, added to the fragments before it, or what a compressed message inflates to, passes
    /// [`Limits::message_bytes_max`](super::Limits).
    #[error("the message is larger than the {max_bytes} bytes allowed")]
    MessageTooBig {
        /// The limit that was in force.
        max_bytes: u32,
    },
    /// More frames in one message than [`Limits::fragments_max`](super::Limits), empty ones included.
    #[error("the message has more than the {max} fragments allowed")]
    TooManyFragments {
        /// The limit that was in force.
        max: u32,
    },
}

impl Error {
    /// The status code to close with (RFC 6455 section 7.4.1).
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate => code::INVALID_PAYLOAD,
            Self::MessageTooBig { .. } => code::MESSAGE_TOO_BIG,
            Self::TooManyFragments { .. } => code::POLICY_VIOLATION,
            _ => code::PROTOCOL_ERROR,
        }
    }
}
