//! Proofs that somebody else verifies: a Python script that shares nothing with us.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use lockgate_cluster::audit::prove::{ProveError, prove};

use super::Fixture;

fn python(proof: &str, key: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify_inclusion.py");
    let mut child = Command::new("python3")
        .arg(script)
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(proof.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn another_program_verifies_the_proofs() {
    let mut log = Fixture::eventful();
    // So many that proofs take nodes of more than one file of the tree.
    log.append(0, 600);
    log.checkpoint();
    let dir = tempfile::tempdir().unwrap();
    let reader = log.store(dir.path()).reader();
    let key = log.signers().log().to_string();
    let last = log.log.size() - 1;
    for seq in [0, 1, 40, 77, 300, 600, last] {
        let proof = prove(&reader, seq).unwrap();
        let output = python(&proof, &key);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{seq}: {output:?}");
        assert!(
            said.starts_with(&format!("record {seq} is in the log")),
            "{said}"
        );
    }
}

#[test]
fn another_program_refuses_what_was_changed() {
    let mut log = Fixture::eventful();
    log.checkpoint();
    let dir = tempfile::tempdir().unwrap();
    let reader = log.store(dir.path()).reader();
    let key = log.signers().log().to_string();
    let proof = prove(&reader, 77).unwrap();
    for (from, to) in [
        ("\"seq\":77", "\"seq\":76"),
        ("ci-bot", "ci-bog"),
        (
            "\"path\":[\"",
            "\"path\":[\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",\"",
        ),
        ("lockgate.audit/c1\\n", "lockgate.audit/c2\\n"),
    ] {
        let changed = proof.replacen(from, to, 1);
        assert_ne!(changed, proof);
        let output = python(&changed, &key);
        assert_eq!(output.status.code(), Some(1), "{from}: {output:?}");
    }
    let other = log.signers().cosigners()[0].to_string();
    assert_eq!(python(&proof, &other).status.code(), Some(1));
}

#[test]
fn what_is_not_covered_has_no_proof_yet() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    let reader = log.store(dir.path()).reader();
    let size = log.log.size();
    assert!(matches!(
        prove(&reader, size - 1),
        Err(ProveError::NoCheckpoint { .. })
    ));
    assert!(matches!(
        prove(&reader, size),
        Err(ProveError::NoRecord { .. })
    ));
}
