use std::fs;
use std::os::unix::fs::PermissionsExt;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::super::Peers;
use super::world::{LIMIT, World, load, now};
use crate::tls::{Credentials, DevCerts, TlsError};

#[tokio::test]
async fn a_stopped_listener_ends_its_connections_and_frees_its_port() {
    let world = World::new();
    let peers = Peers::new(world.links());
    let n2 = world.n2();
    peers.status((2, &n2), LIMIT).await.unwrap();
    world.stop.send_replace(true);
    world.serving.await.unwrap();
    assert!(peers.status((2, &n2), LIMIT).await.is_err());
    std::net::TcpListener::bind(&world.address).unwrap();
}

#[tokio::test]
async fn one_that_speaks_no_tls_is_hung_up_on() {
    let world = World::new();
    let mut socket = TcpStream::connect(&world.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut socket, b"GET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    // A TLS alert, then the end, or a reset.
    let _reset_or_end = socket.read_to_end(&mut rest).await;
    assert!(rest.len() < 16, "{rest:?}");
    let peers = Peers::new(world.links());
    peers.status((2, &world.n2()), LIMIT).await.unwrap();
}

#[tokio::test]
async fn files_that_change_are_taken_over_and_wrong_ones_are_not() {
    let world = World::new();
    let old = world.n1.not_after();
    let files = world.certs.node("n7", now()).unwrap();
    let n7 = load(files.clone(), "n7");
    assert!(!n7.reload().unwrap());

    fs::write(&files.cert, "nonsense").unwrap();
    assert!(matches!(n7.reload(), Err(TlsError::NotPem { .. })));
    fs::copy(world.dir.path().join("certs/n1.pem"), &files.cert).unwrap();
    assert!(matches!(n7.reload(), Err(TlsError::KeyMismatch { .. })));
    fs::copy(world.dir.path().join("certs/n1.key"), &files.key).unwrap();
    assert!(matches!(n7.reload(), Err(TlsError::OtherNode { .. })));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        n7.reload(),
        Err(TlsError::KeyExposed { mode: 0o640, .. })
    ));
    assert_eq!(n7.identity().name(), "n7");

    // A renewed certificate.
    fs::remove_file(&files.cert).unwrap();
    fs::remove_file(&files.key).unwrap();
    let later = now() + std::time::Duration::from_secs(24 * 3600);
    let early = world.certs.node("n7", later);
    early.unwrap();
    assert!(matches!(n7.reload(), Err(TlsError::NotNow { .. })));
    fs::remove_file(&files.cert).unwrap();
    fs::remove_file(&files.key).unwrap();
    world
        .certs
        .node("n7", now() - std::time::Duration::from_secs(3600))
        .unwrap();
    assert!(n7.reload().unwrap());
    assert!(n7.not_after() < old);
}

#[tokio::test]
async fn a_wrong_file_is_named_with_what_is_wrong() {
    let world = World::new();
    let n1 = world.dir.path().join("certs/n1.pem");
    let good = crate::tls::TlsFiles {
        ca: world.dir.path().join("certs/ca.pem"),
        key: world.dir.path().join("certs/n1.key"),
        cert: n1.clone(),
    };
    let check = |files: crate::tls::TlsFiles, name: &str, expected: &str| {
        let error = Credentials::load(files, name, now).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected), "`{expected}` is not in `{text}`");
    };
    check(
        good.clone(),
        "n2",
        "is for node `n1`, but `cluster.node` says `n2`",
    );
    let mut files = good.clone();
    files.ca = world.dir.path().join("certs/none.pem");
    check(files, "n1", "cannot read");
    let other = DevCerts::create(&world.dir.path().join("other"), "prod", now()).unwrap();
    let mut files = good.clone();
    files.ca = other.node("n1", now()).unwrap().ca;
    check(files, "n1", "was not signed by the CA in");
    let mut files = good.clone();
    files.ca = n1.clone();
    files.cert = good.ca.clone();
    check(files, "n1", "has 0 URI names");
    let mut files = good;
    files.key = n1;
    check(files, "n1", "open to others");
}

#[test]
fn development_certificates_are_private_and_never_replaced() {
    let dir = tempfile::TempDir::new().unwrap();
    let certs = DevCerts::create(dir.path(), "prod", now()).unwrap();
    let files = certs.node("n1", now()).unwrap();
    for key in [&files.key, &dir.path().join("ca.key")] {
        assert_eq!(
            fs::metadata(key).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    assert!(certs.node("n1", now()).is_err());
    assert!(DevCerts::create(dir.path(), "prod", now()).is_err());
    assert!(certs.node("../n1", now()).is_err());
}

#[test]
fn a_development_ca_signs_for_more_nodes_of_its_domain() {
    let dir = tempfile::TempDir::new().unwrap();
    assert!(DevCerts::open(dir.path(), "prod").unwrap().is_none());
    DevCerts::create(dir.path(), "prod", now()).unwrap();
    let certs = DevCerts::open(dir.path(), "prod").unwrap().unwrap();
    let files = certs.node("n4", now()).unwrap();
    assert!(Credentials::load(files, "n4", now).is_ok());
    assert!(DevCerts::open(dir.path(), "test").is_err());
}
