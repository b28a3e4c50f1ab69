//! The nodes of one cluster: processes, each with files, addresses and a certificate of its own.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use lockgate_cluster::DevCerts;
use tempfile::TempDir;

use super::{Network, Process};
use crate::member::now;

/// Ports in a network of our own.
const CLUSTER_PORT: u16 = 7000;
const API_PORT: u16 = 8000;

/// A cluster under test; ends with the run.
#[derive(Debug)]
pub(crate) struct Members {
    // Before the network, whose namespaces they are in.
    nodes: Vec<Node>,
    network: Option<Network>,
    program: PathBuf,
    dir: TempDir,
}

#[derive(Debug)]
struct Node {
    name: String,
    listen: SocketAddr,
    api: SocketAddr,
    process: Option<Process>,
}

impl Members {
    /// Starts `count` nodes that form one cluster: in a network of their own if there can be one, else on loopback.
    /// There is room for `places` nodes.
    pub(crate) async fn start(count: usize, places: usize) -> anyhow::Result<Self> {
        let network = match Network::check() {
            Ok(()) => Some(Network::create(places)?),
            Err(_no_root) => None,
        };
        let nodes = (0..places).map(|at| Node::new(at, network.as_ref()));
        let mut members = Self {
            nodes: nodes.collect::<anyhow::Result<_>>()?,
            network,
            program: std::env::current_exe().context("this program does not know its own path")?,
            dir: tempfile::tempdir().context("no temporary directory")?,
        };
        let certs = DevCerts::create(&members.certs(), "chaos", now())?;
        for node in &members.nodes {
            certs.node(&node.name, now())?;
        }
        for at in 0..count {
            members.begin(at)?;
            members.ready(at).await?;
        }
        Ok(members)
    }

    /// Where clients call, by node.
    pub(crate) fn apis(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.api).collect()
    }

    /// Ways between nodes, if they can be cut.
    pub(crate) fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    pub(crate) fn process(&mut self, at: usize) -> anyhow::Result<&mut Process> {
        self.nodes[at].process.as_mut().context("it does not run")
    }

    /// Starts a node, for the first time or with what it has on its disk. Does not wait until it serves.
    pub(crate) fn begin(&mut self, at: usize) -> anyhow::Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(at))?;
        let (program, arguments) = self.command(at);
        self.nodes[at].process = Some(Process::start(&program, &arguments, log)?);
        Ok(())
    }

    /// Waits until a node serves.
    pub(crate) async fn ready(&mut self, at: usize) -> anyhow::Result<()> {
        let line = self.process(at)?.line().await;
        let name = &self.nodes[at].name;
        let line = line.with_context(|| format!("{name} does not start: {}", self.tail(at)))?;
        ensure!(line == "ready", "{name} says `{line}`");
        Ok(())
    }

    /// Kills a node. It runs no more until it begins again.
    pub(crate) async fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        self.process(at)?.kill().await?;
        self.nodes[at].process = None;
        Ok(())
    }

    /// Removes all that a node that doesn't run has on its disk.
    pub(crate) fn wipe(&self, at: usize) -> anyhow::Result<()> {
        ensure!(self.nodes[at].process.is_none(), "it runs");
        Ok(std::fs::remove_dir_all(self.data_dir(at))?)
    }

    /// Every node that was not killed must have lived, and none may have panicked.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for at in 0..self.nodes.len() {
            let Some(process) = &mut self.nodes[at].process else {
                continue;
            };
            let is_alive = process.is_alive()?;
            let name = &self.nodes[at].name;
            ensure!(is_alive, "{name} has ended: {}", self.tail(at));
            let text = std::fs::read_to_string(self.log(at))?;
            ensure!(
                !text.contains("panicked"),
                "{name} has panicked: {}",
                self.tail(at)
            );
        }
        Ok(())
    }

    /// Where histories may be put, and logs and data directories are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends the nodes, and keeps their logs and data directories.
    pub(crate) fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    fn command(&self, at: usize) -> (PathBuf, Vec<PathBuf>) {
        let node = &self.nodes[at];
        let (program, mut arguments) = match &self.network {
            Some(network) => network.within(at, self.program.as_os_str()),
            None => (self.program.clone(), Vec::new()),
        };
        arguments.push("serve-member".into());
        let mut option = |name: &str, value: PathBuf| {
            arguments.extend([PathBuf::from(name), value]);
        };
        option("--name", node.name.clone().into());
        option("--dir", self.data_dir(at));
        option("--certs", self.certs());
        option("--listen", node.listen.to_string().into());
        option("--api", node.api.to_string().into());
        for peer in &self.nodes {
            option("--peer", format!("{}={}", peer.name, peer.listen).into());
        }
        if at == 0 {
            arguments.push("--found".into());
        }
        (program, arguments)
    }

    fn data_dir(&self, at: usize) -> PathBuf {
        self.dir.path().join(&self.nodes[at].name)
    }

    fn certs(&self) -> PathBuf {
        self.dir.path().join("certs")
    }

    fn log(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("{}.log", self.nodes[at].name))
    }

    /// Last lines of a node's log.
    fn tail(&self, at: usize) -> String {
        const LINES: usize = 10;
        let text = std::fs::read_to_string(self.log(at)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Node {
    fn new(at: usize, network: Option<&Network>) -> anyhow::Result<Self> {
        let (listen, api) = match network {
            Some(network) => {
                let host = network.address(at);
                let address = |port: u16| SocketAddr::from((host, port));
                (address(CLUSTER_PORT), address(API_PORT))
            }
            None => (free_address()?, free_address()?),
        };
        Ok(Self {
            name: format!("n{}", at + 1),
            listen,
            api,
            process: None,
        })
    }
}

/// An address whose port is free for TCP and UDP. A node keeps its own when it is started again.
fn free_address() -> anyhow::Result<SocketAddr> {
    for _attempt in 0..16 {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no port is free for TCP and UDP")
}
