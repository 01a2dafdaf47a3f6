//! Makes connection tokens, for trying things out and for the tools of this program.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

use super::keys::{KeyError, hmac_secret};
use crate::config::{Secret, Settings};
use crate::exit::Failure;
use crate::secrets;

/// What a token is to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Minted<'a> {
    pub(crate) user: &'a str,
    pub(crate) ttl: Duration,
    /// Rooms that may be subscribed to and looked into; a `*` at the end stands for any ending.
    pub(crate) rooms: &'a [String],
    /// Whether they may be published to, as well.
    pub(crate) may_publish: bool,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    caps: Vec<Capability<'a>>,
}

#[derive(Serialize)]
struct Capability<'a> {
    channels: &'a [String],
    #[serde(rename = "match")]
    matching: &'static str,
    allow: &'static [&'static str],
}

/// Signs a token that a server with these settings believes.
pub(crate) fn mint(settings: &Settings, minted: &Minted<'_>) -> Result<String, Failure> {
    let secret = signing_secret(settings)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let allow: &[&str] = match minted.may_publish {
        true => &["sub", "hst", "prs", "pub"],
        false => &["sub", "hst", "prs"],
    };
    let capability = Capability {
        channels: minted.rooms,
        matching: "wildcard",
        allow,
    };
    let claims = Claims {
        sub: minted.user,
        iat: now,
        exp: now.saturating_add(minted.ttl.as_secs()),
        aud: settings.token.audience.as_deref(),
        iss: settings.token.issuer.as_deref(),
        caps: if minted.rooms.is_empty() {
            Vec::new()
        } else {
            vec![capability]
        },
    };
    let key = EncodingKey::from_secret(secret.reveal().as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map_err(|error| Failure::internal(format!("cannot sign a token: {error}")))
}

/// The configured HMAC secret, or the generated one if the server uses that.
fn signing_secret(settings: &Settings) -> Result<Secret, Failure> {
    let token = &settings.token;
    if let Some(secret) = hmac_secret(token).map_err(|error: KeyError| Failure::config(error))? {
        return Ok(secret);
    }
    if token.has_public_key() {
        return Err(Failure::config(
            "the configuration verifies tokens with public keys only: make the token with your private key, \
             and pass it with --token where it is needed",
        ));
    }
    Ok(secrets::read(&settings.data_dir)?.token_hmac_secret)
}
