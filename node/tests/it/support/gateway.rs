//! The built gateway as a process of its own, on ports of the kernel's choice.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::client::Client;
use super::process::Process;
use super::{eventually, within};

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_lockgate");

/// Everybody may do everything, and the program's own demo server is behind it. Further servers can be appended.
pub(crate) const DEMO: &str = concat!(
    "identity: { anonymous: [all] }\n",
    "roles: { all: { allow: [\"*\"] } }\n",
    "servers:\n  demo: { command: \"",
    env!("CARGO_BIN_EXE_lockgate"),
    "\", args: [demo-server] }\n"
);

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    child: Child,
    pid: u32,
    dir: TempDir,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
}

impl Gateway {
    /// Starts with `rest` below the keys that every test needs.
    pub(crate) async fn start(rest: &str) -> Self {
        Self::start_with(rest, &[]).await
    }

    /// As [`Gateway::start`], with variables in its environment.
    pub(crate) async fn start_with(rest: &str, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_config(dir.path(), rest);
        let (child, stdout, ready) = launch(dir.path(), env).await;
        Self {
            address: ready["listen"].as_str().unwrap().parse().unwrap(),
            admin: ready["admin"].as_str().unwrap().parse().unwrap(),
            pid: child.id().unwrap(),
            child,
            dir,
            stdout: Some(stdout),
        }
    }

    /// Starts it once more on the same files, after its end.
    pub(crate) async fn start_again(&mut self) {
        self.start_again_with(&[]).await;
    }

    /// As [`Gateway::start_again`], with variables in its environment.
    pub(crate) async fn start_again_with(&mut self, env: &[(&str, &str)]) {
        let (child, stdout, ready) = launch(self.dir.path(), env).await;
        self.address = ready["listen"].as_str().unwrap().parse().unwrap();
        self.admin = ready["admin"].as_str().unwrap().parse().unwrap();
        self.pid = child.id().unwrap();
        (self.child, self.stdout) = (child, Some(stdout));
    }

    /// Where it keeps its state.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A client without a session.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Where its admin plane is.
    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// All metrics, as text.
    pub(crate) async fn metrics(&self) -> String {
        let client = Client::new(self.admin).at("/metrics");
        let answer = client.send(Method::GET, &[], "").await.bytes().await;
        String::from_utf8(answer.to_vec()).unwrap()
    }

    /// GET of the admin plane.
    pub(crate) async fn admin(&self, path: &str) -> Value {
        let client = Client::new(self.admin).at(path);
        client.send(Method::GET, &[], "").await.json().await
    }

    /// DELETE of the admin plane.
    pub(crate) async fn admin_delete(&self, path: &str) {
        let client = Client::new(self.admin).at(path);
        let answer = client.send(Method::DELETE, &[], "").await;
        assert!(answer.status < 300, "{path}: {}", answer.status);
    }

    /// Closes the far end of its standard output.
    pub(crate) fn stop_reading(&mut self) {
        self.stdout = None;
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.pid)
    }

    /// Replaces the configuration in one step.
    pub(crate) fn reconfigure(&self, rest: &str) {
        write_config(self.dir.path(), rest);
    }

    pub(crate) fn empty_configuration(&self) {
        fs::write(self.dir.path().join("lockgate.yaml"), "").unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        within("end of the gateway", self.child.wait())
            .await
            .unwrap()
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn stop(mut self) {
        self.assert_sound().await;
        self.signal(Signal::TERM);
        assert!(self.ended().await.success());
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Lines of the audit log.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap();
        // The last line may still be on its way.
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// No panic, no child that nobody waited for.
    pub(crate) async fn assert_sound(&self) {
        assert!(!self.log().contains("panicked"), "{}", self.log());
        // One that ends right now is a zombie for a moment.
        eventually("ended children are waited for", async || {
            self.process().zombies() == 0
        })
        .await;
    }
}

/// Starts the program on the configuration in `dir`, and waits until it is ready.
async fn launch(dir: &Path, env: &[(&str, &str)]) -> (Child, Lines<BufReader<ChildStdout>>, Value) {
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut child = Command::new(BINARY)
        .args(["serve", "--ready-json", "--config"])
        .arg(dir.join("lockgate.yaml"))
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within("ready line", stdout.next_line()).await.unwrap();
    let log = || fs::read_to_string(dir.join("log")).unwrap();
    let line = line.unwrap_or_else(|| panic!("the gateway did not start:\n{}", log()));
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["event"], "ready");
    (child, stdout, ready)
}

fn write_config(dir: &Path, rest: &str) {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let mut text = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\ndata_dir: {}\n",
        path("data"),
    );
    if !rest.starts_with("audit:") {
        text += &format!("audit: {{ file: {} }}\n", path("audit.jsonl"));
    }
    text += rest;
    let (next, file): (PathBuf, _) = (dir.join("next.yaml"), dir.join("lockgate.yaml"));
    fs::write(&next, text).unwrap();
    fs::rename(&next, &file).unwrap();
}
