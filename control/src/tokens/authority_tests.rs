use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_engine::{Authority, Denied, EXPIRY_GRACE_S, Grant};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::TokenAuthority;
use crate::api_keys::ApiKeys;
use crate::config::{Period, Secret, Settings, TokenSettings};
use crate::tokens::keys::{KeyError, KeySet};
use crate::tokens::{Minted, mint};

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SERVICE_KEY: &str = "service-key-service-key-service-key-";

fn key_path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/keys", name]
        .iter()
        .collect()
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(key_path(name)).expect("a fixture")
}

fn settings_with(change: impl FnOnce(&mut TokenSettings)) -> TokenSettings {
    let mut settings = Settings::default().token;
    change(&mut settings);
    settings
}

fn authority(settings: &TokenSettings) -> TokenAuthority {
    let keys = KeySet::configured(settings).expect("good keys");
    let service_keys = ApiKeys::new(vec![Secret::new(SERVICE_KEY)]);
    TokenAuthority::new(keys, service_keys, settings)
}

/// Believes HS256 tokens.
fn hmac_authority() -> TokenAuthority {
    authority(&settings_with(|token| {
        token.hmac_secret = Some(Secret::new(SECRET))
    }))
}

/// Believes every kind of token.
fn any_authority(curve: &str) -> TokenAuthority {
    authority(&settings_with(|token| {
        token.hmac_secret = Some(Secret::new(SECRET));
        token.rsa_public_key_file = Some(key_path("rsa.pub.pem"));
        token.ecdsa_public_key_file = Some(key_path(curve));
        token.ed25519_public_key_file = Some(key_path("ed25519.pub.pem"));
    }))
}

fn sign(algorithm: Algorithm, claims: &Value) -> String {
    let key = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            Ok(EncodingKey::from_secret(SECRET.as_bytes()))
        }
        Algorithm::ES256 => EncodingKey::from_ec_pem(&pem("p256.pem")),
        Algorithm::ES384 => EncodingKey::from_ec_pem(&pem("p384.pem")),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(&pem("ed25519.pem")),
        _ => EncodingKey::from_rsa_pem(&pem("rsa.pem")),
    };
    encode(
        &Header::new(algorithm),
        claims,
        &key.expect("a private key"),
    )
    .expect("a token")
}

fn hmac(claims: &Value) -> String {
    sign(Algorithm::HS256, claims)
}

fn claims() -> Value {
    json!({"sub": "anna", "exp": NOW + 60})
}

