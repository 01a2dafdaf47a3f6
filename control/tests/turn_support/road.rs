//! Ways to the relay.

/// How a client comes to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    Udp,
    Tcp,
    Tls,
    /// Over UDP, to its address of IPv6.
    UdpV6,
}

impl Road {
    /// The name that the statistics of browsers have for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Udp | Self::UdpV6 => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The address that belongs to it.
    pub(crate) const fn host(self) -> &'static str {
        match self {
            Self::UdpV6 => "::1",
            Self::Udp | Self::Tcp | Self::Tls => "127.0.0.1",
        }
    }

    /// The port in the URL that the API gives, if that is the one of this road.
    pub(crate) fn port_in(self, url: &str) -> Option<u16> {
        let (before, after) = match self {
            Self::Udp => ("turn:127.0.0.1:", "?transport=udp"),
            Self::Tcp => ("turn:127.0.0.1:", "?transport=tcp"),
            Self::Tls => ("turns:127.0.0.1:", "?transport=tcp"),
            Self::UdpV6 => ("turn:[::1]:", "?transport=udp"),
        };
        let port = url.strip_prefix(before)?.strip_suffix(after)?;
        port.parse().ok()
    }
}
