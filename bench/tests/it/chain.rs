//! Load through floor to echo, as real processes: what the bench measures with has to be right itself.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_lockgate-bench");

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(BENCH)
            .args(arguments)
            .arg("--print-addr")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            address: line.trim().to_owned(),
        }
    }

    fn target(&self, name: &str) -> String {
        let pid = self.child.id();
        format!("{name}=http://{}/mcp,pid={pid}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn echo_and_floor() -> (Server, Server) {
    let echo = Server::start(&["echo", "--tools", "7"]);
    let to = format!("http://{}", echo.address);
    let floor = Server::start(&["floor", "--to", &to]);
    (echo, floor)
}

fn run(targets: &[String], arguments: &[&str]) -> Output {
    let mut command = Command::new(BENCH);
    command
        .args([
            "run",
            "--rounds",
            "2",
            "--measure",
            "0.05",
            "--warmup",
            "0.01",
        ])
        .args(["--connections", "3"])
        .args(arguments);
    for target in targets {
        command.args(["--target", target]);
    }
    command.output().unwrap()
}

fn passes(targets: &[String], arguments: &[&str]) {
    let output = run(targets, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
}

#[test]
fn every_scenario_passes_through_the_floor() {
    let (echo, floor) = echo_and_floor();
    let targets = [echo.target("direct"), floor.target("floor")];
    for era in ["session", "stateless"] {
        for scenario in ["small", "blob", "list", "progress", "mixed"] {
            passes(&targets, &["--scenario", scenario, "--era", era]);
        }
    }
    passes(&targets, &["--scenario", "session-cycle"]);
    passes(&targets, &["--scenario", "list", "--expect-tools", "7"]);
    passes(&targets, &["--rate", "500"]);
}

#[test]
fn results_hold_ratios_and_the_page_needs_no_network() {
    let (echo, floor) = echo_and_floor();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let targets = [
        echo.target("direct"),
        floor.target("floor"),
        floor.target("same"),
    ];
    passes(&targets, &["--rate", "500", "--out", out]);
    let text = fs::read_to_string(directory.path().join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&text).unwrap();
    let lanes = results["outcomes"][0]["lanes"].as_array().unwrap();
    assert_eq!(lanes.len(), 3);
    assert!(
        lanes[2]["against"]["floor"]["cpu"]["median"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    assert!(lanes[2]["against"]["direct"]["added_p50_us"]["median"].is_f64());
    assert!(lanes[0]["lateness_us"]["p99"]["median"].is_f64());
    let page = fs::read_to_string(directory.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http-equiv") && !page.contains("src="));
}

#[test]
fn a_wrong_answer_fails_the_run() {
    let echo = Server::start(&["echo", "--tools", "7"]);
    let output = run(
        &[echo.target("direct")],
        &["--scenario", "list", "--expect-tools", "8"],
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("7 tools instead of 8"), "{errors}");
}

#[test]
fn an_upstream_that_is_gone_fails_the_run() {
    let (echo, floor) = echo_and_floor();
    drop(echo);
    let output = run(&[floor.target("floor")], &[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("status 502"), "{errors}");
}

#[test]
fn idle_sessions_are_opened_weighed_and_ended() {
    let (_echo, floor) = echo_and_floor();
    let output = Command::new(BENCH)
        .args(["idle", "--sessions", "20", "--streams", "5"])
        .args([
            "--passivate-wait",
            "0.01",
            "--target",
            &floor.target("floor"),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("idle sessions of floor: 20 weighed"),
        "{text}"
    );
}