/// The claims with one more, or another value.
fn claims_and(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// A token whose parts are given, whatever they are.
fn token_of(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.{}",
        part(header),
        part(claims),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

#[test]
fn a_good_token_of_each_algorithm_is_accepted() {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, RS256, RS384, RS512};
    for algorithm in [
        HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384, EdDSA,
    ] {
        let curve = if algorithm == ES384 {
            "p384.pub.pem"
        } else {
            "p256.pub.pem"
        };
        let grant = any_authority(curve).connect(&sign(algorithm, &claims()), NOW);
        assert_eq!(
            grant.map(|grant| grant.user),
            Ok("anna".into()),
            "{algorithm:?}"
        );
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        for signature in [b"".as_slice(), b"x"] {
            let token = token_of(&json!({"alg": alg, "typ": "JWT"}), &claims(), signature);
            assert_eq!(
                any_authority("p256.pub.pem").connect(&token, NOW),
                Err(Denied::Invalid),
                "{alg:?}"
            );
        }
    }
    let token = token_of(&json!({"typ": "JWT"}), &claims(), b"");
    assert_eq!(hmac_authority().connect(&token, NOW), Err(Denied::Invalid));
}

#[test]
fn a_public_key_is_not_taken_for_an_hmac_secret() {
    // The classic confusion: the attacker signs with HS256 and the server's public key as the secret.
    for (name, change) in [
        (
            "rsa.pub.pem",
            (|token, path| token.rsa_public_key_file = Some(path))
                as fn(&mut TokenSettings, PathBuf),
        ),
        ("p256.pub.pem", |token, path| {
            token.ecdsa_public_key_file = Some(path)
        }),
        ("ed25519.pub.pem", |token, path| {
            token.ed25519_public_key_file = Some(path)
        }),
    ] {
        let only_public = authority(&settings_with(|token| change(token, key_path(name))));
        for secret in [pem(name), pem(name).trim_ascii().to_vec()] {
            let key = EncodingKey::from_secret(&secret);
            let token = encode(&Header::new(Algorithm::HS256), &claims(), &key).expect("a token");
            assert_eq!(
                only_public.connect(&token, NOW),
                Err(Denied::Invalid),
                "{name}"
            );
        }
    }
}

#[test]
fn an_algorithm_without_a_key_is_refused() {
    use Algorithm::{ES256, ES384, EdDSA, PS256, RS256};
    for algorithm in [RS256, PS256, ES256, ES384, EdDSA] {
        let token = sign(algorithm, &claims());
        assert_eq!(
            hmac_authority().connect(&token, NOW),
            Err(Denied::Invalid),
            "{algorithm:?}"
        );
    }
    // A key verifies one family of algorithms, and a curve one algorithm.
    let any = any_authority("p256.pub.pem");
    assert_eq!(
        any.connect(&sign(ES384, &claims()), NOW),
        Err(Denied::Invalid)
    );
    assert_eq!(
        any.connect(&sign(PS256, &claims()), NOW),
        Err(Denied::Invalid)
    );
}

#[test]
fn a_header_that_lies_about_the_algorithm_is_refused() {
    let token = hmac(&claims());
    let (_, rest) = token.split_once('.').expect("three parts");
    for alg in ["HS384", "RS256", "ES256", "EdDSA"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg}).to_string());
        let forged = format!("{header}.{rest}");
        assert_eq!(
            any_authority("p256.pub.pem").connect(&forged, NOW),
            Err(Denied::Invalid),
            "{alg}"
        );
    }
}

#[test]
fn a_wrong_key_is_refused() {
    let key = EncodingKey::from_secret(b"another secret of thirty-two bytes");
    let token = encode(&Header::new(Algorithm::HS256), &claims(), &key).expect("a token");
    assert_eq!(hmac_authority().connect(&token, NOW), Err(Denied::Invalid));
}

#[test]
fn changed_claims_are_refused() {
    let token = hmac(&claims());
    let (_, signature) = token.rsplit_once('.').expect("three parts");
    let (header, _) = token.split_once('.').expect("three parts");
    let root = URL_SAFE_NO_PAD.encode(json!({"sub": "root", "exp": NOW + 60}).to_string());
    assert_eq!(
        hmac_authority().connect(&format!("{header}.{root}.{signature}"), NOW),
        Err(Denied::Invalid)
    );
}

#[test]
fn what_is_not_a_token_is_refused() {
    let good = hmac(&claims());
    let (unsigned, _) = good.rsplit_once('.').expect("three parts");
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        "....",
        "ü.ü.ü",
        unsigned,
        &format!("{good}.x"),
        &format!(" {good}"),
    ] {
        assert_eq!(
            hmac_authority().connect(text, NOW),
            Err(Denied::Invalid),
            "{text:?}"
        );
    }
}

#[test]
fn critical_extensions_are_refused() {
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["b64".to_owned()]);
    let token = encode(
        &header,
        &claims(),
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .expect("a token");
    assert_eq!(hmac_authority().connect(&token, NOW), Err(Denied::Invalid));
}

#[test]
fn an_expired_token_is_told_apart() {
    let connect =
        |exp: u64| hmac_authority().connect(&hmac(&json!({"sub": "anna", "exp": exp})), NOW);
    assert_eq!(connect(NOW - 5), Err(Denied::Expired));
    assert_eq!(connect(0), Err(Denied::Expired));
    // The leeway is five seconds, and the client is told when it should have come with a new one.
    let grant = connect(NOW - 4).expect("within the leeway");
    assert_eq!(grant.expires_at, Some(NOW - 4));
    assert!(connect(u64::MAX).is_ok());
}

