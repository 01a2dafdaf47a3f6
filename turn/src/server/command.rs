//! What a thread of the relay is told from outside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::directory::Said;
use crate::relay::{Access, AllocationInfo, Drain};

/// What a thread is told.
#[derive(Debug, Clone)]
pub(super) enum Command {
    SetAccess(Access),
    SetDrain(Option<Drain>),
    SetTls(Option<Arc<rustls::ServerConfig>>),
    List(Sender<Vec<AllocationInfo>>),
    /// Ends the allocation with this relayed address, and says whether there was one.
    End(SocketAddr, Sender<bool>),
    /// What a directory says of a user.
    Learn(Box<[u8]>, Said),
    Stop,
}
