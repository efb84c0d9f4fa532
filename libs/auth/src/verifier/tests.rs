use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;
use model::Role;
use runtime::clock::ManualClock;
use runtime::config::Secret;

use crate::{PublicKey, Signer};

const NOW: u64 = 1_700_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("testdata")
        .join(name)
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(testdata(name)).unwrap()
}

fn secret() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

fn signed(algorithm: Algorithm, kid: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let header = jsonwebtoken::Header {
        kid: kid.map(str::to_owned),
        ..jsonwebtoken::Header::new(algorithm)
    };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

fn claims() -> Value {
    json!({"sub": "u1", "org": "o1", "role": "agent", "aliases": ["a1"], "name": "张三", "exp": NOW + 60})
}

fn with_secret() -> Config {
    Config {
        secret: Secret::new(SECRET),
        ..Config::default()
    }
}

fn with_public(files: &[(&str, Option<&str>)]) -> Config {
    let public_keys = files
        .iter()
        .map(|(file, kid)| PublicKey {
            file: testdata(file),
            kid: kid.map(str::to_owned),
        })
        .collect();
    Config {
        public_keys,
        ..Config::default()
    }
}

/// A verifier and the hand of its clock.
struct Timed(Verifier, ManualClock);

impl Timed {
    fn verify_at(&self, token: &str, now: u64) -> Result<Principal, AuthError> {
        self.1.set_unix_millis(now * 1000);
        self.0.verify(token)
    }
}

fn verifier(config: &Config) -> Timed {
    let (clock, hand) = Clock::manual(0);
    Timed(
        Verifier::new(config, Arc::new(KeyRing::build(config).unwrap()), clock),
        hand,
    )
}

#[test]
fn every_algorithm_is_accepted_with_its_key() {
    let public = verifier(&with_public(&[
        ("rsa.pub.pem", None),
        ("ec.pub.pem", None),
        ("ed.pub.pem", None),
    ]));
    let pkcs1 = verifier(&with_public(&[("rsa-pkcs1.pub.pem", None)]));
    let shared = verifier(&with_secret());
    let rsa = EncodingKey::from_rsa_pem(&pem("rsa.pem")).unwrap();
    for (verifier, algorithm, key) in [
        (&shared, Algorithm::HS256, secret()),
        (&shared, Algorithm::HS384, secret()),
        (&shared, Algorithm::HS512, secret()),
        (&public, Algorithm::RS256, rsa.clone()),
        (&pkcs1, Algorithm::RS256, rsa),
        (
            &public,
            Algorithm::ES256,
            EncodingKey::from_ec_pem(&pem("ec.pem")).unwrap(),
        ),
        (
            &public,
            Algorithm::EdDSA,
            EncodingKey::from_ed_pem(&pem("ed.pem")).unwrap(),
        ),
    ] {
        let token = signed(algorithm, None, &claims(), &key);
        // The second answer may come from memory.
        for _ in 0..2 {
            let principal = verifier
                .verify_at(&token, NOW)
                .unwrap_or_else(|error| panic!("{algorithm:?}: {error}"));
            assert_eq!(principal.user.as_str(), "u1");
            assert_eq!(
                (principal.org.as_str(), principal.role, principal.expires_at),
                ("o1", Role::Agent, Some(NOW + 60))
            );
            assert!(principal.acts_as("a1") && principal.acts_as("u1") && !principal.acts_as("u2"));
        }
        let forged = format!("{}AAAA", &token[..token.len() - 4]);
        assert_eq!(
            verifier.verify_at(&forged, NOW),
            Err(AuthError::BadSignature),
            "{algorithm:?}"
        );
    }
}

#[test]
fn a_public_key_used_as_a_shared_secret_is_refused() {
    let public = with_public(&[
        ("rsa.pub.pem", Some("k")),
        ("ec.pub.pem", None),
        ("ed.pub.pem", None),
    ]);
    for config in [
        public.clone(),
        Config {
            secret: with_secret().secret,
            ..public
        },
    ] {
        let verifier = verifier(&config);
        for file in ["rsa.pub.pem", "ec.pub.pem", "ed.pub.pem"] {
            for (algorithm, kid) in [
                (Algorithm::HS256, None),
                (Algorithm::HS512, Some("k")),
                (Algorithm::HS384, Some("x")),
            ] {
                let token = signed(algorithm, kid, &claims(), &EncodingKey::from_secret(&pem(file)));
                let refused = verifier.verify_at(&token, NOW);
                assert!(
                    matches!(
                        refused,
                        Err(AuthError::Algorithm { .. } | AuthError::BadSignature)
                    ),
                    "{refused:?}"
                );
            }
        }
    }
}

#[test]
fn an_unsigned_token_is_refused_however_none_is_spelled() {
    let verifier = verifier(&with_secret());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256 "] {
        let token = format!("{}.{}.", part(&json!({"alg": alg})), part(&claims()));
        assert_eq!(
            verifier.verify_at(&token, NOW),
            Err(AuthError::Algorithm { alg: alg.to_owned() })
        );
    }
    let stripped = signed(Algorithm::HS256, None, &claims(), &secret());
    let stripped = &stripped[..=stripped.rfind('.').unwrap()];
    assert_eq!(verifier.verify_at(stripped, NOW), Err(AuthError::BadSignature));
}

