//! Command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Shows what Lockgate keeps while things break.
#[derive(Debug, Parser)]
#[command(name = "lockgate-chaos", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// A short run: one gateway, one server that is killed and stopped at seeded moments.
    Quick(Quick),
    /// Nodes of one cluster, killed, stopped and cut off from each other at seeded moments: every answer of its
    /// registers must fit one order of all calls. With root the nodes have a network of their own.
    Registers(Registers),
    /// A cluster of three whose log is cut behind snapshots, that loses the disk of a node, grows to five, hands its
    /// leadership over, and shrinks to three, while no call may fail.
    Membership(Membership),
    /// A cluster whose nodes change from an old program to a new one and back, one by one, under load.
    Upgrade(Upgrade),
    /// Calls at all nodes of a cluster, one of which is killed and comes back: one log must hold all of them.
    Audit(Audit),
    /// Quotas of a cluster of three that is killed, stopped and cut off under load: what is let through must stay
    /// within the bound that the documentation states.
    Quota(Quotas),
    /// The counting server of a run.
    #[command(hide = true)]
    ServeUpstream(ServeUpstream),
}

/// `quick`.
#[derive(Debug, Args)]
pub(crate) struct Quick {
    /// The `lockgate` under test.
    #[arg(long)]
    pub(crate) bin: PathBuf,
    /// Seed of the whole plan.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Break something on purpose, to see that the judge notices.
    #[arg(long)]
    pub(crate) plant: Option<Plant>,
}

/// What can be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// One call counts as executed twice.
    Double,
    /// One answered call counts as never executed.
    Lost,
    /// The breaker counts as never tripped.
    DeadBreaker,
    /// Half of the calls of the calm phases count as failed.
    Failing,
    /// The calls after the last fault count as failed.
    NoRecovery,
}

/// `serve-upstream`.
#[derive(Debug, Args)]
pub(crate) struct ServeUpstream {
    /// Address.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// Every execution is appended here before it is answered: its key, and when, in microseconds of the machine.
    #[arg(long)]
    pub(crate) log: PathBuf,
}

/// `registers`.
#[derive(Debug, Args)]
pub(crate) struct Registers {
    /// The `lockgate` under test.
    #[arg(long)]
    pub(crate) bin: PathBuf,
    /// Seed of the first plan.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Runs, each with the next seed.
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: u64,
    /// How long faults go on in each run.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(5..=3600))]
    pub(crate) seconds: u64,
    /// Where to keep the history of each run.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Cut the power of disks, and have one lie about what it has written, instead of kills and cuts between nodes.
    /// Needs root, loop devices, `xfs_io` and `strace`.
    #[arg(long)]
    pub(crate) disks: bool,
    /// Print the results as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Read what each node knows by itself, to see that the judge notices.
    #[arg(long)]
    pub(crate) stale_reads: bool,
}

/// `membership`.
#[derive(Debug, Args)]
pub(crate) struct Membership {
    /// The `lockgate` under test.
    #[arg(long)]
    pub(crate) bin: PathBuf,
    /// Seed of what the clients do.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `upgrade`.
#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The new `lockgate`.
    #[arg(long)]
    pub(crate) bin: PathBuf,
    /// The old one.
    #[arg(long)]
    pub(crate) old: PathBuf,
    /// Seed of what the clients do.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// The `lockgate` under test.
    #[arg(long)]
    pub(crate) bin: PathBuf,
    /// Chooses the node that is killed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Calls at least.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) calls: usize,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Some executions count as never recorded, to see that the judge notices.
    #[arg(long)]
    pub(crate) plant_unrecorded: bool,
}

/// `quota`.
#[derive(Debug, Args)]
pub(crate) struct Quotas {
    /// The `lockgate` under test.
    #[arg(long)]
    pub(crate) bin: PathBuf,
    /// Seed of the plan.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How long faults go on.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(5..=3600))]
    pub(crate) seconds: u64,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Break something on purpose, to see that the judge notices.
    #[arg(long)]
    pub(crate) plant: Option<QuotaPlant>,
}

/// What can be broken on purpose in a run of quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuotaPlant {
    /// The nodes let twice as much through as the judge knows of.
    Twice,
    /// A node that counts as isolated is not, so that it lets calls through all the time.
    Deaf,
}