/// The engine ends a connection 25 s after its grant: one that is accepted two minutes late is not closed at once.
#[test]
fn a_long_leeway_lasts() {
    let authority = authority(&settings_with(|token| {
        token.hmac_secret = Some(Secret::new(SECRET));
        token.leeway = Period(Duration::from_secs(120));
    }));
    let connect = |exp: u64| authority.connect(&hmac(&json!({"sub": "anna", "exp": exp})), NOW);
    let grant = connect(NOW - 119).expect("within the leeway");
    assert_eq!(grant.expires_at, Some(NOW - 119 + 120 - EXPIRY_GRACE_S));
    assert_eq!(connect(NOW - 120), Err(Denied::Expired));
}

#[test]
fn a_token_of_the_future_is_refused() {
    let connect = |nbf: u64| hmac_authority().connect(&hmac(&claims_and("nbf", json!(nbf))), NOW);
    assert_eq!(connect(NOW + 6), Err(Denied::Invalid));
    assert_eq!(connect(u64::MAX), Err(Denied::Invalid));
    assert!(connect(NOW + 5).is_ok());
    assert!(connect(NOW).is_ok());
}

#[test]
fn an_expiry_is_needed_unless_the_configuration_says_otherwise() {
    let token = hmac(&json!({"sub": "anna"}));
    assert_eq!(hmac_authority().connect(&token, NOW), Err(Denied::Invalid));
    assert_eq!(
        hmac_authority().connect(&hmac(&json!({"sub": "anna", "exp": null})), NOW),
        Err(Denied::Invalid)
    );
    let lenient = authority(&settings_with(|token| {
        token.hmac_secret = Some(Secret::new(SECRET));
        token.require_expiry = false;
    }));
    assert_eq!(
        lenient.connect(&token, NOW).map(|grant| grant.expires_at),
        Ok(None)
    );
}

#[test]
fn expire_at_replaces_the_expiry_of_the_connection() {
    let connect =
        |at: u64| hmac_authority().connect(&hmac(&claims_and("expire_at", json!(at))), NOW);
    assert_eq!(connect(0).map(|grant| grant.expires_at), Ok(None));
    assert_eq!(
        connect(NOW + 600).map(|grant| grant.expires_at),
        Ok(Some(NOW + 600))
    );
    assert_eq!(connect(1), Err(Denied::Expired));
}

#[test]
fn claims_of_the_wrong_type_are_refused() {
    for (name, value) in [
        ("sub", json!(5)),
        ("sub", json!(null)),
        ("sub", json!(["anna"])),
        ("sub", json!({"name": "anna"})),
        ("sub", json!("")),
        ("exp", json!("1900000000")),
        ("exp", json!(-1)),
        ("exp", json!(true)),
        ("nbf", json!("now")),
        ("iat", json!("now")),
        ("channels", json!("news")),
        ("caps", json!({"channels": ["news"], "allow": ["sub"]})),
    ] {
        let token = hmac(&claims_and(name, value.clone()));
        assert_eq!(
            hmac_authority().connect(&token, NOW),
            Err(Denied::Invalid),
            "{name} = {value}"
        );
    }
}