#[test]
fn algorithms_outside_the_contract_are_refused_even_with_a_fitting_key() {
    let verifier = verifier(&with_public(&[("rsa.pub.pem", None)]));
    let key = EncodingKey::from_rsa_pem(&pem("rsa.pem")).unwrap();
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        let token = signed(algorithm, None, &claims(), &key);
        assert!(
            matches!(verifier.verify_at(&token, NOW), Err(AuthError::Algorithm { .. })),
            "{algorithm:?}"
        );
    }
}

#[test]
fn a_foreign_key_is_refused() {
    let token = signed(
        Algorithm::HS256,
        None,
        &claims(),
        &EncodingKey::from_secret(b"another secret, of 32 bytes or so"),
    );
    assert_eq!(
        verifier(&with_secret()).verify_at(&token, NOW),
        Err(AuthError::BadSignature)
    );
    let public = verifier(&with_public(&[("rsa.pub.pem", None), ("ec.pub.pem", None)]));
    let rsa = EncodingKey::from_rsa_pem(&pem("rsa-other.pem")).unwrap();
    let ec = EncodingKey::from_ec_pem(&pem("ec-other.pem")).unwrap();
    for token in [
        signed(Algorithm::RS256, None, &claims(), &rsa),
        signed(Algorithm::ES256, None, &claims(), &ec),
    ] {
        assert_eq!(public.verify_at(&token, NOW), Err(AuthError::BadSignature));
    }
}

#[test]
fn a_kid_selects_its_key_and_an_unknown_one_only_those_without_a_name() {
    let key = EncodingKey::from_rsa_pem(&pem("rsa.pem")).unwrap();
    let token = |kid| signed(Algorithm::RS256, kid, &claims(), &key);
    let named = verifier(&with_public(&[
        ("rsa.pub.pem", Some("one")),
        ("ec.pub.pem", Some("two")),
    ]));
    assert!(named.verify_at(&token(Some("one")), NOW).is_ok() && named.verify_at(&token(None), NOW).is_ok());
    assert!(matches!(
        named.verify_at(&token(Some("two")), NOW),
        Err(AuthError::Algorithm { .. })
    ));
    assert_eq!(
        named.verify_at(&token(Some("three")), NOW),
        Err(AuthError::UnknownKey {
            kid: "three".to_owned()
        })
    );
    let nameless = verifier(&with_public(&[
        ("rsa.pub.pem", None),
        ("ec.pub.pem", Some("two")),
    ]));
    assert!(nameless.verify_at(&token(Some("three")), NOW).is_ok());
}

