//! `lockgate demo --nodes 3`: several nodes on loopback, each a process of its own, and calls that go round them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStdout, Command};

use crate::config;
use crate::demo::{self, Running, Seat};

use super::{membership, signals};

/// A node that is not ready by then will not be.
const READY_MAX: Duration = Duration::from_secs(60);
/// Calls of the demo, spread over all nodes in turn.
const N_CALLS: u64 = 30;

/// Nodes as processes; they are killed when this is dropped, which leaves nothing behind.
pub(super) struct DemoFleet {
    pub(super) nodes: Vec<Running>,
    processes: Vec<Process>,
    dir: PathBuf,
    /// Keep the ports of the nodes from being given to others.
    _ports: Vec<TcpSocket>,
}

struct Process {
    child: Child,
    /// Open to its end: a node must not find its standard output closed.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl DemoFleet {
    /// Starts `n` nodes with certificates of their own, and waits until they serve.
    pub(super) async fn start(program: &Path, dir: PathBuf, n: usize) -> anyhow::Result<Self> {
        let names: Vec<String> = (1..=n).map(|n| format!("n{n}")).collect();
        std::fs::create_dir_all(&dir)?;
        membership::dev_certs(&dir.join("certs"), "lockgate.demo", &names)?;
        let (mut seats, mut ports) = (Vec::new(), Vec::new());
        for name in names {
            let port = reserve().context("no port is free")?;
            let cluster = port.local_addr()?;
            seats.push(Seat { name, cluster });
            ports.push(port);
        }
        for seat in &seats {
            let text = demo::fleet_config(program, &dir, seat, &seats);
            std::fs::write(file_of(&dir, &seat.name), text)?;
        }
        let settings = config::Options::from_process(false);
        let mut fleet = Self {
            nodes: Vec::new(),
            processes: Vec::new(),
            dir,
            _ports: ports,
        };
        for (at, seat) in seats.iter().enumerate() {
            let file = file_of(&fleet.dir, &seat.name);
            if at == 0 {
                membership::init(&file, &settings).await?;
            }
            let (process, node) = run(program, &file, &seat.name).await?;
            fleet.processes.push(process);
            fleet.nodes.push(node);
        }
        Ok(fleet)
    }

    /// Makes calls of a stateless client, each at the next node. Says how they went.
    pub(super) async fn call_round_robin(&self) -> anyhow::Result<String> {
        let mut nodes = self.nodes.iter().cycle();
        for n in 0..N_CALLS {
            let Some(node) = nodes.next() else { break };
            let answer = demo::add(node.listen, n, 1).await;
            answer.with_context(|| format!("a call at {} failed", node.name))?;
        }
        let n_nodes = self.nodes.len();
        Ok(format!(
            "{N_CALLS} calls of a client without a session went round {n_nodes} nodes: all answered.\n"
        ))
    }

    /// Waits for SIGTERM or Ctrl-C, then ends the nodes.
    pub(super) async fn run_to_end(mut self) {
        signals::terminated().await;
        for process in &mut self.processes {
            // One that has ended by itself needs no end.
            let _ended = process.child.kill().await;
        }
    }
}

impl Drop for DemoFleet {
    fn drop(&mut self) {
        let _already_gone = std::fs::remove_dir_all(&self.dir);
    }
}

async fn run(program: &Path, file: &Path, name: &str) -> anyhow::Result<(Process, Running)> {
    let log = std::fs::File::create(file.with_extension("log"))?;
    let mut child = Command::new(program)
        .args(["serve", "--ready-json", "--config"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{name} does not start"))?;
    let stdout = child.stdout.take().context("a pipe that was asked for")?;
    let mut stdout = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(READY_MAX, stdout.next_line()).await;
    let line = line.with_context(|| format!("{name} was not ready in {READY_MAX:?}"))??;
    let Some(line) = line else {
        let log = std::fs::read_to_string(file.with_extension("log")).unwrap_or_default();
        bail!("{name} did not start:\n{log}");
    };
    let ready: serde_json::Value = serde_json::from_str(&line)?;
    let address = |key: &str| -> anyhow::Result<SocketAddr> {
        let text = ready[key].as_str().unwrap_or_default();
        text.parse()
            .with_context(|| format!("{name} names no {key}"))
    };
    let node = Running {
        name: name.to_owned(),
        listen: address("listen")?,
        admin: address("admin")?,
    };
    let process = Process {
        child,
        _stdout: stdout,
    };
    Ok((process, node))
}

fn file_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.yaml"))
}

/// A port that is free, as all nodes must know those of all before the first one runs. As long as the socket lives
/// nobody else is given the port; its node can still listen on it, as both allow the address to be shared until then.
fn reserve() -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(socket)
}
