use std::sync::Arc;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use runtime::clock::Clock;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::{PublicKey, Verifier};

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("testdata")
        .join(name)
}

fn private(name: &str) -> (Algorithm, EncodingKey) {
    let pem = fs::read(testdata(name)).unwrap();
    match &name[..2] {
        "rs" => (Algorithm::RS256, EncodingKey::from_rsa_pem(&pem).unwrap()),
        "ec" => (Algorithm::ES256, EncodingKey::from_ec_pem(&pem).unwrap()),
        _ => (Algorithm::EdDSA, EncodingKey::from_ed_pem(&pem).unwrap()),
    }
}

fn jwk(name: &str, kid: &str) -> Value {
    let (algorithm, key) = private(name);
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
    jwk["kid"] = json!(kid);
    jwk["use"] = json!("sig");
    jwk
}

fn set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

fn token(name: &str, kid: Option<&str>) -> String {
    let (algorithm, key) = private(name);
    let header = Header {
        kid: kid.map(str::to_owned),
        ..Header::new(algorithm)
    };
    jsonwebtoken::encode(&header, &json!({"sub": "u"}), &key).unwrap()
}

/// An HTTP server that answers every request with what `answer` holds, and counts them.
struct Server {
    url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<Mutex<usize>>,
}

impl Server {
    async fn start(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let server = Self {
            url,
            answer: Arc::default(),
            asked: Arc::default(),
        };
        server.answers(body);
        let (answer, asked) = (server.answer.clone(), server.asked.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && socket.read_buf(&mut request).await.unwrap_or(0) > 0
                {
                }
                *asked.lock() += 1;
                let answer = answer.lock().clone();
                // The client may hang up on an answer it finds too long.
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        server
    }

    fn answers(&self, body: &str) {
        self.says(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ));
    }

    fn says(&self, answer: &str) {
        *self.answer.lock() = answer.to_owned();
    }

    fn config(&self) -> Config {
        Config {
            jwks_url: Some(self.url.clone()),
            ..Config::default()
        }
    }
}

fn ring(config: &Config, gap: Duration) -> (Arc<KeyRing>, Verifier) {
    let ring = Arc::new(KeyRing::build(config).unwrap().with_gap(gap));
    (ring.clone(), Verifier::new(config, ring, Clock::system()))
}

#[test]
fn a_key_set_file_gives_keys_by_kid_and_passes_over_what_is_not_for_us() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let mut encryption = jwk("ec-other.pem", "enc");
    encryption["use"] = json!("enc");
    let short = json!({"kty": "OKP", "crv": "Ed25519", "kid": "short", "x": "AAAA"});
    let off_curve =
        json!({"kty": "EC", "crv": "P-256", "kid": "off", "x": "A".repeat(43), "y": "A".repeat(43)});
    let shared = json!({"kty": "oct", "kid": "shared", "k": "A".repeat(43)});
    let odd = [
        json!(1),
        json!({"kty": "PQC", "kid": "new"}),
        short,
        off_curve,
        shared.clone(),
        encryption,
    ];
    let good = [jwk("rsa.pem", "r"), jwk("ec.pem", "e"), jwk("ed.pem", "d")];
    fs::write(&file, set(&[&odd[..], &good[..]].concat())).unwrap();
    let config = Config {
        jwks_file: Some(file.clone()),
        ..Config::default()
    };
    let (ring, verifier) = ring(&config, GAP);
    assert_eq!(ring.current().keys().count(), 3);
    for (name, kid) in [("rsa.pem", "r"), ("ec.pem", "e"), ("ed.pem", "d")] {
        assert!(verifier.verify(&token(name, Some(kid))).is_ok(), "{name}");
    }
    assert!(matches!(
        verifier.verify(&token("rsa-other.pem", Some("r"))),
        Err(AuthError::BadSignature)
    ));
    assert!(matches!(
        verifier.verify(&token("ec-other.pem", Some("enc"))),
        Err(AuthError::UnknownKey { .. })
    ));
    let secret = EncodingKey::from_secret(&[0; 32]);
    let header = Header {
        kid: Some("shared".to_owned()),
        ..Header::default()
    };
    let forged = jsonwebtoken::encode(&header, &json!({"sub": "u"}), &secret).unwrap();
    assert!(
        matches!(verifier.verify(&forged), Err(AuthError::Algorithm { .. })),
        "a set is public"
    );

    for bad in [set(&[shared]), set(&[]), "{}".to_owned(), "<html>".to_owned()] {
        fs::write(&file, &bad).unwrap();
        assert!(
            matches!(KeyRing::build(&config), Err(KeyError::BadKeySet { .. })),
            "{bad}"
        );
    }
    fs::remove_file(&file).unwrap();
    assert!(matches!(KeyRing::build(&config), Err(KeyError::File { .. })));
}

