//! Who must not notice what others do.

use std::net::SocketAddr;

use fanfare_engine::Engine;

use super::{Client, push};

/// A member that hears everything, however the others behave.
#[derive(Debug)]
pub struct Bystander(pub Client, u64);

impl Bystander {
    pub fn new(addr: SocketAddr) -> Self {
        let mut client = Client::connect(addr, "bystander");
        client.join("news");
        Self(client, 0)
    }

    pub fn is_undisturbed(&mut self, engine: &Engine) {
        self.1 += 1;
        assert_eq!(push(engine, "news", "still").position.offset, self.1);
        assert_eq!(self.0.publication(), (self.1, b"still".to_vec()));
    }
}
