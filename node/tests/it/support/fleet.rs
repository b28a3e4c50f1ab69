//! Several gateways that make one cluster, as processes on loopback.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Mutex, MutexGuard};

use super::answer::Answer;
use super::client::Client;
use super::gateway::BINARY;
use super::port::Port;
use super::process::Process;
use super::{eventually, within};

/// One fleet at a time: elections are won within a quarter of a second, which nine busy processes do not have on a
/// machine that has few cores.
static TURN: Mutex<()> = Mutex::const_new(());

/// A cluster of three; its processes are killed when it is dropped.
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
    /// Variables that processes find from now on beside those of this one.
    pub(crate) env: Vec<(&'static str, String)>,
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
    /// Those on which nodes speak to each other: all must know them before the first one runs.
    _ports: [Port; 3],
}

/// One process.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
}

/// A process of which nobody knows yet where it listens.
pub(crate) struct Spawned {
    name: String,
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
}

/// A process that operators reach, and perhaps nobody else.
pub(crate) struct Unready {
    admin: SocketAddr,
    process: Spawned,
    _port: Port,
}

impl Unready {
    /// Status and body of an answer of the admin plane.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let client = Client::new(self.admin).at(path);
        let answer = client.send(Method::GET, &[], "").await;
        let status = answer.status;
        let body = answer.bytes().await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Asks it to end, and waits until it has. Whether it ended well.
    pub(crate) async fn terminate(mut self) -> bool {
        let child = &mut self.process.child;
        Process(child.id().unwrap()).signal(Signal::TERM);
        within("the end", child.wait()).await.unwrap().success()
    }
}

impl Fleet {
    /// Three voters whose registry is `registry`.
    pub(crate) async fn start(registry: &str) -> Self {
        Self::start_with(registry, Vec::new()).await
    }

    /// As [`Fleet::start`], with variables in the environment of the nodes.
    pub(crate) async fn start_with(registry: &str, env: Vec<(&'static str, String)>) -> Self {
        let turn = TURN.lock().await;
        let dir = tempfile::tempdir().unwrap();
        let names = ["n1", "n2", "n3"];
        let certs = dir.path().join("certs");
        let certs = certs.to_str().unwrap();
        succeeded(&lockgate(&["certs", "dev", "--dir", certs, "n1", "n2", "n3"]).await);
        let ports = names.map(|_| Port::reserve());
        let addresses = ports.iter().map(|port| port.address);
        let peers: Vec<(&str, SocketAddr)> = names.into_iter().zip(addresses).collect();
        for (name, address) in &peers {
            let here = dir.path().to_str().unwrap();
            let mut text = config(here, name, *address, &peers);
            if !registry.starts_with("audit:") {
                text += &format!("audit: {{ file: {here}/{name}.audit.jsonl }}\n");
            }
            fs::write(dir.path().join(format!("{name}.yaml")), text + registry).unwrap();
        }
        let mut fleet = Self {
            nodes: Vec::new(),
            env,
            dir,
            _turn: turn,
            _ports: ports,
        };
        let first = fleet.file("n1");
        succeeded(&fleet.verb(&["cluster", "init", "--config", &first]).await);
        for name in names {
            let node = fleet.run(name).await;
            fleet.nodes.push(node);
        }
        let last = &fleet.nodes[2];
        eventually("three voters", async || last.health().await["voters"] == 3).await;
        // A lease comes with the first renewal after that.
        for node in &fleet.nodes {
            eventually("a lease", async || node.health().await["healthy"] == true).await;
        }
        fleet
    }

    /// Configuration file of a node.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.dir.path().join(format!("{name}.yaml"));
        path.to_str().unwrap().to_owned()
    }

    /// Takes away all that a node that does not run has on its disk.
    pub(crate) fn wipe(&self, name: &str) {
        fs::remove_dir_all(self.data_dir(name)).unwrap();
    }

    /// Data directory of a node.
    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Kills a node at once.
    pub(crate) async fn kill(&mut self, name: &str) {
        let at = self.nodes.iter().position(|node| node.name == name);
        let mut node = self.nodes.remove(at.unwrap());
        node.child.kill().await.unwrap();
    }

    /// Starts a node, for the first time or again.
    pub(crate) async fn run(&self, name: &str) -> Node {
        self.ready(self.spawn(name)).await
    }

