//! The keys that tokens are verified with.

use std::fmt;
use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, DecodingKey};

use crate::config::{Secret, TokenSettings, WeakSecret};

/// RFC 7518 section 3.3.
const RSA_BITS_MIN: usize = 2_048;

/// One key and the algorithms it is good for.
#[derive(Debug)]
pub(crate) struct Key {
    pub(super) decoding: DecodingKey,
    pub(super) algorithms: &'static [Algorithm],
}

/// At most one key of each kind.
#[derive(Debug, Default)]
pub(crate) struct KeySet(Vec<Key>);

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot read {0}: {1}")]
    Read(Source, std::io::Error),
    #[error("{0} {1}")]
    WeakSecret(Source, WeakSecret),
    #[error("{0} is not a public key of its kind in PEM (-----BEGIN PUBLIC KEY-----)")]
    NotAKey(Source),
    #[error(
        "{0} is a private key: it belongs to who makes tokens, and here goes its public half (openssl pkey -pubout)"
    )]
    Private(Source),
    #[error("{0} has {1} bits, and RS256 asks for {RSA_BITS_MIN} or more")]
    ShortKey(Source, usize),
    #[error("{0} is on another curve than P-256 and P-384")]
    UnknownCurve(Source),
}

/// Where a key was found.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    name: &'static str,
    file: Option<PathBuf>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            None => write!(f, "token.{}", self.name),
            Some(file) => write!(f, "token.{}_file {}", self.name, file.display()),
        }
    }
}

impl Source {
    /// The setting's name in its section.
    fn setting(&self) -> String {
        match self.file {
            None => self.name.to_owned(),
            Some(_) => format!("{}_file", self.name),
        }
    }
}

impl KeyError {
    /// The setting that is to blame, in `[token]`.
    pub(crate) fn setting(&self) -> String {
        match self {
            Self::Read(source, _)
            | Self::WeakSecret(source, _)
            | Self::NotAKey(source)
            | Self::Private(source)
            | Self::ShortKey(source, _)
            | Self::UnknownCurve(source) => source.setting(),
        }
    }
}

/// A key as it was configured.
struct Text {
    text: String,
    source: Source,
}

impl KeySet {
    /// The keys of the configuration. Empty when it names none.
    pub(crate) fn configured(settings: &TokenSettings) -> Result<Self, KeyError> {
        let mut keys = Self::default();
        if let Some((secret, source)) = hmac_secret_of(settings)? {
            keys.0.push(Key::hmac(&secret, source)?);
        }
        let (inline, file) = (&settings.rsa_public_key, &settings.rsa_public_key_file);
        if let Some(pem) = inline_or_file("rsa_public_key", inline.as_deref(), file.as_deref())? {
            keys.0.push(Key::rsa(pem)?);
        }
        let (inline, file) = (&settings.ecdsa_public_key, &settings.ecdsa_public_key_file);
        if let Some(pem) = inline_or_file("ecdsa_public_key", inline.as_deref(), file.as_deref())? {
            keys.0.push(Key::ecdsa(pem)?);
        }
        let (inline, file) = (
            &settings.ed25519_public_key,
            &settings.ed25519_public_key_file,
        );
        if let Some(pem) = inline_or_file("ed25519_public_key", inline.as_deref(), file.as_deref())?
        {
            keys.0.push(Key::ed25519(pem)?);
        }
        Ok(keys)
    }

    /// The secret alone, as generated.
    pub(crate) fn hmac(secret: &Secret) -> Result<Self, KeyError> {
        let source = Source {
            name: "hmac_secret",
            file: None,
        };
        Ok(Self(vec![Key::hmac(secret, source)?]))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that may verify this algorithm.
    pub(super) fn of(&self, algorithm: Algorithm) -> Option<&Key> {
        self.0
            .iter()
            .find(|key| key.algorithms.contains(&algorithm))
    }
}

impl Key {
    fn hmac(secret: &Secret, source: Source) -> Result<Self, KeyError> {
        if let Err(problem) = secret.check_length() {
            return Err(KeyError::WeakSecret(source, problem));
        }
        Ok(Self {
            decoding: DecodingKey::from_secret(secret.reveal().as_bytes()),
            algorithms: &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
        })
    }

    fn rsa(pem: Text) -> Result<Self, KeyError> {
        let decoding = pem.public_key(DecodingKey::from_rsa_pem)?;
        let der = decoding.try_get_as_bytes().unwrap_or_default();
        match modulus_bits(der) {
            None => Err(KeyError::NotAKey(pem.source)),
            Some(bits) if bits < RSA_BITS_MIN => Err(KeyError::ShortKey(pem.source, bits)),
            Some(_) => Ok(Self {
                decoding,
                algorithms: &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512],
            }),
        }
    }

