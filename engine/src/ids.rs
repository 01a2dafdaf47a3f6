//! Names of shards and connections.

use crate::api::ClientId;

/// A shard: a thread with its ring, and the index into every per-shard table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// As an index.
    pub(crate) const fn ix(self) -> usize {
        self.0 as usize
    }
}

/// A connection anywhere in the process: `shard:16 | generation:24 | slot:24`.
///
/// Tables hold at most 2^20 slots (the kernel's limit for registered files), so 24 bits suffice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnRef(u64);

impl ConnRef {
    const SLOT_BITS: u32 = 24;
    const SLOT_MASK: u64 = (1 << Self::SLOT_BITS) - 1;

    /// The connection of this generation in this slot of this shard.
    #[must_use]
    pub const fn new(shard: ShardId, generation: u32, slot: u32) -> Self {
        debug_assert!(slot as u64 <= Self::SLOT_MASK);
        Self(
            (shard.0 as u64) << 48
                | (generation as u64 & 0xff_ffff) << Self::SLOT_BITS
                | slot as u64,
        )
    }

    /// As a number, and back.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Where it lives.
    #[must_use]
    pub const fn shard(self) -> ShardId {
        ShardId((self.0 >> 48) as u16)
    }

    /// Which of the slot's connections it is.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> Self::SLOT_BITS & 0xff_ffff) as u32
    }

    /// Its direct descriptor.
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 & Self::SLOT_MASK) as u32
    }

    /// Its public name, given its second half.
    #[must_use]
    pub const fn client_id(self, nonce: u64) -> ClientId {
        ClientId((self.0 as u128) << 64 | nonce as u128)
    }
}

impl std::fmt::Debug for ConnRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/{}.{}",
            self.shard().0,
            self.slot(),
            self.generation()
        )
    }
}

impl ClientId {
    /// The connection it names, if it still is that one.
    #[must_use]
    pub const fn conn(self) -> ConnRef {
        ConnRef((self.0 >> 64) as u64)
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::str::FromStr for ClientId {
    type Err = NotAClientId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotAClientId);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| NotAClientId)
    }
}

/// The text is not a [`ClientId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client id is 32 hexadecimal digits")]
pub struct NotAClientId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_names_its_connection() {
        let conn = ConnRef::new(ShardId(65_535), 0xff_fffe, (1 << 20) - 1);
        assert_eq!(
            (conn.shard(), conn.generation(), conn.slot()),
            (ShardId(65_535), 0xff_fffe, (1 << 20) - 1)
        );
        let id = conn.client_id(u64::MAX - 1);
        let read: ClientId = id.to_string().parse().expect("its own text");
        assert_eq!((read, read.conn()), (id, conn));
        assert!(
            "+0000000000000000000000000000000"
                .parse::<ClientId>()
                .is_err()
        );
    }
}
