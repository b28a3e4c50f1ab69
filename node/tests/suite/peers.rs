//! The servers and scripts of `tests/peers`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Once;

use serde_json::Value;

/// The folder of the scripts.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers")
}

/// Installs what is not there yet; a second call finds it done.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = Command::new(folder().join("setup.sh")).status().unwrap();
        assert!(status.success(), "the peers could not be installed");
    });
}

/// A script of the folder, run with the system's Python: it needs nothing beyond the standard library.
pub(crate) fn script(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(folder().join(name));
    command
}

/// A script that needs packages of the peers' own Python.
pub(crate) fn python(name: &str) -> Command {
    let mut command = Command::new(folder().join(".cache/venv/bin/python"));
    command.arg(folder().join(name));
    command
}

/// A script that needs the peers' own Node and its packages.
pub(crate) fn node(name: &str) -> Command {
    let mut command = Command::new(folder().join(".cache/npm/node_modules/node/bin/node"));
    command.arg(folder().join(name));
    command
}

/// Runs a script and shows what it printed where it fails.
pub(crate) fn check(command: &mut Command) {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}\n{printed}\n{complaint}"
    );
}

/// The running servers, each twice: one for the gateway, its twin for the direct side. Dropped, they end.
#[derive(Debug)]
pub(crate) struct World {
    folder: tempfile::TempDir,
    said: Value,
    process: Child,
    // The servers end when this is closed.
    stdin: Option<ChildStdin>,
}

impl World {
    /// Installs the peers and starts the servers.
    pub(crate) fn start() -> Self {
        Self::start_by(script("serve_peers.py").arg("--twin"))
    }

    /// Starts the servers of another script, which takes `--dir` and says like this one how they are reached.
    pub(crate) fn start_by(script: &mut Command) -> Self {
        install();
        let folder = tempfile::tempdir().unwrap();
        let mut process = script
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let stdin = process.stdin.take();
        let said = serde_json::from_str(&line).unwrap();
        std::fs::write(folder.path().join("world.json"), &line).unwrap();
        Self {
            folder,
            said,
            process,
            stdin,
        }
    }

    /// What the scripts read to find the servers.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("world.json")
    }

    /// A fresh folder for what a test writes.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// How the gateway reaches a server.
    pub(crate) fn server(&self, name: &str) -> Value {
        let mut how = self.said["servers"][name].clone();
        if let Some(prefix) = self.said["uri_prefixes"].get(name) {
            how["uri_prefix"] = prefix.clone();
        }
        how
    }

    /// Principals of the gateway beside the tester.
    pub(crate) fn principals(&self) -> Vec<String> {
        let names = self.said["principals"].as_array().into_iter().flatten();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    }

    /// All servers, as the key `servers` of a configuration.
    pub(crate) fn servers(&self) -> Value {
        let names = self.said["servers"].as_object().unwrap().keys();
        names
            .map(|name| (name.clone(), self.server(name)))
            .collect()
    }

    /// All servers, those over HTTP+SSE of 2024-11-05 that can be had so. How they are reached is left to be found out.
    pub(crate) fn servers_over_sse(&self) -> Value {
        let mut servers = self.servers();
        for (name, how) in self.said["sse"].as_object().unwrap() {
            servers[name] = how.clone();
        }
        servers
    }

    /// Those that speak both eras.
    pub(crate) fn dual_servers(&self) -> Value {
        let names = self.said["dual"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap());
        names
            .map(|name| (name.to_owned(), self.server(name)))
            .collect()
    }

    /// Where a server that speaks HTTP is reached without the gateway.
    pub(crate) fn twin_url(&self, name: &str) -> String {
        self.said["twins"][name]["url"].as_str().unwrap().to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ended = self.process.wait();
    }
}
