//! JSON Web Tokens of clients (RFC 7519), with the claims of Centrifugo, so that services which already make
//! tokens need not change.
//!
//! An algorithm belongs to a key, never to the token: the token's header only selects among the keys that are
//! configured, and a key verifies nothing but its own family (RFC 8725 sections 3.1 and 3.2). `none` is no
//! algorithm here.

mod authority;
mod claims;
mod keys;
mod mint;

pub(crate) use authority::TokenAuthority;
pub(crate) use claims::{CapabilityClaim, Right as RightClaim, rights};
pub(crate) use keys::KeySet;
pub(crate) use mint::{Minted, mint};
