//! The certificate of the relay.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TurnError;
use crate::config::TurnSettings;

/// Reads certificate and key, if they are configured.
pub(super) fn configured(
    settings: &TurnSettings,
) -> Result<Option<Arc<rustls::ServerConfig>>, TurnError> {
    let (Some(certificate), Some(key)) = (&settings.certificate_file, &settings.key_file) else {
        return Ok(None);
    };
    let refuse = |path: &Path, why: &dyn std::fmt::Display| {
        TurnError::Config(format!("{}: {why}", path.display()))
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| refuse(certificate, &error))?;
    if certificates.is_empty() {
        return Err(refuse(certificate, &"holds no certificate in PEM"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| refuse(key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|error| refuse(key, &error))?;
    // Asked for by few; who asks is answered (RFC 7443).
    config.alpn_protocols = vec![b"stun.turn".to_vec(), b"stun.nat-discovery".to_vec()];
    Ok(Some(Arc::new(config)))
}
