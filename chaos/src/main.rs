//! `lockgate-chaos`: faults times invariants, against real processes.
//!
//! One seed makes the plan (`plan`); the plan is carried out on a gateway and a counting server (`world`, `fault`)
//! under load (`load`); what the clients were told and what the server executed are judged afterwards (`invariant`).
//! `registers` breaks the nodes of a cluster and the ways between them; `linear` judges what its clients saw.

mod cli;
mod clock;
mod fault;
mod invariant;
mod linear;
mod load;
mod plan;
mod random;
mod registers;
mod report;
mod run;
mod upstream;
mod world;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use self::cli::{Cli, Verb};

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::print(&format!("lockgate-chaos: {error:#}\n"));
            // A run that could not be judged proves nothing.
            ExitCode::from(3)
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no event loop")?;
    match cli.verb {
        Verb::Quick(options) => runtime.block_on(run::quick(&options)),
        Verb::ServeUpstream(options) => {
            runtime.block_on(upstream::serve(&options))?;
            Ok(true)
        }
        Verb::Registers(options) => runtime.block_on(registers::run(&options)),
        Verb::Upgrade(options) => runtime.block_on(registers::upgrade::run(&options)),
        Verb::Audit(options) => runtime.block_on(registers::audit::run(&options)),
        Verb::Membership(options) => runtime.block_on(registers::membership::run(&options)),
        Verb::Quota(options) => runtime.block_on(registers::quota::run(&options)),
    }
}
