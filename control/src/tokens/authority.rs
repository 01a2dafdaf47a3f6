//! What the engine asks about tokens.

use std::collections::HashSet;

use fanfare_engine::{Authority, Denied, EXPIRY_GRACE_S, Grant, SubscriptionGrant};
use jsonwebtoken::{Validation, decode, decode_header};
use serde::de::DeserializeOwned;

use super::claims::{ConnectionClaims, NumericDate, SubscriptionClaims};
use super::keys::KeySet;
use crate::api_keys::ApiKeys;
use crate::config::TokenSettings;

/// Believes tokens that one of its keys signed, and services that know an API key.
#[derive(Debug)]
pub(crate) struct TokenAuthority {
    keys: KeySet,
    service_keys: ApiKeys,
    audience: Option<HashSet<String>>,
    issuer: Option<HashSet<String>>,
    leeway_seconds: u64,
    requires_expiry: bool,
}

impl TokenAuthority {
    pub(crate) fn new(keys: KeySet, service_keys: ApiKeys, settings: &TokenSettings) -> Self {
        let one = |value: &Option<String>| value.clone().map(|value| HashSet::from([value]));
        Self {
            keys,
            service_keys,
            audience: one(&settings.audience),
            issuer: one(&settings.issuer),
            leeway_seconds: settings.leeway.0.as_secs(),
            requires_expiry: settings.require_expiry,
        }
    }

    /// Checks signature, audience and issuer, and reads the claims. Says why not only to the log: to a client
    /// it would be a hint.
    fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, Denied> {
        let refuse = |reason: &dyn std::fmt::Display| {
            tracing::debug!(%reason, "token refused");
            Denied::Invalid
        };
        let header = decode_header(token).map_err(|error| refuse(&error))?;
        // RFC 7515 section 4.1.11: extensions listed here must be understood, and none is.
        if header.crit.is_some() {
            return Err(refuse(&"its header has critical extensions"));
        }
        let key = self
            .keys
            .of(header.alg)
            .ok_or_else(|| refuse(&"no key is configured for its algorithm"))?;
        let mut validation = Validation::new(header.alg);
        validation.algorithms = key.algorithms.to_vec();
        // Times are checked below, against the engine's clock.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.validate_aud = self.audience.is_some();
        validation.aud.clone_from(&self.audience);
        validation.iss.clone_from(&self.issuer);
        if self.audience.is_some() {
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if self.issuer.is_some() {
            validation.required_spec_claims.insert("iss".to_owned());
        }
        let token =
            decode::<T>(token, &key.decoding, &validation).map_err(|error| refuse(&error))?;
        Ok(token.claims)
    }

    /// Whether `now` is in the time of the token, and when what it grants ends.
    fn check_times(
        &self,
        exp: Option<NumericDate>,
        nbf: Option<NumericDate>,
        expire_at: Option<NumericDate>,
        now: u64,
    ) -> Result<Option<u64>, Denied> {
        if nbf.is_some_and(|NumericDate(from)| from > now.saturating_add(self.leeway_seconds)) {
            tracing::debug!("token refused: it is not valid yet");
            return Err(Denied::Invalid);
        }
        if exp.is_none() && self.requires_expiry {
            tracing::debug!("token refused: it has no exp, and token.require_expiry is set");
            return Err(Denied::Invalid);
        }
        // What it grants ends when it says, and clients are told so: their time to refresh is what the engine adds. Of a
        // longer leeway the rest is added here, or what is accepted would be closed at once.
        let is_over = |NumericDate(at): NumericDate| at.saturating_add(self.leeway_seconds) <= now;
        if exp.is_some_and(is_over) {
            return Err(Denied::Expired);
        }
        let ends_at = match expire_at {
            None => exp,
            Some(NumericDate(0)) => None,
            Some(at) => Some(at),
        };
        if ends_at.is_some_and(is_over) {
            return Err(Denied::Expired);
        }
        let more = self.leeway_seconds.saturating_sub(EXPIRY_GRACE_S);
        Ok(ends_at.map(|NumericDate(at)| at.saturating_add(more)))
    }
}

impl Authority for TokenAuthority {
    fn connect(&self, token: &str, now: u64) -> Result<Grant, Denied> {
        if self.service_keys.contains(token) {
            return Ok(Grant {
                is_service: true,
                ..Grant::default()
            });
        }
        let claims: ConnectionClaims = self.verify(token)?;
        if claims.is_for_a_subscription() || claims.sub.is_empty() {
            tracing::debug!("token refused: it is for a subscription, or names no user");
            return Err(Denied::Invalid);
        }
        let expires_at = self.check_times(claims.exp, claims.nbf, claims.expire_at, now)?;
        let invalid = |error| {
            tracing::debug!(reason = %error, "token refused");
            Denied::Invalid
        };
        Ok(Grant {
            expires_at,
            info: claims.info().map_err(invalid)?,
            capabilities: claims.capabilities().map_err(invalid)?,
            rooms: claims.rooms(),
            room_data: claims.room_data().map_err(invalid)?,
            user: claims.sub,
            is_service: false,
        })
    }

    fn subscribe(
        &self,
        token: &str,
        user: &str,
        room: &str,
        now: u64,
    ) -> Result<SubscriptionGrant, Denied> {
        let claims: SubscriptionClaims = self.verify(token)?;
        let expires_at = self.check_times(claims.exp, claims.nbf, claims.expire_at, now)?;
        if *claims.sub != *user || *claims.channel != *room {
            return Err(Denied::NotPermitted);
        }
        if claims.has_overrides() {
            tracing::debug!("token refused: override is not supported");
            return Err(Denied::Invalid);
        }
        let info = claims.info().map_err(|_| Denied::Invalid)?;
        Ok(SubscriptionGrant {
            expires_at,
            info,
            rights: claims.rights(),
        })
    }
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
