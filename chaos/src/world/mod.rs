//! The processes of a run, and where they live.

mod counter;
mod disk;
mod liar;
mod members;
mod network;
mod node;
mod process;
mod tool;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::net::TcpSocket;

pub(crate) use self::counter::Counter;
pub(crate) use self::liar::Liar;
pub(crate) use self::members::{Members, Setup};
pub(crate) use self::network::Network;
pub(crate) use self::node::{KEY, TOKEN};
pub(crate) use self::process::Process;

/// A gateway, and the counting server behind it.
#[derive(Debug)]
pub(crate) struct World {
    dir: TempDir,
    upstream_address: SocketAddr,
    /// Keeps its port from everybody else while it is down.
    _upstream_port: TcpSocket,
    pub(crate) upstream: Process,
    gateway: Process,
    /// Data plane of the gateway.
    pub(crate) address: SocketAddr,
}

impl World {
    /// Starts both and waits until the gateway is ready.
    pub(crate) async fn start(gateway: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("no temporary directory")?;
        // The server keeps its port when it is started again: somebody has to know it before.
        let upstream_port = TcpSocket::new_v4()?;
        upstream_port.set_reuseaddr(true)?;
        upstream_port.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let upstream_address = upstream_port.local_addr()?;
        let upstream = start_upstream(dir.path(), upstream_address).await?;
        let config = dir.path().join("lockgate.yaml");
        std::fs::write(&config, config_text(dir.path(), upstream_address))?;
        let mut serve = Command::new(gateway);
        serve
            .args(["serve", "--ready-json", "--config"])
            .arg(config);
        let log = std::fs::File::create(dir.path().join("gateway.log"))?;
        let mut gateway = Process::start(serve, log)?;
        let line = gateway.line().await.context("the gateway does not start")?;
        let ready: serde_json::Value = serde_json::from_str(&line)?;
        let address = ready["listen"]
            .as_str()
            .context("no `listen` in the ready line")?;
        Ok(Self {
            address: address.parse()?,
            dir,
            upstream_address,
            _upstream_port: upstream_port,
            upstream,
            gateway,
        })
    }

    /// Starts the server again, on its port.
    pub(crate) async fn restart_upstream(&mut self) -> anyhow::Result<()> {
        self.upstream = start_upstream(self.dir.path(), self.upstream_address).await?;
        Ok(())
    }

    /// Keys that the server executed, in order.
    pub(crate) fn executed(&self) -> anyhow::Result<Vec<String>> {
        let executed = executions(&execution_log(self.dir.path()))?;
        Ok(executed.into_iter().map(|(key, _when)| key).collect())
    }

    /// The gateway must have lived through everything.
    pub(crate) fn check_gateway(&mut self) -> anyhow::Result<()> {
        ensure!(
            self.gateway.is_alive()?,
            "the gateway has ended:\n{}",
            self.log()
        );
        ensure!(
            !self.log().contains("panicked"),
            "the gateway panicked:\n{}",
            self.log()
        );
        Ok(())
    }

    /// Keeps logs and histories of a failed run; returns where.
    pub(crate) fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("gateway.log")).unwrap_or_default()
    }
}

fn execution_log(dir: &Path) -> PathBuf {
    dir.join("executed")
}

/// What the counting server has written down: keys in order, each with its moment.
fn executions(log: &Path) -> anyhow::Result<Vec<(String, u64)>> {
    let text = std::fs::read_to_string(log)?;
    let execution = |line: &str| {
        let (key, at_us) = line.split_once(' ')?;
        Some((key.to_owned(), at_us.parse().ok()?))
    };
    let executions = text.lines().map(execution);
    let executions: Option<Vec<_>> = executions.collect();
    executions.context("the execution log cannot be read")
}

async fn start_upstream(dir: &Path, address: SocketAddr) -> anyhow::Result<Process> {
    let program = std::env::current_exe().context("this program does not know its own path")?;
    let mut serve = Command::new(program);
    serve.args(["serve-upstream", "--listen", &address.to_string()]);
    serve.arg("--log").arg(execution_log(dir));
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("upstream.log"))?;
    let mut process = Process::start(serve, log)?;
    process.line().await.context("the server does not start")?;
    Ok(process)
}

/// Times are short, so that a breaker can be seen to open and close within a fault of a second.
fn config_text(dir: &Path, upstream: SocketAddr) -> String {
    let dir = dir.display();
    let open_for = Duration::from_millis(200);
    format!(
        r#"listen: 127.0.0.1:0
admin: {{ listen: 127.0.0.1:0 }}
data_dir: "{dir}/data"
audit: {{ file: "{dir}/audit.jsonl" }}
identity: {{ anonymous: [all] }}
roles: {{ all: {{ allow: ["*"] }} }}
servers:
  counter:
    url: "http://{upstream}/mcp"
    era: session
    timeout: 300ms
    connect_timeout: 300ms
    breaker: {{ failures: 3, open_for: {0}ms, open_for_max: {0}ms }}
    health: {{ interval: 500ms, timeout: 300ms }}
"#,
        open_for.as_millis()
    )
}