#[test]
fn times_are_checked_with_leeway_also_when_remembered() {
    let verifier = verifier(&with_public(&[("ed.pub.pem", None)]));
    let key = EncodingKey::from_ed_pem(&pem("ed.pem")).unwrap();
    let token = signed(
        Algorithm::EdDSA,
        None,
        &json!({"sub": "u", "nbf": NOW, "exp": NOW + 60}),
        &key,
    );
    for (now, expected) in [
        (NOW - 6, Some(AuthError::NotYetValid { from: NOW })),
        (NOW - 5, None),
        (NOW + 64, None),
        (NOW + 65, Some(AuthError::Expired { at: NOW + 60 })),
    ] {
        let verdict = verifier.verify_at(&token, now).err();
        assert_eq!(verdict, expected);
        assert_eq!(
            verdict.is_some_and(|error| error.is_expired()),
            now > NOW + 60 + 4
        );
    }
    let eternal = signed(Algorithm::EdDSA, None, &json!({"sub": "u"}), &key);
    assert_eq!(
        verifier.verify_at(&eternal, u64::MAX / 1000).unwrap().expires_at,
        None
    );
}

#[test]
fn ids_that_could_be_taken_for_topics_are_refused() {
    let verifier = verifier(&with_secret());
    for (changed, claim) in [
        (json!({"sub": "a/b"}), "sub"),
        (json!({"sub": "#"}), "sub"),
        (json!({"sub": ""}), "sub"),
        (json!({"sub": " "}), "sub"),
        (json!({"sub": "a\u{0}"}), "sub"),
        (json!({"sub": "u", "aliases": ["ok", "+"]}), "aliases"),
        (json!({"sub": "u", "org": "o/p"}), "org"),
        (json!({"sub": "u", "org": ""}), "org"),
    ] {
        let refused = verifier.verify_at(&signed(Algorithm::HS256, None, &changed, &secret()), NOW);
        assert!(
            matches!(&refused, Err(AuthError::BadId { claim: named, .. }) if *named == claim),
            "{changed}: {refused:?}"
        );
    }
}

#[test]
fn claims_of_another_shape_are_refused_and_absent_ones_have_defaults() {
    let verifier = verifier(&with_secret());
    for bad in [
        json!({}),
        json!({"sub": 1}),
        json!({"sub": "u", "role": "root"}),
        json!({"sub": "u", "exp": "soon"}),
        json!([]),
    ] {
        let refused = verifier.verify_at(&signed(Algorithm::HS256, None, &bad, &secret()), NOW);
        assert!(
            matches!(refused, Err(AuthError::Claims { .. })),
            "{bad}: {refused:?}"
        );
    }
    let principal = verifier
        .verify_at(
            &signed(Algorithm::HS256, None, &json!({"sub": "u", "x": {}}), &secret()),
            NOW,
        )
        .unwrap();
    assert_eq!(
        (principal.org.as_str(), principal.role),
        ("df_org_uid", Role::Visitor)
    );
}

#[test]
fn issuer_and_audience_are_demanded_when_configured_and_our_own_tokens_have_them() {
    let config = Config {
        issuer: Some("me".to_owned()),
        audience: Some("chat".to_owned()),
        ..with_secret()
    };
    let verifier = verifier(&config);
    let verify = |claims: Value| verifier.verify_at(&signed(Algorithm::HS256, None, &claims, &secret()), NOW);
    assert!(verify(json!({"sub": "u", "iss": "me", "aud": ["x", "chat"]})).is_ok());
    assert!(verify(json!({"sub": "u", "iss": "me", "aud": "chat"})).is_ok());
    assert!(matches!(
        verify(json!({"sub": "u", "aud": "chat"})),
        Err(AuthError::WrongIssuer { .. })
    ));
    assert!(matches!(
        verify(json!({"sub": "u", "iss": "me", "aud": ["x"]})),
        Err(AuthError::WrongAudience { .. })
    ));
    let own = Signer::new(&config)
        .unwrap()
        .sign(&Claims::new("u", Role::Admin).valid_for(NOW, 60));
    assert_eq!(verifier.verify_at(&own, NOW).unwrap().role, Role::Admin);
    assert!(verifier.verify_at(&own, NOW + 100).unwrap_err().is_expired());
}

