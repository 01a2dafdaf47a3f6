//! Types of attributes.

/// The type of an attribute. Below 0x8000 a receiver that does not know it must refuse the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

impl AttributeType {
    // RFC 8489 section 18.3.
    /// An address, as it is.
    pub const MAPPED_ADDRESS: Self = Self(0x0001);
    /// Who asks: up to 509 bytes of UTF-8.
    pub const USERNAME: Self = Self(0x0006);
    /// 20 bytes.
    pub const MESSAGE_INTEGRITY: Self = Self(0x0008);
    /// What was wrong, as a number and in words.
    pub const ERROR_CODE: Self = Self(0x0009);
    /// Types that were not known.
    pub const UNKNOWN_ATTRIBUTES: Self = Self(0x000a);
    /// What user names belong to.
    pub const REALM: Self = Self(0x0014);
    /// What the server wants to see again.
    pub const NONCE: Self = Self(0x0015);
    /// 16 to 32 bytes, a multiple of 4.
    pub const MESSAGE_INTEGRITY_SHA256: Self = Self(0x001c);
    /// How the client made its key.
    pub const PASSWORD_ALGORITHM: Self = Self(0x001d);
    /// SHA-256 of user name and realm, in place of USERNAME.
    pub const USERHASH: Self = Self(0x001e);
    /// An address, hidden from middle boxes that rewrite addresses.
    pub const XOR_MAPPED_ADDRESS: Self = Self(0x0020);
    /// How a client may make its key.
    pub const PASSWORD_ALGORITHMS: Self = Self(0x8002);
    /// A domain that the certificate of an alternate server is for.
    pub const ALTERNATE_DOMAIN: Self = Self(0x8003);
    /// Who made this.
    pub const SOFTWARE: Self = Self(0x8022);
    /// Where to go instead.
    pub const ALTERNATE_SERVER: Self = Self(0x8023);
    /// CRC-32 of what is before, exclusive-or 0x5354554e.
    pub const FINGERPRINT: Self = Self(0x8028);

    // RFC 8656 section 18.
    /// The number of a channel.
    pub const CHANNEL_NUMBER: Self = Self(0x000c);
    /// Seconds.
    pub const LIFETIME: Self = Self(0x000d);
    /// Whom data is for or from.
    pub const XOR_PEER_ADDRESS: Self = Self(0x0012);
    /// What is relayed.
    pub const DATA: Self = Self(0x0013);
    /// The address that was allocated.
    pub const XOR_RELAYED_ADDRESS: Self = Self(0x0016);
    /// IPv4 or IPv6.
    pub const REQUESTED_ADDRESS_FAMILY: Self = Self(0x0017);
    /// An even port, and perhaps the one after it.
    pub const EVEN_PORT: Self = Self(0x0018);
    /// UDP or TCP.
    pub const REQUESTED_TRANSPORT: Self = Self(0x0019);
    /// Fragments are not wanted.
    pub const DONT_FRAGMENT: Self = Self(0x001a);
    /// For the port that was kept.
    pub const RESERVATION_TOKEN: Self = Self(0x0022);
    /// IPv6 too.
    pub const ADDITIONAL_ADDRESS_FAMILY: Self = Self(0x8000);
    /// The same, as drafts of RFC 8656 had it, and coturn's clients still have.
    pub const ADDITIONAL_ADDRESS_FAMILY_DRAFT: Self = Self(0x8032);
    /// What came of the other family.
    pub const ADDRESS_ERROR_CODE: Self = Self(0x8001);
    /// An error that the network told of.
    pub const ICMP: Self = Self(0x8004);

    // RFC 6062 section 6.
    /// A connection to a peer.
    pub const CONNECTION_ID: Self = Self(0x002a);

    /// A message with one of these that is not known must be refused (RFC 8489 section 14).
    #[must_use]
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}