#[tokio::test]
async fn a_rotated_key_set_replaces_the_old_keys_and_what_was_remembered_of_them() {
    let server = Server::start(&set(&[jwk("rsa.pem", "one")])).await;
    let (ring, verifier) = ring(&server.config(), GAP);
    let (old, new) = (token("rsa.pem", Some("one")), token("ec.pem", Some("two")));
    assert_eq!(
        verifier.verify(&old),
        Err(AuthError::NoKeys),
        "fails closed before the first reading"
    );
    assert!(!ring.is_loaded());
    ring.refresh().await.unwrap();
    assert!(ring.is_loaded() && verifier.verify(&old).is_ok());
    assert!(matches!(verifier.verify(&new), Err(AuthError::UnknownKey { .. })));

    server.answers(&set(&[jwk("ec.pem", "two")]));
    ring.refresh().await.unwrap();
    assert!(verifier.verify(&new).is_ok());
    assert!(matches!(verifier.verify(&old), Err(AuthError::UnknownKey { .. })));
}

#[tokio::test]
async fn the_last_good_set_is_kept_when_the_server_gives_none() {
    let good = set(&[jwk("ed.pem", "one")]);
    let server = Server::start(&good).await;
    let (ring, verifier) = ring(&server.config(), GAP);
    ring.refresh().await.unwrap();
    let fresh_at = *ring.fresh_at.lock();
    assert!(ring.age().is_some());
    let large = format!("{good}{}", " ".repeat(256 * 1024));
    let large = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{large}",
        large.len()
    );
    for bad in [
        "HTTP/1.1 500 oh\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"keys\"",
        "nonsense",
        &large,
    ] {
        server.says(bad);
        let error = ring.refresh().await.unwrap_err().to_string();
        assert!(error.contains(&server.url), "{error}");
        assert_eq!(*ring.fresh_at.lock(), fresh_at);
        assert!(verifier.verify(&token("ed.pem", Some("one"))).is_ok(), "{error}");
    }
}

#[tokio::test]
async fn the_first_token_of_a_new_key_waits_for_it() {
    let server = Server::start(&set(&[jwk("rsa.pem", "one")])).await;
    let (ring, verifier) = ring(&server.config(), Duration::ZERO);
    let mut readings = ring.read_at.subscribe();
    let running = tokio::spawn({
        let ring = ring.clone();
        async move { ring.run().await }
    });
    readings.changed().await.unwrap();
    assert!(
        verifier
            .verify_or_refresh(&token("rsa.pem", Some("one")))
            .await
            .is_ok()
    );
    server.answers(&set(&[jwk("rsa.pem", "one"), jwk("ec.pem", "two")]));
    assert!(
        verifier
            .verify_or_refresh(&token("ec.pem", Some("two")))
            .await
            .is_ok()
    );
    running.abort();
}

#[tokio::test]
async fn unknown_kids_do_not_hammer_the_server() {
    let server = Server::start(&set(&[jwk("rsa.pem", "one")])).await;
    let (ring, verifier) = ring(&server.config(), GAP);
    let mut readings = ring.read_at.subscribe();
    let running = tokio::spawn({
        let ring = ring.clone();
        async move { ring.run().await }
    });
    readings.changed().await.unwrap();
    for n in 0..20 {
        let unknown = token("ec.pem", Some(&n.to_string()));
        assert!(matches!(
            verifier.verify_or_refresh(&unknown).await,
            Err(AuthError::UnknownKey { .. })
        ));
    }
    assert_eq!(*server.asked.lock(), 1);
    running.abort();
}

#[test]
fn key_files_that_are_none_of_ours_are_refused_with_what_to_do() {
    for (file, hint) in [
        ("rsa.pem", "private"),
        ("ec.crt.pem", "openssl x509"),
        ("rsa1024.pub.pem", "2048"),
        ("p384.pub.pem", "P-256"),
        ("README.md", "no PEM"),
        ("missing.pem", "reading the key in"),
    ] {
        let public_keys = vec![PublicKey {
            file: testdata(file),
            kid: None,
        }];
        let error = KeyRing::build(&Config {
            public_keys,
            ..Config::default()
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains(hint) && error.contains(file), "{error}");
    }
    assert!(matches!(
        KeyRing::build(&Config::default()),
        Err(KeyError::Missing)
    ));
}
