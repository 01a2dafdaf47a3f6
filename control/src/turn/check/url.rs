//! Where a relay is, as clients are told (RFC 7064, RFC 7065).

use std::fmt::{self, Display};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

/// How the relay is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// A URL of `stun:`, `turn:` or `turns:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    text: String,
    pub(super) host: String,
    port: u16,
    pub(super) transport: Transport,
    /// It relays, and does not only say where one is.
    pub(super) relays: bool,
}

impl Url {
    /// The address of its host that is tried: the first one.
    pub(super) fn resolve(&self) -> std::io::Result<SocketAddr> {
        let mut found = (self.host.as_str(), self.port).to_socket_addrs()?;
        found
            .next()
            .ok_or_else(|| std::io::Error::other("it has no address"))
    }
}

impl Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("{why}; it should look like turn:turn.example.org:3478?transport=udp")
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(|| wrong("no scheme"))?;
        let (at, query) = rest.split_once('?').unwrap_or((rest, ""));
        let transport = match (scheme, query) {
            ("turn" | "stun", "" | "transport=udp") => Transport::Udp,
            ("turn" | "stun", "transport=tcp") => Transport::Tcp,
            ("turns" | "stuns", "" | "transport=tcp") => Transport::Tls,
            ("turns" | "stuns", "transport=udp") => return Err(wrong("DTLS is not spoken")),
            ("turn" | "stun" | "turns" | "stuns", _) => {
                return Err(wrong("transport is udp or tcp"));
            }
            _ => return Err(wrong("the scheme is turn, turns, stun or stuns")),
        };
        // An address of IPv6 is in brackets, for it has colons of its own.
        let (host, port) = match at.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("no ]"))?;
                (host, rest.strip_prefix(':'))
            }
            None => match at.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (at, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| wrong("the port is no number"))?,
            None if transport == Transport::Tls => 5_349,
            None => 3_478,
        };
        if host.is_empty() || host.contains('/') {
            return Err(wrong("no host"));
        }
        Ok(Self {
            text: text.to_owned(),
            host: host.to_owned(),
            port,
            transport,
            relays: scheme.starts_with("turn"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_how_and_where() {
        for (text, expected) in [
            ("turn:a.example", ("a.example", 3_478, Transport::Udp, true)),
            (
                "stun:192.0.2.1:19302",
                ("192.0.2.1", 19_302, Transport::Udp, false),
            ),
            (
                "turn:[2001:db8::1]:80?transport=tcp",
                ("2001:db8::1", 80, Transport::Tcp, true),
            ),
            ("turns:[::1]", ("::1", 5_349, Transport::Tls, true)),
            (
                "turns:a.example:443?transport=tcp",
                ("a.example", 443, Transport::Tls, true),
            ),
        ] {
            let url: Url = text.parse().expect("a URL");
            let said = (url.host.as_str(), url.port, url.transport, url.relays);
            assert_eq!(said, expected, "{text}");
            assert_eq!(url.to_string(), text);
        }
        for (text, why) in [
            ("a.example", "no scheme"),
            ("http:a.example", "the scheme is"),
            ("turn:", "no host"),
            ("turn://a.example", "no host"),
            ("turn:a.example:http", "the port"),
            ("turn:a.example?transport=sctp", "transport is"),
            ("turns:a.example?transport=udp", "DTLS"),
            ("turn:[::1", "no ]"),
        ] {
            let error = text.parse::<Url>().expect_err(text);
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }
}
