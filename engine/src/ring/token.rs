//! The numbers that travel through the ring: slots and tokens.

/// A direct descriptor: an index into the ring's fixed-file table, and of the connection that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// Names an operation in flight: `kind:8 | generation:24 | index:32`.
///
/// The generation tells a late completion of a connection that has gone from one of its successor in the same
/// slot. Kinds from [`Token::KIND_RESERVED`] up belong to the ring itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

impl Token {
    /// The first of the kinds that ring implementations use for themselves.
    pub const KIND_RESERVED: u8 = 0x40;

    /// A kind of a receive's poll, and of what follows from it, is this and the receive's kind.
    const KIND_POLL: u8 = 0x40;
    const KIND_RECEIVE: u8 = 0x80;
    const KIND_PARTS: u8 = Self::KIND_POLL | Self::KIND_RECEIVE;

    /// Generations count modulo 2^24.
    pub const GENERATION_MASK: u32 = 0x00ff_ffff;

    /// Packs a token; the generation is taken modulo 2^24.
    #[must_use]
    pub const fn new(kind: u8, generation: u32, index: u32) -> Self {
        let generation = (generation & Self::GENERATION_MASK) as u64;
        Self((kind as u64) << 56 | generation << 32 | index as u64)
    }

    /// All of it but the index.
    pub(super) const fn name(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The token of this receive's poll.
    pub(super) const fn of_poll(self) -> Self {
        Self(self.0 | (Self::KIND_POLL as u64) << 56)
    }

    /// The token of what receives when its poll fires.
    pub(super) const fn of_receive(self) -> Self {
        Self(self.0 | (Self::KIND_RECEIVE as u64) << 56)
    }

    /// Whose part the token is.
    pub(super) const fn whole(self) -> Self {
        Self(self.0 & !((Self::KIND_PARTS as u64) << 56))
    }

    /// Whether it is that of a receive's poll.
    pub(super) const fn is_poll(self) -> bool {
        self.kind() & Self::KIND_PARTS == Self::KIND_POLL
    }

    /// Whether it is that of what receives when a poll fires.
    pub(super) const fn is_receive(self) -> bool {
        self.kind() & Self::KIND_PARTS == Self::KIND_RECEIVE
    }

    /// What the operation is; its meaning is its owner's.
    #[must_use]
    pub const fn kind(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The generation it was made with, modulo 2^24.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & Self::GENERATION_MASK
    }

    /// The index it was made with.
    #[must_use]
    pub const fn index(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}
