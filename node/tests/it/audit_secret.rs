//! `audit.hmac_key_env`: a secret of the operator guards the audit log.

mod cluster;
mod forgery;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{DEMO, Gateway, eventually, succeeded, within};

const VARIABLE: &str = "LOCKGATE_TEST_AUDIT_KEY";
const SECRET: &str = "canary-3f9c1be7a2d04e55b8c6-of-the-audit-log";
const NEXT: &str = "canary-77aa01c2d9e84f1fb013-of-the-audit-log";
const GUARDED: &str = "audit: { hmac_key_env: LOCKGATE_TEST_AUDIT_KEY, file: audit.jsonl }\n";

async fn lockgate(args: &[&str], secret: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
    command.args(args).env_remove(VARIABLE);
    command.envs(secret.map(|secret| (VARIABLE, secret)));
    within("verb", command.output()).await.unwrap()
}

/// Exit status and report of `audit verify` without public keys.
async fn verify(data: &Path, args: &[&str], secret: Option<&str>) -> (Option<i32>, String) {
    let data = data.to_str().unwrap();
    let all = [&["--json", "audit", "verify", "--data-dir", data], args].concat();
    let output = lockgate(&all, secret).await;
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!text.contains("canary"), "{text}");
    (output.status.code(), text)
}

async fn call(gateway: &Gateway) {
    let params = json!({"name": "demo_echo", "arguments": {"text": "x"}});
    let answer = gateway.client().stateless("tools/call", params).await;
    assert_eq!(answer.status, 200);
}

/// Waits until so many rotations are in the log; the ids that follow from secrets.
async fn guarded(gateway: &Gateway, n_rotations: usize) -> Vec<u64> {
    let path = "/api/v1/audit/records?limit=100&where=method%3Daudit%2Frotate_key";
    let rotations = async || {
        let answer = gateway.admin(path).await;
        answer["records"].as_array().cloned().unwrap_or_default()
    };
    let all = async || rotations().await.len() == n_rotations;
    eventually("the secret guards", all).await;
    let guarded = rotations().await.into_iter().map(|one| one["args"].clone());
    let guarded = guarded.filter(|args| args["guard"].as_str().is_some());
    guarded.filter_map(|args| args["new"].as_u64()).collect()
}

async fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());
}

/// Starts a node that does not start; what it says.
async fn refused(gateway: &Gateway, secret: Option<&str>) -> String {
    let config = config_of(gateway);
    let args = [
        "serve",
        "--ready-json",
        "--config",
        config.to_str().unwrap(),
    ];
    let output = lockgate(&args, secret).await;
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        !output.status.success() && !text.contains("canary"),
        "{text}"
    );
    text
}

fn config_of(gateway: &Gateway) -> PathBuf {
    gateway.data_dir().with_file_name("lockgate.yaml")
}

/// What `lockgate doctor` finds out about the secret.
async fn examined(gateway: &Gateway) -> String {
    let (url, config) = (gateway.admin_url(), config_of(gateway));
    let file = config.to_str().unwrap();
    let doctor = ["--json", "--admin", &url, "doctor", "--config", file];
    let told = succeeded(&lockgate(&doctor, Some(SECRET)).await);
    let checks = told["checks"].as_array().unwrap().iter();
    let of_secret = |check: &&Value| check["name"] == "audit.hmac_key_env";
    let details = checks
        .filter(of_secret)
        .map(|check| check["detail"].to_string());
    details.collect()
}

#[tokio::test]
async fn the_end_of_the_log_is_vouched_for_by_the_secret_alone() {
    let rest = format!("{GUARDED}{DEMO}");
    let mut gateway = Gateway::start_with(&rest, &[(VARIABLE, SECRET)]).await;
    assert_eq!(guarded(&gateway, 1).await, [2]);
    call(&gateway).await;
    let rotate = [
        "--json",
        "--admin",
        &gateway.admin_url(),
        "audit",
        "rotate-key",
    ];
    let keys = succeeded(&lockgate(&rotate, None).await);
    let from = keys["keys"].as_array().unwrap().iter();
    let from: Vec<_> = from.map(|key| key["from"].as_str().unwrap()).collect();
    assert_eq!(from, ["keyring", "secret", "secret"]);
    call(&gateway).await;
    let (data, config) = (gateway.data_dir(), config_of(&gateway));
    let detail = examined(&gateway).await;
    assert!(
        detail.contains("is in force") && detail.contains("a lone node"),
        "{detail}"
    );
    stop(&mut gateway).await;

    let named = ["--hmac-key-env", VARIABLE];
    let configured = ["--config", config.to_str().unwrap()];
    for args in [&named[..], &configured] {
        let (code, text) = verify(&data, args, Some(SECRET)).await;
        assert_eq!(code, Some(0), "{text}");
        let (code, text) = verify(&data, args, None).await;
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains("is not set"), "{text}");
        let (code, text) = verify(&data, args, Some(NEXT)).await;
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains("a secret that was not given"), "{text}");
    }
    let (code, text) = verify(&data, &[], Some(SECRET)).await;
    assert_eq!(code, Some(3), "nobody names the variable: {text}");

    let export = data.join("export.jsonl");
    let export = export.to_str().unwrap();
    let args = [
        "audit",
        "export",
        "--data-dir",
        data.to_str().unwrap(),
        "--out",
        export,
    ];
    succeeded(&lockgate(&args, None).await);
    let (code, text) = verify(
        &data,
        &[&named[..], &["--export", export]].concat(),
        Some(SECRET),
    )
    .await;
    assert_eq!(code, Some(0), "{text}");
    // Another last record, with the MAC that it had.
    let text = fs::read_to_string(export).unwrap();
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    let forged = text[last..].replace("\"local_seq\"", "\"local_seq\" ");
    assert_ne!(forged, text[last..]);
    fs::write(export, text[..last].to_owned() + &forged).unwrap();
    let (code, text) = verify(
        &data,
        &[&named[..], &["--export", export]].concat(),
        Some(SECRET),
    )
    .await;
    assert_eq!(code, Some(1), "{text}");
}

