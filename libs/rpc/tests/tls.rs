//! Who may call and be called, with certificates.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use contract::ErrorKind;
use rpc::{Config, Error, Metrics, Services, Tls, serve};
use runtime::lifecycle::Stop;
use support::{Caller, Replica, ask, quick};
use tokio::net::TcpListener;

/// An authority in a directory of its own, with a certificate for `name`, made by the `openssl` tool.
fn authority(dir: &Path, name: &str) -> Tls {
    std::fs::create_dir_all(dir).unwrap();
    let san = match name.parse::<IpAddr>() {
        Ok(_) => format!("subjectAltName=IP:{name}"),
        Err(_) => format!("subjectAltName=DNS:{name}"),
    };
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    let basic = "-addext basicConstraints=critical,CA:FALSE";
    openssl(
        dir,
        &format!("{new} -subj /CN=authority -keyout ca-key.pem -out ca.pem"),
    );
    openssl(
        dir,
        &format!(
            "{new} -subj /CN=role -CA ca.pem -CAkey ca-key.pem {basic} -addext {san} -keyout key.pem -out cert.pem"
        ),
    );
    Tls {
        ca: dir.join("ca.pem"),
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
        server_name: String::new(),
    }
}

fn openssl(dir: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(dir).output();
    let output = output.expect("the openssl tool is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn with(tls: Option<Tls>) -> Config {
    Config { tls, ..quick() }
}

fn replica(tls: &Tls) -> Replica {
    Replica::start_at(1, "127.0.0.1:0".parse().unwrap(), with(Some(tls.clone())))
}

#[tokio::test]
async fn those_of_one_authority_call_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let tls = authority(dir.path(), "127.0.0.1");
    let replica = replica(&tls);
    let caller = Caller::with(&[replica.address], with(Some(tls)));
    assert_eq!(ask(&caller.receipts).await, Ok(1));
}

#[tokio::test]
async fn the_name_in_the_certificate_may_be_another_than_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let tls = authority(dir.path(), "persistence.longwire.svc");
    let replica = replica(&tls);
    let caller = Caller::with(&[replica.address], with(Some(tls.clone())));
    let error = ask(&caller.receipts).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.detail.contains("certificate"), "{error}");
    let named = Tls {
        server_name: "persistence.longwire.svc".into(),
        ..tls
    };
    let caller = Caller::with(&[replica.address], with(Some(named)));
    assert_eq!(ask(&caller.receipts).await, Ok(1));
}

#[tokio::test]
async fn whoever_is_of_another_authority_or_of_none_is_not_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority(&dir.path().join("ours"), "127.0.0.1");
    let others = authority(&dir.path().join("others"), "127.0.0.1");
    let replica = replica(&ours);
    // It trusts the server, and has a certificate that the server does not trust.
    let intruder = Tls {
        ca: ours.ca.clone(),
        ..others.clone()
    };
    for tls in [Some(intruder), Some(others), None] {
        let caller = Caller::with(&[replica.address], with(tls));
        let error = ask(&caller.receipts).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    }
    assert_eq!(replica.fake.begun(), 0);
}

#[tokio::test]
async fn a_caller_that_expects_tls_does_not_talk_without() {
    let dir = tempfile::tempdir().unwrap();
    let tls = authority(dir.path(), "127.0.0.1");
    let plain = Replica::start(1);
    let caller = Caller::with(&[plain.address], with(Some(tls)));
    assert_eq!(
        ask(&caller.receipts).await.unwrap_err().kind,
        ErrorKind::Unavailable
    );
    assert_eq!(plain.fake.begun(), 0);
}

#[tokio::test]
async fn a_certificate_that_appears_later_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let tls = authority(&dir.path().join("ours"), "127.0.0.1");
    let replica = replica(&tls);
    let later = Tls {
        key: dir.path().join("later.pem"),
        ..tls.clone()
    };
    let caller = Caller::with(&[replica.address], with(Some(later.clone())));
    let error = ask(&caller.receipts).await.unwrap_err();
    assert!(error.detail.contains("later.pem for the TLS of calls"), "{error}");
    std::fs::copy(&tls.key, &later.key).unwrap();
    caller.sees(1).await;
    assert_eq!(ask(&caller.receipts).await, Ok(1));
}

#[tokio::test]
async fn a_server_without_its_files_does_not_start() {
    let missing = Tls {
        ca: "/no/such/ca.pem".into(),
        cert: "/no/such/cert.pem".into(),
        key: "/no/such/key.pem".into(),
        server_name: String::new(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metrics = Metrics::new(&runtime::metrics::Metrics::new());
    let served = serve(
        listener,
        with(Some(missing)),
        Services::default(),
        metrics,
        Stop::new(),
    )
    .await;
    assert!(matches!(served, Err(Error::File { path, .. }) if path.starts_with("/no/such")));
}
