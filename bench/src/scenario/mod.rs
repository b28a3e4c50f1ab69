//! What is measured: kinds of load, and the interleaved rounds in which targets take turns.

mod call;
mod expectation;
mod idle;
mod list;
mod protocol;
mod rounds;
mod session_cycle;

use std::{process::ExitCode, thread, time::Duration};

use clap::ValueEnum;
use serde::Serialize;
use tokio::time::Instant;

use self::{
    call::{CallJob, MixedJob, Tool},
    list::ListJob,
    protocol::Speaker,
    session_cycle::SessionCycleJob,
};
use crate::{
    affinity,
    cli::{IdleArgs, RunArgs},
    error::{Error, Result},
    load::{Engine, Job, Lane, Pace, Target, Window},
    report::Report,
};

pub(crate) use self::{
    idle::{IdleOutcome, IdlePlan, measure_idle},
    list::Listing,
    protocol::Era,
    rounds::{measure, measure_lanes},
};

/// Longest wait for a gateway's tools.
const TOOLS_WAIT: Duration = Duration::from_secs(15);
/// How often they are looked for.
const TOOLS_POLL: Duration = Duration::from_millis(50);

/// Kinds of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// `tools/call` with a small argument that comes back.
    Small,
    /// `tools/call` with an argument of 20 kB that comes back.
    Upload,
    /// `tools/call` with a result of 64 KiB.
    Blob,
    /// `tools/list`, all pages.
    List,
    /// `tools/call` answered by a stream of 10 progress notifications and a result.
    Progress,
    /// A session opened and closed.
    SessionCycle,
    /// 90 small calls, 4 lists, 4 progress streams and 2 large results in a hundred.
    Mixed,
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// What is called.
    pub(crate) kind: Kind,
    /// In which era.
    pub(crate) era: Era,
    /// Over how many connections.
    pub(crate) connections: usize,
    /// How calls follow one another.
    pub(crate) pace: Pace,
    /// How long a window is.
    pub(crate) window: Window,
    /// How many windows each target has.
    pub(crate) rounds: usize,
    /// How many tools have to be listed, where that is known.
    pub(crate) n_tools: Option<usize>,
}

impl Scenario {
    /// Its name in the report.
    pub(crate) fn label(&self) -> String {
        let kind = match self.kind {
            Kind::Small => "small call",
            Kind::Upload => "20 kB argument",
            Kind::Blob => "64 KiB result",
            Kind::List => "tool list",
            Kind::Progress => "progress stream",
            Kind::SessionCycle => "session open/close",
            Kind::Mixed => "mixed",
        };
        let era = match self.era {
            Era::Session => "session",
            Era::Stateless => "stateless",
        };
        let connections = self.connections;
        match self.pace {
            Pace::Closed => format!("{kind}, {era}, {connections} connections"),
            Pace::Open { rate, .. } => format!("{kind}, {era}, {rate} calls/s"),
        }
    }

    /// Connects to the targets in turn, each connection in a session of its own where the era has them.
    fn engine(&self, lane: &Lane) -> Result<Engine> {
        let mut engine = Engine::new(lane)?;
        let tools = [Tool::Echo, Tool::Upload, Tool::Blob, Tool::Progress];
        let expectations = tools.map(Tool::expectation);
        for index in 0..self.connections {
            let at = index % lane.targets.len();
            let (client, speaker) = Speaker::open(&lane.targets[at], self.era)?;
            let call = |tool: Tool| CallJob::new(tool, &speaker, &expectations[tool as usize]);
            let job: Box<dyn Job> = match self.kind {
                Kind::Small => Box::new(call(Tool::Echo)),
                Kind::Upload => Box::new(call(Tool::Upload)),
                Kind::Blob => Box::new(call(Tool::Blob)),
                Kind::Progress => Box::new(call(Tool::Progress)),
                Kind::List => Box::new(ListJob::new(speaker, self.n_tools)),
                Kind::SessionCycle => Box::new(SessionCycleJob::new(&speaker)),
                Kind::Mixed => {
                    let jobs: Vec<(usize, Box<dyn Job>)> = vec![
                        (90, Box::new(call(Tool::Echo))),
                        (4, Box::new(call(Tool::Progress))),
                        (2, Box::new(call(Tool::Blob))),
                        (4, Box::new(ListJob::new(speaker, self.n_tools))),
                    ];
                    // Seven shares no factor with the hundred of a cycle.
                    Box::new(MixedJob::new(jobs, index * 7))
                }
            };
            engine.add(client, at, job)?;
        }
        Ok(engine)
    }
}

/// Lists the tools of `target` until there are `n_tools`: a gateway gathers them after its start.
pub(crate) fn wait_for_tools(target: &Target, n_tools: usize) -> Result<Listing> {
    let (mut client, speaker) = Speaker::open(target, Era::Session)?;
    let deadline = Instant::now() + TOOLS_WAIT;
    loop {
        let listing = ListJob::new(speaker.clone(), None).list(&mut client)?;
        if listing.tools >= n_tools {
            return Ok(listing);
        }
        if Instant::now() > deadline {
            let tools = listing.tools;
            return Err(Error::NotReady {
                name: target.name.clone(),
                why: format!("{tools} tools instead of {n_tools} after {TOOLS_WAIT:?}"),
            });
        }
        thread::sleep(TOOLS_POLL);
    }
}

/// The verb `run`.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    if let Some(cpu) = args.cpu {
        affinity::pin(cpu)?;
    }
    let scenario = Scenario {
        kind: args.scenario,
        era: args.era,
        connections: args.connections,
        pace: args.rate.map_or(Pace::Closed, |rate| Pace::Open {
            rate,
            spin: Duration::from_micros(args.spin_us),
        }),
        window: Window {
            warmup: args.warmup,
            measure: args.measure,
        },
        rounds: args.rounds,
        n_tools: args.expect_tools,
    };
    let mut report = Report::new();
    report.outcomes.push(measure(&scenario, &args.targets)?);
    report.print()?;
    if let Some(directory) = &args.out {
        report.write(directory)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The verb `idle`.
pub(crate) fn run_idle(args: &IdleArgs) -> Result<ExitCode> {
    let plan = IdlePlan {
        sessions: args.sessions,
        streams: args.streams.min(args.sessions),
        passivate_wait: args.passivate_wait,
    };
    let mut report = Report::new();
    for target in &args.targets {
        report.idle.push(measure_idle(target, plan)?);
    }
    report.print()?;
    Ok(ExitCode::SUCCESS)
}
