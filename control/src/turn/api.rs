//! What the control API says of the relay.

use std::net::SocketAddr;

use fanfare_turn::relay::{AllocationInfo, Transport};
use serde::Serialize;

use super::Minted;

/// Credentials: by themselves, and as the `iceServers` of a page's `RTCPeerConnection`.
#[derive(Debug, Serialize)]
pub(crate) struct CredentialsAnswer {
    username: String,
    password: String,
    /// Seconds.
    ttl: u64,
    uris: Vec<String>,
    ice_servers: [IceServer; 1],
}

#[derive(Debug, Serialize)]
struct IceServer {
    urls: Vec<String>,
    username: String,
    credential: String,
}

impl From<Minted> for CredentialsAnswer {
    fn from(minted: Minted) -> Self {
        Self {
            ice_servers: [IceServer {
                urls: minted.urls.clone(),
                username: minted.username.clone(),
                credential: minted.password.clone(),
            }],
            username: minted.username,
            password: minted.password,
            ttl: minted.ttl.as_secs(),
            uris: minted.urls,
        }
    }
}

/// All allocations.
#[derive(Debug, Serialize)]
pub(crate) struct AllocationsAnswer {
    allocations: Vec<AllocationAnswer>,
}

#[derive(Debug, Serialize)]
struct AllocationAnswer {
    relayed: Vec<SocketAddr>,
    user: String,
    transport: &'static str,
    client: SocketAddr,
    server: SocketAddr,
    /// Seconds until it ends unless the client asks for more.
    expires_in: u32,
    permissions: usize,
    channels: usize,
    to_peers: Carried,
    to_client: Carried,
}

#[derive(Debug, Serialize)]
struct Carried {
    packets: u64,
    bytes: u64,
}

impl From<Vec<AllocationInfo>> for AllocationsAnswer {
    fn from(allocations: Vec<AllocationInfo>) -> Self {
        let of = |it: AllocationInfo| AllocationAnswer {
            relayed: it.relayed,
            user: String::from_utf8_lossy(&it.user).into_owned(),
            transport: match it.client.transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
                Transport::Tls => "tls",
            },
            client: it.client.remote,
            server: it.client.local,
            expires_in: it.seconds_left,
            permissions: it.peers.0,
            channels: it.peers.1,
            to_peers: Carried::from(it.carried[0]),
            to_client: Carried::from(it.carried[1]),
        };
        Self {
            allocations: allocations.into_iter().map(of).collect(),
        }
    }
}

impl From<(u64, u64)> for Carried {
    fn from((packets, bytes): (u64, u64)) -> Self {
        Self { packets, bytes }
    }
}

/// Whether there was an allocation to be ended.
#[derive(Debug, Serialize)]
pub(crate) struct EndedAnswer {
    pub(crate) ended: bool,
}