    /// Starts a node that may not become ready, with an admin plane at an address that is known before.
    pub(crate) async fn run_unready(&self, name: &str) -> Unready {
        let (file, port) = (self.file(name), Port::reserve());
        let admin = port.address;
        let text = fs::read_to_string(&file).unwrap();
        let (any, fixed) = (
            "admin: { listen: 127.0.0.1:0 }",
            format!("admin: {{ listen: \"{admin}\" }}"),
        );
        assert!(text.contains(any));
        fs::write(&file, text.replace(any, &fixed)).unwrap();
        let process = self.spawn(name);
        eventually("the admin plane is there", async || {
            TcpStream::connect(admin).await.is_ok()
        })
        .await;
        Unready {
            admin,
            process,
            _port: port,
        }
    }

    /// Runs the program as a node's operator does: with the variables that nodes find.
    pub(crate) async fn verb(&self, args: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        let env = self.env.iter().map(|(name, value)| (name, value));
        within("verb", command.args(args).envs(env).output())
            .await
            .unwrap()
    }

    pub(crate) fn spawn(&self, name: &str) -> Spawned {
        let log = self.dir.path().join(format!("{name}.log"));
        let log = fs::File::options().create(true).append(true).open(log);
        let mut child = Command::new(BINARY)
            .args(["serve", "--ready-json", "--config", &self.file(name)])
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        Spawned {
            name: name.to_owned(),
            child,
            stdout,
        }
    }

    /// Waits until a node is ready.
    pub(crate) async fn ready(&self, process: Spawned) -> Node {
        let Spawned {
            name,
            child,
            mut stdout,
        } = process;
        let line = within("ready line", stdout.next_line()).await.unwrap();
        let line = line.unwrap_or_else(|| panic!("{name} did not start:\n{}", self.log(&name)));
        let ready: Value = serde_json::from_str(&line).unwrap();
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        Node {
            name,
            address: address("listen"),
            admin: address("admin"),
            child,
            _stdout: stdout,
        }
    }

    /// What a node has logged in all its lives.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap()
    }
}

impl Node {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    pub(crate) async fn admin(&self, method: Method, path: &str, body: &str) -> Answer {
        Client::new(self.admin)
            .at(path)
            .send(method, &[], body.to_owned())
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.admin(Method::GET, path, "").await.json().await
    }

    /// Value of a metric that has no labels.
    pub(crate) async fn metric(&self, name: &str) -> String {
        let answer = self.admin(Method::GET, "/metrics", "").await;
        let text = answer.bytes().await;
        let text = String::from_utf8_lossy(&text);
        let mut values = text
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.next().unwrap_or_default().to_owned()
    }

    pub(crate) async fn health(&self) -> Value {
        self.get("/api/v1/cluster/health").await
    }

    /// Waits until it has ended by itself, and gives its exit status.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let ended = within("the end", self.child.wait()).await;
        ended.unwrap().code()
    }

    /// A verb of the command line that asks this node.
    pub(crate) async fn cli(&self, args: &[&str]) -> Output {
        let admin = format!("http://{}", self.admin);
        let mut all = vec!["--json", "--admin", &admin];
        all.extend(args);
        lockgate(&all).await
    }
}

/// The JSON that a verb printed.
#[track_caller]
pub(crate) fn succeeded(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{error}{text}");
    serde_json::from_str(&text).unwrap_or_default()
}

/// Runs the program.
pub(crate) async fn lockgate(args: &[&str]) -> Output {
    let run = Command::new(BINARY).args(args).output();
    within("verb", run).await.unwrap()
}

fn config(dir: &str, name: &str, listen: SocketAddr, peers: &[(&str, SocketAddr)]) -> String {
    let peers: Vec<String> = peers
        .iter()
        .map(|(name, address)| format!("{name}: \"{address}\""))
        .collect();
    let peers = peers.join(", ");
    format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\ndata_dir: {dir}/{name}\n\
         cluster:\n  node: {name}\n  listen: \"{listen}\"\n  peers: {{ {peers} }}\n  \
         tls: {{ ca: certs/ca.pem, cert: certs/{name}.pem, key: certs/{name}.key }}\n"
    )
}