    fn ecdsa(pem: Text) -> Result<Self, KeyError> {
        let decoding = pem.public_key(DecodingKey::from_ec_pem)?;
        // An uncompressed point is a byte and two coordinates (SEC 1 section 2.3.3), so its length tells the
        // curve, and the curve the one algorithm (RFC 7518 section 3.4).
        let algorithms: &[Algorithm] = match decoding.try_get_as_bytes().unwrap_or_default().len() {
            65 => &[Algorithm::ES256],
            97 => &[Algorithm::ES384],
            _ => return Err(KeyError::UnknownCurve(pem.source)),
        };
        Ok(Self {
            decoding,
            algorithms,
        })
    }

    fn ed25519(pem: Text) -> Result<Self, KeyError> {
        Ok(Self {
            decoding: pem.public_key(DecodingKey::from_ed_pem)?,
            algorithms: &[Algorithm::EdDSA],
        })
    }
}

impl Text {
    /// Reads PEM. A private key would do as well, and lie on a machine that has no need of it.
    fn public_key(
        &self,
        read: impl FnOnce(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>,
    ) -> Result<DecodingKey, KeyError> {
        if self.text.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private(self.source.clone()));
        }
        read(self.text.as_bytes()).map_err(|_| KeyError::NotAKey(self.source.clone()))
    }
}

/// Bits of the modulus of an `RSAPublicKey` in DER (RFC 8017 appendix A.1.1): a sequence that begins with it.
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let (_, sequence) = der_value(der, 0x30)?;
    let (length, integer) = der_value(sequence, 0x02)?;
    let modulus = integer.get(..length)?;
    let leading_zeros: usize = match modulus {
        [0, first, ..] => 8 + usize::try_from(first.leading_zeros()).ok()?,
        [first, ..] => usize::try_from(first.leading_zeros()).ok()?,
        [] => 0,
    };
    Some((8 * length).saturating_sub(leading_zeros))
}

/// The length of the value that begins here, and what follows its head (X.690 sections 8.1.2 and 8.1.3).
fn der_value(der: &[u8], tag: u8) -> Option<(usize, &[u8])> {
    let (first, rest) = der.strip_prefix(&[tag])?.split_first()?;
    if *first < 0x80 {
        return Some((usize::from(*first), rest));
    }
    let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    let append = |length: usize, byte: &u8| Some(length.checked_mul(256)? + usize::from(*byte));
    Some((length.iter().try_fold(0, append)?, rest))
}

/// The HMAC secret of the configuration, if it has one.
pub(super) fn hmac_secret(settings: &TokenSettings) -> Result<Option<Secret>, KeyError> {
    Ok(hmac_secret_of(settings)?.map(|(secret, _)| secret))
}

fn hmac_secret_of(settings: &TokenSettings) -> Result<Option<(Secret, Source)>, KeyError> {
    let inline = settings.hmac_secret.as_ref().map(Secret::reveal);
    let found = inline_or_file("hmac_secret", inline, settings.hmac_secret_file.as_deref())?;
    Ok(found.map(|Text { text, source }| {
        let secret = Secret::new(text.trim_end_matches(['\r', '\n']));
        (secret, source)
    }))
}

fn inline_or_file(
    name: &'static str,
    inline: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<Text>, KeyError> {
    let source = Source {
        name,
        file: file.filter(|_| inline.is_none()).map(Path::to_owned),
    };
    let text = match (inline, &source.file) {
        (Some(text), _) => text.to_owned(),
        (None, None) => return Ok(None),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return Err(KeyError::Read(source, error)),
        },
    };
    Ok(Some(Text { text, source }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/keys")
            .join(name);
        let settings = TokenSettings {
            rsa_public_key_file: Some(path),
            ..TokenSettings::default()
        };
        let error = KeySet::configured(&settings).expect_err("no public key");
        assert_eq!(error.setting(), "rsa_public_key_file");
        error.to_string()
    }

    #[test]
    fn a_key_that_should_not_be_there_is_refused() {
        let said = refusal("rsa.pem");
        assert!(said.contains("rsa.pem is a private key"), "{said}");
        let said = refusal("rsa1024.pub.pem");
        assert!(said.contains("has 1024 bits"), "{said}");
        let said = refusal("p256.pub.pem");
        assert!(said.contains("is not a public key of its kind"), "{said}");
    }
}
