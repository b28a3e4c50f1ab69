//! The nodes of one cluster: `lockgate serve` processes, each with files, addresses and a certificate of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::disk::{self, Disk};
use super::network::{PREFIX, run_of};
use super::node::{KEY, KEY_ENV, Node, TOKEN};
use super::{Liar, Network, Process};

/// A log of a run of a few minutes is shorter: faults are said once, not for as long as they last.
const LOG_BYTES_MAX: u64 = 2 << 20;

/// What a cluster is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    /// The `lockgate` under test.
    pub(crate) program: &'a Path,
    /// Nodes that are started.
    pub(crate) nodes: usize,
    /// Nodes that there is room for.
    pub(crate) places: usize,
    /// Servers and quotas, as the configuration has them.
    pub(crate) registry: &'a str,
    /// Whether each node has a disk of its own, whose power can be cut.
    pub(crate) disks: bool,
}

/// A cluster under test; ends with the run.
#[derive(Debug)]
pub(crate) struct Members {
    // Before the network, whose namespaces they are in.
    nodes: Vec<Node>,
    network: Option<Network>,
    disks: Vec<Disk>,
    dir: TempDir,
}

impl Members {
    /// Makes a cluster and starts its nodes: in a network of their own if there can be one, else on loopback. Returns
    /// when each has a ready line; whether it serves already is for its callers to see.
    pub(crate) async fn start(setup: Setup<'_>) -> anyhow::Result<Self> {
        let mut members = Self::prepare(setup)?;
        let init = ["cluster", "init", "--config"].map(PathBuf::from);
        members.run(0, &[&init[..], &[members.config(0)]].concat())?;
        for at in 0..setup.nodes {
            members.begin(at)?;
            members.ready(at).await?;
        }
        Ok(members)
    }

    /// Writes what the nodes need. None of them runs yet.
    fn prepare(setup: Setup<'_>) -> anyhow::Result<Self> {
        let network = match Network::check() {
            Ok(()) => Some(Network::create(setup.places)?),
            Err(_no_root) => None,
        };
        let nodes = (0..setup.places).map(|at| Node::new(at, network.as_ref(), setup.program));
        let nodes: Vec<_> = nodes.collect();
        disk::sweep(|name| run_of(name.split_once('-')?.0))?;
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let mut members = Self {
            nodes,
            network,
            disks: Vec::new(),
            dir: TempDir::with_prefix(prefix).context("no temporary directory")?,
        };
        for at in 0..setup.places {
            let home = members.home(at);
            match setup.disks {
                true => members.disks.push(Disk::create(&home)?),
                false => std::fs::create_dir(home)?,
            }
        }
        let dir = members.dir();
        let mut certs = ["certs", "dev", "--dir"].map(PathBuf::from).to_vec();
        certs.push(dir.join("certs"));
        certs.extend(members.nodes.iter().map(|node| PathBuf::from(&node.name)));
        members.run(0, &certs)?;
        for (at, node) in members.nodes.iter().enumerate() {
            let text = node.config(dir, &members.nodes, setup.registry)?;
            std::fs::write(members.config(at), text)?;
        }
        Ok(members)
    }