#[test]
fn the_audience_must_match_and_be_there() {
    let authority = authority(&settings_with(|token| {
        token.hmac_secret = Some(Secret::new(SECRET));
        token.audience = Some("chat".to_owned());
    }));
    let connect = |aud: Value| {
        authority
            .connect(&hmac(&claims_and("aud", aud)), NOW)
            .map(|_| ())
    };
    assert_eq!(connect(json!("chat")), Ok(()));
    assert_eq!(connect(json!(["mail", "chat"])), Ok(()));
    for wrong in [
        json!("mail"),
        json!(["mail"]),
        json!([]),
        json!(5),
        json!(null),
    ] {
        assert_eq!(connect(wrong.clone()), Err(Denied::Invalid), "{wrong}");
    }
    assert_eq!(
        authority.connect(&hmac(&claims()), NOW),
        Err(Denied::Invalid)
    );
    // Nobody configured one, so any will do.
    assert!(
        hmac_authority()
            .connect(&hmac(&claims_and("aud", json!("mail"))), NOW)
            .is_ok()
    );
}

#[test]
fn the_issuer_must_match_and_be_there() {
    let authority = authority(&settings_with(|token| {
        token.hmac_secret = Some(Secret::new(SECRET));
        token.issuer = Some("https://login.example".to_owned());
    }));
    let connect = |iss: Value| {
        authority
            .connect(&hmac(&claims_and("iss", iss)), NOW)
            .map(|_| ())
    };
    assert_eq!(connect(json!("https://login.example")), Ok(()));
    for wrong in [
        json!("https://evil.example"),
        json!(""),
        json!(5),
        json!(null),
    ] {
        assert_eq!(connect(wrong.clone()), Err(Denied::Invalid), "{wrong}");
    }
    assert_eq!(
        authority.connect(&hmac(&claims()), NOW),
        Err(Denied::Invalid)
    );
}

