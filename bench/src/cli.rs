//! Command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    load::Target,
    raft::Log,
    scenario::{Era, Kind},
};

/// Measures MCP endpoints from outside.
#[derive(Debug, Parser)]
#[command(name = "lockgate-bench", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Serve a fast MCP upstream of both eras.
    Echo(EchoArgs),
    /// Serve the bare pass-through proxy that ratios refer to.
    Floor(FloorArgs),
    /// Put load on targets, in interleaved rounds.
    Run(Box<RunArgs>),
    /// Open sessions on a target and see what each of them weighs.
    Idle(IdleArgs),
    /// Measure the performance budget of a gateway.
    Suite(Box<SuiteArgs>),
    /// Write to the replicated truth of three local nodes, to the bare engine and to the disk, in interleaved rounds.
    Raft(RaftArgs),
    /// Call three gateways that form a cluster, in each mode of their audit log.
    Audit(AuditArgs),
    /// Be one node of `raft`.
    #[command(hide = true)]
    RaftMember(RaftMemberArgs),
    /// Be the bare engine of `raft`.
    #[command(hide = true)]
    RaftBare(RaftBareArgs),
    /// Run a program on one core or on all; it ends when this process's parent does.
    Pin(PinArgs),
}

/// Where a server listens.
#[derive(Debug, Args)]
pub(crate) struct ListenerArgs {
    /// Address; port 0 lets the kernel choose.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Print the address on standard output once it is listened on.
    #[arg(long)]
    pub(crate) print_addr: bool,
    /// Core to run on.
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
}

/// `echo`.
#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// Listener.
    #[command(flatten)]
    pub(crate) listener: ListenerArgs,
    /// Tools that `tools/list` shows.
    #[arg(long, default_value_t = 100)]
    pub(crate) tools: usize,
}

/// `floor`.
#[derive(Debug, Args)]
pub(crate) struct FloorArgs {
    /// Listener.
    #[command(flatten)]
    pub(crate) listener: ListenerArgs,
    /// URL of the upstream; its path is not used, each request's own path is kept.
    #[arg(long)]
    pub(crate) to: String,
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// `name=URL[,pid=PID][,header=K:V]...[,prefix=P]`; the first is what ratios refer to, and so is one named `floor`.
    #[arg(long = "target", required = true)]
    pub(crate) targets: Vec<Target>,
    /// Scenario.
    #[arg(long, value_enum, default_value_t = Kind::Small)]
    pub(crate) scenario: Kind,
    /// Protocol era.
    #[arg(long, value_enum, default_value_t = Era::Session)]
    pub(crate) era: Era,
    /// Connections to each target; in the session era each has its own session.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Open loop: calls a second. Without it every connection sends when it has its answer.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Open loop: microseconds before each call in which to spin instead of sleeping. Spin only
    /// on a core that no target and no upstream needs.
    #[arg(long, default_value_t = 0)]
    pub(crate) spin_us: u64,
    /// Rounds; in each, every target has one window.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Seconds of a window that count.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) measure: Duration,
    /// Seconds of load before them.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// Tools that every target has to list.
    #[arg(long)]
    pub(crate) expect_tools: Option<usize>,
    /// Core for the load.
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    /// Directory for results.json and report.html.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

/// `idle`.
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// `name=URL,pid=PID[,header=K:V]...[,prefix=P]`
    #[arg(long = "target", required = true)]
    pub(crate) targets: Vec<Target>,
    /// Sessions to open on each target, one after the other.
    #[arg(long, default_value_t = 2000)]
    pub(crate) sessions: usize,
    /// Sessions among them that also hold a `GET` stream open.
    #[arg(long, default_value_t = 1000)]
    pub(crate) streams: usize,
    /// Seconds until the target has put idle sessions away; without it, that is not measured.
    #[arg(long, value_parser = seconds)]
    pub(crate) passivate_wait: Option<Duration>,
}

/// `suite`.
#[derive(Debug, Args)]
pub(crate) struct SuiteArgs {
    /// Gateway to start and measure.
    #[arg(long, required_unless_present = "gateway_url")]
    pub(crate) gateway_bin: Option<PathBuf>,
    /// Gateway that runs already in front of --echo, written like a target of `run`. Rows that
    /// need a start of their own are left out.
    #[arg(long, conflicts_with = "gateway_bin", requires = "echo")]
    pub(crate) gateway_url: Option<Target>,
    /// Echo that the running gateway leads to, written like a target of `run`.
    #[arg(long, requires = "gateway_url")]
    pub(crate) echo: Option<Target>,
    /// Short windows: at most 90 seconds in all.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Exit with 1 and name each budget of this file that is missed.
    #[arg(long)]
    pub(crate) check: Option<PathBuf>,
    /// Directory for results.json and report.html.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Core for the process under test.
    #[arg(long, default_value_t = 0)]
    pub(crate) target_cpu: usize,
    /// Core for load and upstream.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_cpu: usize,
}

/// `raft`.
#[derive(Debug, Args)]
pub(crate) struct RaftArgs {
    /// Clients, each of which writes again when it has its answer; one series of windows for each number.
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024", value_parser = clients)]
    pub(crate) clients: Vec<usize>,
    /// Rounds; in each, everything has one window.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Seconds of a window that count.
    #[arg(long, default_value = "3", value_parser = seconds)]
    pub(crate) measure: Duration,
    /// Seconds of writes before them.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// Directory for results.json and report.html.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

/// `audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Gateway to start and measure.
    #[arg(long)]
    pub(crate) gateway_bin: PathBuf,
    /// Rounds; in each, every mode has one window.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Seconds of a window that count.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) measure: Duration,
    /// Seconds of load before them.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// Core for load and upstream.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_cpu: usize,
    /// Directory for results.json and report.html.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

/// `raft-member`.
#[derive(Debug, Args)]
pub(crate) struct RaftMemberArgs {
    /// Name of the node.
    #[arg(long)]
    pub(crate) name: String,
    /// Its data directory.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Directory of the CA and the certificates.
    #[arg(long)]
    pub(crate) certs: PathBuf,
    /// Where it listens for other nodes.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// `name=address` of each node, this one too.
    #[arg(long = "peer", required = true)]
    pub(crate) peers: Vec<String>,
    /// Make the cluster instead of joining it.
    #[arg(long)]
    pub(crate) found: bool,
}

/// `raft-bare`.
#[derive(Debug, Args)]
pub(crate) struct RaftBareArgs {
    /// Where its log is.
    #[arg(long, value_enum)]
    pub(crate) log: Log,
    /// Directory for a log on the disk.
    #[arg(long)]
    pub(crate) dir: PathBuf,
}

/// `pin`.
#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// Core; all of them without.
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    /// Give it a session of its own, which goes before other work on the machine where that is allowed.
    #[arg(long)]
    pub(crate) prefer: bool,
    /// Program and its arguments.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// More of them have their own proposals under way than a node admits at once; the rest would wait for a permit.
const CLIENTS_MAX: usize = 1024;

fn clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(clients @ 1..=CLIENTS_MAX) => Ok(clients),
        _ => Err(format!("a number from 1 to {CLIENTS_MAX}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_error| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