    /// Where operators ask, by node.
    pub(crate) fn admins(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::admin).collect()
    }

    /// Where clients call, by node.
    pub(crate) fn calls(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::calls).collect()
    }

    /// Address of this machine that every node reaches.
    pub(crate) fn host(&self) -> Ipv4Addr {
        match &self.network {
            Some(network) => network.host(),
            None => Ipv4Addr::LOCALHOST,
        }
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
        let serve = ["serve", "--ready-json", "--config"].map(PathBuf::from);
        let command = self.command(at, &[&serve[..], &[self.config(at)]].concat());
        self.nodes[at].process = Some(Process::start(command, log)?);
        Ok(())
    }

    /// Waits until a node listens.
    pub(crate) async fn ready(&mut self, at: usize) -> anyhow::Result<()> {
        let line = self.process(at)?.line().await;
        let name = &self.nodes[at].name;
        let line = line.with_context(|| format!("{name} does not start: {}", self.tail(at)))?;
        ensure!(line.contains("\"ready\""), "{name} says `{line}`");
        Ok(())
    }

    /// Kills a node. It runs no more until it begins again.
    pub(crate) async fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        self.process(at)?.kill().await?;
        self.nodes[at].process = None;
        Ok(())
    }

    /// Cuts the power of a node and of its disk: what it did not write through is lost.
    pub(crate) async fn cut_power(&mut self, at: usize) -> anyhow::Result<()> {
        // Without power it does not live to see its disk fail.
        self.process(at)?.signal(Signal::STOP)?;
        self.disk(at)?.cut_power()?;
        self.kill(at).await
    }

    /// Gives the power back. The node does not run yet.
    pub(crate) fn restore_power(&self, at: usize) -> anyhow::Result<()> {
        self.disk(at)?.restore()
    }

    /// Leaves no room on the disk of a node.
    pub(crate) fn fill_disk(&self, at: usize) -> anyhow::Result<()> {
        self.disk(at)?.fill()
    }

    /// Makes room on the disk of a node again.
    pub(crate) fn make_room(&self, at: usize) -> anyhow::Result<()> {
        self.disk(at)?.make_room()
    }

    /// Waits until a node ends by itself. It runs no more until it begins again.
    pub(crate) async fn ended(&mut self, at: usize) -> anyhow::Result<ExitStatus> {
        let status = self.process(at)?.ended().await?;
        self.nodes[at].process = None;
        Ok(status)
    }

    /// From now on the disk of a node says that it has written what it has not.
    pub(crate) async fn lie(&mut self, at: usize) -> anyhow::Result<Liar> {
        let log = self.home(at).with_extension("lies");
        Liar::attach(self.process(at)?.pid, &log).await
    }

    /// Ends a node in peace. It runs no more until it begins again.
    pub(crate) async fn stop(&mut self, at: usize) -> anyhow::Result<()> {
        self.process(at)?.stop().await?;
        self.nodes[at].process = None;
        Ok(())
    }

    /// Has a node run another program from its next begin on.
    pub(crate) fn set_program(&mut self, at: usize, program: &Path) {
        self.nodes[at].program = program.to_owned();
    }

    /// Removes all that a node that doesn't run has on its disk.
    pub(crate) fn wipe(&self, at: usize) -> anyhow::Result<()> {
        ensure!(self.nodes[at].process.is_none(), "it runs");
        for file in std::fs::read_dir(self.home(at))? {
            let file = file?;
            match file.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(file.path())?,
                false => std::fs::remove_file(file.path())?,
            }
        }
        Ok(())
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

    /// No node may fill a disk with what it says of the others.
    pub(crate) fn check_logs(&self) -> anyhow::Result<()> {
        for at in 0..self.nodes.len() {
            let bytes = std::fs::metadata(self.log(at)).map_or(0, |log| log.len());
            let name = &self.nodes[at].name;
            ensure!(
                bytes <= LOG_BYTES_MAX,
                "the log of {name} has {bytes} bytes: {}",
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

    /// Data directory of a node.
    pub(crate) fn data_dir(&self, at: usize) -> PathBuf {
        self.home(at).join("data")
    }

    /// Runs a verb of a node's program to its end, where the node is, and returns what it prints.
    pub(crate) fn run(&self, at: usize, arguments: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
        let output = self.command(at, arguments).output();
        let output = output.context("the program cannot be started")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {}", error.trim());
        Ok(output.stdout)
    }

    fn command(&self, at: usize, arguments: &[PathBuf]) -> Command {
        let program = &self.nodes[at].program;
        let mut command = match &self.network {
            Some(network) => network.within(at, program.as_os_str()),
            None => Command::new(program),
        };
        command.env("LOCKGATE_TOKEN", TOKEN).env(KEY_ENV, KEY);
        command.args(arguments);
        command
    }

    fn disk(&self, at: usize) -> anyhow::Result<&Disk> {
        self.disks.get(at).context("it has no disk of its own")
    }

    /// Directory of a node.
    fn home(&self, at: usize) -> PathBuf {
        self.dir().join(&self.nodes[at].name)
    }

    fn config(&self, at: usize) -> PathBuf {
        self.home(at).with_extension("yaml")
    }

    fn log(&self, at: usize) -> PathBuf {
        self.home(at).with_extension("log")
    }

    /// Whether each node can have a disk of its own. Otherwise says why not.
    pub(crate) fn check_disks() -> anyhow::Result<()> {
        Disk::check()
    }

    /// Last lines of a node's log.
    fn tail(&self, at: usize) -> String {
        const LINES: usize = 10;
        let text = std::fs::read_to_string(self.log(at)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}
