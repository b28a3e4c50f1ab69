//! `lockgate-bench`: drives MCP endpoints from outside and says what a call costs.
//!
//! `echo` is a fast MCP upstream, `floor` the bare pass-through proxy that every ratio refers to,
//! `run` puts load on any URLs in interleaved rounds, `idle` weighs idle sessions, `raft` writes to the replicated truth of
//! three local nodes, `audit` calls three gateways in each mode of their audit log, `suite` measures the performance budget of a gateway binary row by row.

mod affinity;
mod audit;
mod cli;
mod echo;
mod error;
mod floor;
mod load;
mod measure;
mod process;
mod raft;
mod report;
mod scenario;
mod serve;
mod suite;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    match cli::Cli::parse().verb {
        cli::Verb::Echo(args) => serve::run(&args.listener, echo::Echo::new(args.tools)),
        cli::Verb::Floor(args) => serve::run(&args.listener, floor::Floor::new(&args.to)?),
        cli::Verb::Run(args) => scenario::run(&args),
        cli::Verb::Idle(args) => scenario::run_idle(&args),
        cli::Verb::Audit(args) => audit::run(&args),
        cli::Verb::Raft(args) => raft::run(&args),
        cli::Verb::RaftMember(args) => raft::run_member(&args),
        cli::Verb::RaftBare(args) => raft::run_bare(&args),
        cli::Verb::Suite(args) => suite::run(&args),
        cli::Verb::Pin(args) => affinity::exec_pinned(&args),
    }
    .map_err(anyhow::Error::from)
}