#[test]
fn a_connection_token_carries_everything_over() {
    let claims = json!({
        "sub": "anna", "exp": NOW + 60, "iat": NOW, "nbf": NOW,
        "info": {"name": "Anna"},
        "channels": ["news", "chat:1"],
        "subs": {"alerts": {"info": {}}},
        "caps": [{"channels": ["chat:*"], "match": "wildcard", "allow": ["sub", "pub"]}],
        "meta": {"ignored": true},
    });
    let grant = hmac_authority()
        .connect(&hmac(&claims), NOW)
        .expect("a grant");
    assert_eq!(&*grant.user, "anna");
    assert_eq!(grant.expires_at, Some(NOW + 60));
    assert_eq!(grant.info.as_deref(), Some(r#"{"name":"Anna"}"#));
    assert_eq!(
        grant.rooms,
        ["alerts".into(), "chat:1".into(), "news".into()] as [Box<str>; 3]
    );
    assert_eq!(grant.capabilities.len(), 1);
    assert!(grant.capabilities[0].rights.publish && !grant.capabilities[0].rights.presence);
    assert!(!grant.is_service);
}

#[test]
fn a_subscription_token_is_for_one_user_and_one_room() {
    let token = hmac(&json!({
        "sub": "anna", "channel": "news", "exp": NOW + 60, "info": {"role": "editor"}, "allow": ["pub"],
    }));
    let subscribe = |user: &str, room: &str| hmac_authority().subscribe(&token, user, room, NOW);
    let grant = subscribe("anna", "news").expect("a grant");
    assert_eq!(grant.expires_at, Some(NOW + 60));
    assert_eq!(grant.info.as_deref(), Some(r#"{"role":"editor"}"#));
    assert!(grant.rights.publish && !grant.rights.history);
    assert_eq!(subscribe("anna", "secrets"), Err(Denied::NotPermitted));
    assert_eq!(subscribe("bert", "news"), Err(Denied::NotPermitted));
    assert_eq!(subscribe("", ""), Err(Denied::NotPermitted));
    assert_eq!(
        hmac_authority().subscribe(&token, "anna", "news", NOW + 65),
        Err(Denied::Expired)
    );
}

#[test]
fn the_two_kinds_of_tokens_are_not_exchangeable() {
    let subscription = hmac(&json!({"sub": "anna", "channel": "news", "exp": NOW + 60}));
    assert_eq!(
        hmac_authority().connect(&subscription, NOW),
        Err(Denied::Invalid)
    );
    let connection = hmac(&claims());
    assert_eq!(
        hmac_authority().subscribe(&connection, "anna", "news", NOW),
        Err(Denied::Invalid)
    );
}

#[test]
fn a_service_connects_with_its_api_key() {
    let grant = hmac_authority().connect(SERVICE_KEY, NOW).expect("a grant");
    assert_eq!(
        grant,
        Grant {
            is_service: true,
            ..Grant::default()
        }
    );
    assert!(hmac_authority().connect(&SERVICE_KEY[1..], NOW).is_err());
    // It is no subscription token: a service needs none.
    assert!(
        hmac_authority()
            .subscribe(SERVICE_KEY, "", "news", NOW)
            .is_err()
    );
}

#[test]
fn keys_that_cannot_be_used_are_refused_at_the_start() {
    let refusal =
        |change: fn(&mut TokenSettings)| KeySet::configured(&settings_with(change)).map(|_| ());
    let short = refusal(|token| token.hmac_secret = Some(Secret::new("short")));
    assert!(matches!(short, Err(KeyError::WeakSecret(..))));
    let not_rsa = refusal(|token| token.rsa_public_key_file = Some(key_path("p256.pub.pem")));
    assert_eq!(not_a_key(not_rsa), "rsa_public_key_file");
    let not_ec =
        refusal(|token| token.ecdsa_public_key = Some("-----BEGIN NOTHING-----".to_owned()));
    assert_eq!(not_a_key(not_ec), "ecdsa_public_key");
    let not_ed = refusal(|token| token.ed25519_public_key_file = Some(key_path("rsa.pub.pem")));
    assert_eq!(not_a_key(not_ed), "ed25519_public_key_file");
    let curve = refusal(|token| token.ecdsa_public_key_file = Some(key_path("p521.pub.pem")));
    assert!(matches!(curve, Err(KeyError::UnknownCurve(_))));
    let private = refusal(|token| token.ed25519_public_key_file = Some(key_path("ed25519.pem")));
    assert!(matches!(private, Err(KeyError::Private(_))));
    let absent = refusal(|token| token.hmac_secret_file = Some(key_path("nowhere")));
    assert!(matches!(absent, Err(KeyError::Read(..))));
    assert!(
        KeySet::configured(&settings_with(|_| ()))
            .expect("no keys")
            .is_empty()
    );
}

fn not_a_key(refusal: Result<(), KeyError>) -> String {
    match refusal {
        Err(error @ KeyError::NotAKey(_)) => error.setting(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_subscription_token_with_overrides_is_refused() {
    let claims = json!({"sub": "anna", "channel": "news", "exp": NOW + 60});
    let subscribe = |claims| hmac_authority().subscribe(&hmac(&claims), "anna", "news", NOW);
    assert!(subscribe(claims.clone()).is_ok());
    let mut claims = claims;
    claims["override"] = json!({"presence": {"value": false}});
    assert_eq!(subscribe(claims), Err(Denied::Invalid));
}

#[test]
fn a_minted_token_is_believed() {
    let mut settings = Settings::default();
    settings.token.hmac_secret = Some(Secret::new(SECRET));
    settings.token.audience = Some("chat".to_owned());
    settings.token.issuer = Some("us".to_owned());
    let minted = Minted {
        user: "anna",
        ttl: Duration::from_secs(60),
        rooms: &["news".to_owned(), "chat:*".to_owned()],
        may_publish: false,
    };
    let token = mint(&settings, &minted).expect("a token");
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    let grant = authority(&settings.token)
        .connect(&token, now)
        .expect("a grant");
    assert_eq!(&*grant.user, "anna");
    let rights = grant.capabilities[0].rights;
    assert!(rights.subscribe && rights.history && rights.presence && !rights.publish);
    assert_eq!(grant.capabilities[0].rooms.len(), 2);
    assert_eq!(
        authority(&settings.token).connect(&token, now + 120),
        Err(Denied::Expired)
    );
}