#[test]
fn what_is_no_token_is_refused_without_a_panic() {
    let verifier = verifier(&with_secret());
    let crit = format!(
        "{}.e30.",
        URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "crit": ["b64"], "b64": false}).to_string())
    );
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    for bad in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d",
        "é.ü.ö",
        "eyJhbGciOiJIUzI1NiJ9..",
        "e30.e30.e30",
        "bnVsbA.e30.",
        &crit,
        &long,
    ] {
        let refused = verifier.verify_at(bad, NOW);
        assert!(
            matches!(refused, Err(AuthError::Malformed(_) | AuthError::BadSignature)),
            "{bad}: {refused:?}"
        );
    }
}

#[test]
fn strangers_texts_are_shortened_and_escaped_in_errors() {
    let token = signed(
        Algorithm::RS256,
        Some(&"\n\u{1b}[2J".repeat(99)),
        &claims(),
        &EncodingKey::from_rsa_pem(&pem("rsa.pem")).unwrap(),
    );
    let text = verifier(&with_public(&[("rsa.pub.pem", Some("one"))]))
        .verify_at(&token, NOW)
        .unwrap_err()
        .to_string();
    assert!(text.len() < 500 && !text.contains(char::is_control), "{text}");
}

#[test]
fn nothing_shows_a_secret() {
    let config = with_secret();
    let verifier = verifier(&config);
    let signer = Signer::new(&config).unwrap();
    let shown = format!("{config:?} {config:#?} {:?} {signer:?}", verifier.0);
    let bytes = format!("{:?}", SECRET.as_bytes());
    assert!(
        !shown.contains(SECRET) && !shown.contains(&bytes[1..20]),
        "{shown}"
    );
}

#[test]
fn memory_of_seen_tokens_is_bounded_and_ends_with_the_keys() {
    let mut seen = Seen::default();
    let principal = verifier(&with_secret())
        .verify_at(&signed(Algorithm::HS256, None, &claims(), &secret()), NOW)
        .unwrap();
    let checked = Arc::new(Checked {
        principal,
        not_before: None,
    });
    for n in 0..3 * CACHED {
        seen.put(Sha256::digest(n.to_be_bytes()).into(), 7, checked.clone());
    }
    assert!(seen.young.len() + seen.old.len() <= 2 * CACHED);
    let last = Sha256::digest((3 * CACHED - 1).to_be_bytes()).into();
    assert!(seen.get(&last, 7).is_some() && seen.get(&last, 8).is_none());
}

#[test]
fn a_token_that_was_given_for_a_claim_makes_an_anonymous_visitor_and_no_more() {
    let config = Config {
        anonymous_visitors: Some(true),
        ..with_secret()
    };
    let mut claimed = claims();
    claimed["unproven"] = true.into();
    let token = signed(Algorithm::HS256, None, &claimed, &secret());
    let who = verifier(&config).verify_at(&token, NOW).unwrap();
    assert_eq!(
        (who.origin, who.role, who.aliases.len()),
        (Origin::AnonymousVisitor, Role::Visitor, 0),
        "whatever else it says"
    );
    assert_eq!((who.user.as_str(), who.expires_at), ("u1", Some(NOW + 60)));
    let strict = verifier(&with_secret()).verify_at(&token, NOW);
    assert_eq!(strict, Err(AuthError::Unproven), "no such visitor is taken there");
    claimed["unproven"] = false.into();
    let token = signed(Algorithm::HS256, None, &claimed, &secret());
    assert_eq!(
        verifier(&config).verify_at(&token, NOW).unwrap().origin,
        Origin::Token
    );
}

#[test]
fn a_signer_says_that_a_token_is_unproven_only_where_it_is() {
    let config = Config {
        anonymous_visitors: Some(true),
        ..with_secret()
    };
    let signer = Signer::new(&config).unwrap();
    let mut claims = Claims::new("v1", Role::Visitor);
    let origin = |claims: &Claims| {
        verifier(&config)
            .verify_at(&signer.sign(claims), NOW)
            .unwrap()
            .origin
    };
    assert_eq!(origin(&claims), Origin::Token);
    claims.unproven = true;
    assert_eq!(origin(&claims), Origin::AnonymousVisitor);
}