#[tokio::test]
async fn a_secret_is_put_in_force_and_changed_and_never_taken_away() {
    let mut gateway = Gateway::start(DEMO).await;
    call(&gateway).await;
    stop(&mut gateway).await;
    gateway.reconfigure(&format!("{GUARDED}{DEMO}"));
    let told = refused(&gateway, None).await;
    assert!(
        told.contains(
            "audit.hmac_key_env: the environment variable `LOCKGATE_TEST_AUDIT_KEY` is not set"
        ),
        "{told}"
    );
    assert!(told.contains("lockgate.yaml:4"), "{told}");
    gateway.start_again_with(&[(VARIABLE, SECRET)]).await;
    assert_eq!(guarded(&gateway, 1).await, [2]);
    call(&gateway).await;
    stop(&mut gateway).await;

    let told = refused(&gateway, Some(NEXT)).await;
    assert!(
        told.contains("a secret that this node was not given"),
        "{told}"
    );
    gateway.reconfigure(DEMO);
    let told = refused(&gateway, Some(SECRET)).await;
    assert!(
        told.contains("a secret that this node was not given"),
        "{told}"
    );
    assert!(told.contains("audit.hmac_key_env"), "{told}");

    gateway.reconfigure(&format!("{GUARDED}{DEMO}"));
    let both = format!("{NEXT} {SECRET}");
    for _ in 0..2 {
        gateway.start_again_with(&[(VARIABLE, &both)]).await;
        assert_eq!(guarded(&gateway, 2).await, [2, 3]);
        call(&gateway).await;
        stop(&mut gateway).await;
    }
    let named = ["--hmac-key-env", VARIABLE];
    let (code, text) = verify(&gateway.data_dir(), &named, Some(&both)).await;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = verify(&gateway.data_dir(), &named, Some(NEXT)).await;
    assert_eq!(code, Some(3), "{text}");
}

#[tokio::test]
async fn the_secret_is_in_nothing_that_leaves_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("environment");
    let script = format!(
        "env > {}; exec {} demo-server",
        seen.display(),
        env!("CARGO_BIN_EXE_lockgate")
    );
    let rest = format!("{GUARDED}{DEMO}  child: {{ command: sh, args: [\"-c\", \"{script}\"] }}\n");
    let mut gateway = Gateway::start_with(&rest, &[(VARIABLE, SECRET)]).await;
    guarded(&gateway, 1).await;
    call(&gateway).await;
    let mut shown = vec![gateway.metrics().await];
    for path in [
        "config",
        "runtime",
        "cluster/members",
        "audit/stats",
        "audit/keys",
    ] {
        shown.push(gateway.admin(&format!("/api/v1/{path}")).await.to_string());
    }
    let admin = gateway.admin_url();
    let snapshot = dir.path().join("snapshot");
    for args in [
        &["config", "show"][..],
        &["snapshot", "save", snapshot.to_str().unwrap()],
        &["audit", "signers"],
    ] {
        let output = lockgate(&[&["--json", "--admin", &admin], args].concat(), None).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
        shown.push(String::from_utf8([output.stdout, output.stderr].concat()).unwrap());
    }
    stop(&mut gateway).await;
    for text in &shown {
        assert!(!text.contains("canary"), "{text}");
    }
    assert!(
        shown.iter().any(|text| text.contains(VARIABLE)),
        "its name is no secret"
    );
    let environment = fs::read_to_string(&seen).unwrap();
    assert!(environment.contains("PATH=") && !environment.contains("canary"));
    let mut dirs = vec![dir.path().to_owned(), gateway.data_dir().with_file_name("")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                let is_there = bytes
                    .windows(SECRET.len())
                    .any(|part| part == SECRET.as_bytes());
                assert!(!is_there, "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn a_configuration_with_a_bad_secret_does_not_pass() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lockgate.yaml");
    fs::write(&file, GUARDED).unwrap();
    let check = async |secret| {
        let args = ["--json", "config", "check", file.to_str().unwrap()];
        let output = lockgate(&args, secret).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, _) = check(Some(SECRET)).await;
    assert_eq!(code, Some(0));
    for (secret, what) in [
        (None, "is not set"),
        (Some(""), "is empty"),
        (Some("canary"), "holds a secret of 6 bytes"),
    ] {
        let (code, text) = check(secret).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains(what) && text.contains("openssl rand"),
            "{text}"
        );
        assert!(!text.contains("canary"), "{text}");
    }
}
