//! Certificates of the listener, as `config check` and `doctor` see them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::{Ran, lockgate};
use crate::cli::Exit;

/// A directory with a configuration whose listener has `cert.pem` and `key.pem`.
struct Files(TempDir);

impl Files {
    fn new(cert: &str, key: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        std::fs::write(files.path("cert.pem"), cert).unwrap();
        std::fs::write(files.path("key.pem"), key).unwrap();
        files.chmod(0o600);
        let text = "listen: 127.0.0.1:0\nadmin: { listen: '127.0.0.1:0' }\ndata_dir: data\n\
                    tls: { cert: cert.pem, key: key.pem }\n";
        std::fs::write(files.path("a.yaml"), text).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn chmod(&self, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path("key.pem"), mode).unwrap();
    }

    fn check(&self) -> Ran {
        lockgate(&["config", "check", self.path("a.yaml").to_str().unwrap()])
    }

    fn doctor(&self) -> Ran {
        let file = self.path("a.yaml");
        let nowhere = "http://127.0.0.1:1";
        lockgate(&["doctor", "--admin", nowhere, file.to_str().unwrap()])
    }
}

fn params() -> CertificateParams {
    CertificateParams::new(["localhost".to_owned()]).unwrap()
}

#[test]
fn a_certificate_that_has_ended_is_found_and_yet_keeps_no_node_from_starting() {
    let (key, mut params) = (KeyPair::generate().unwrap(), params());
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(2020, 1, 2);
    let cert = params.self_signed(&key).unwrap();
    let files = Files::new(&cert.pem(), &key.serialize_pem());
    let (check, doctor) = (files.check(), files.doctor());
    assert_eq!((check.exit, doctor.exit), (Exit::Done, Exit::Failed));
    assert!(check.err.contains("2020-01-02"), "{}", check.err);
    assert!(doctor.out.contains("2020-01-02"), "{}", doctor.out);
}

#[test]
fn a_certificate_that_ends_within_days_is_worth_a_warning() {
    let (key, mut params) = (KeyPair::generate().unwrap(), params());
    params.not_after = date_time_ymd(2026, 11, 25);
    let cert = params.self_signed(&key).unwrap();
    let files = Files::new(&cert.pem(), &key.serialize_pem());
    let (check, doctor) = (files.check(), files.doctor());
    assert_eq!((check.exit, doctor.exit), (Exit::Done, Exit::Done));
    assert!(
        check.err.contains("ends soon, at 2026-11-25"),
        "{}",
        check.err
    );
    assert!(
        doctor.out.contains("ends soon, at 2026-11-25"),
        "{}",
        doctor.out
    );
}

#[test]
fn a_chain_in_the_wrong_order_is_told_from_a_wrong_key() {
    let (root_key, mut root) = (KeyPair::generate().unwrap(), params());
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let (key, issuer) = (KeyPair::generate().unwrap(), Issuer::new(root, root_key));
    let cert = params().signed_by(&key, &issuer).unwrap().pem();
    let files = Files::new(&format!("{root_pem}{cert}"), &key.serialize_pem());
    for ran in [files.check(), files.doctor()] {
        assert_eq!(ran.exit, Exit::Failed);
        let said = ran.out.contains("certificate 2 of `tls.cert`") && ran.out.contains("first");
        assert!(said, "{}", ran.out);
    }
    let files = Files::new(&format!("{cert}{root_pem}"), &key.serialize_pem());
    assert_eq!(files.check().exit, Exit::Done);
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let key = KeyPair::generate().unwrap();
    let cert = params().self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (cert, key, named) in [
        (&*cert, encrypted, "is encrypted"),
        (&cert, "", "holds no private key"),
        ("junk", &key, "holds no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &key,
            "the first certificate of `tls.cert` cannot be used: ",
        ),
    ] {
        let files = Files::new(cert, key);
        for ran in [files.check(), files.doctor()] {
            assert_eq!(ran.exit, Exit::Failed);
            assert!(ran.out.contains(named), "{named}: {}", ran.out);
        }
    }
    let files = Files::new(&cert, &key);
    std::fs::remove_file(files.path("cert.pem")).unwrap();
    for ran in [files.check(), files.doctor()] {
        assert!(ran.out.contains("No such file"), "{}", ran.out);
    }
}

#[test]
fn a_key_that_others_may_read_is_worth_a_warning() {
    let key = KeyPair::generate().unwrap();
    let cert = params().self_signed(&key).unwrap().pem();
    let files = Files::new(&cert, &key.serialize_pem());
    assert!(!files.doctor().out.contains("warning  tls.key"));
    files.chmod(0o644);
    let ran = files.doctor();
    assert_eq!(ran.exit, Exit::Done);
    let said = ran.out.contains("0644") && ran.out.contains("chmod 600");
    assert!(said, "{}", ran.out);
}
