//! The rows of the budget.

use std::{slice, thread, time::Duration};

use super::{
    bed::{Bed, SERVERS, SESSION_SERVER, STATELESS_SERVER, TOOLS, Variant},
    plan::Plan,
};
use crate::{
    error::Result,
    load::{Pace, Target, Window},
    measure::{Memory, Summary},
    report::{Comparison, Figure, Outcome, REFERENCE, Report},
    scenario::{Era, IdlePlan, Kind, Scenario, measure, measure_idle, wait_for_tools},
};

/// Connections of the small calls.
const CONNECTIONS: usize = 64;
/// Connections of calls with large answers, and of the open loop.
const CONNECTIONS_FEW: usize = 16;
/// Calls a second of the open loop.
const RATE: f64 = 1000.0;
/// Target of calls to a server of the client's era.
const SAME_ERA: &str = "same era";
/// Target of calls to a server of the other era.
const BRIDGED: &str = "bridged";
/// When the gateway whose passivated sessions are weighed puts them away.
const PASSIVATE_AFTER: Duration = Duration::from_secs(1);
/// How long after their last call they are weighed: a sweep may come a whole period late.
const PASSIVATE_WAIT: Duration = Duration::from_millis(2500);
/// How long a fresh node is left alone before it is weighed.
const IDLE_SETTLE: Duration = Duration::from_secs(1);

/// Rows measured so far.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    plan: Plan,
    bed: &'a Bed,
    report: Report,
}

impl<'a> Rows<'a> {
    pub(super) fn new(plan: Plan, bed: &'a Bed) -> Self {
        Self {
            plan,
            bed,
            report: Report::new(),
        }
    }

    /// Measures every row.
    pub(super) fn measure(mut self) -> Result<Report> {
        wait_for_tools(self.bed.gateway(), TOOLS)?;
        self.small_calls()?;
        self.fixed_rate()?;
        self.large_result()?;
        self.merged_list()?;
        self.bridged()?;
        self.without_budget()?;
        self.memory()?;
        self.start()?;
        Ok(self.report)
    }

    /// Rows a and b.
    fn small_calls(&mut self) -> Result<()> {
        for (era, name) in [(Era::Session, "session"), (Era::Stateless, "stateless")] {
            let outcome = self.load(Kind::Small, era, CONNECTIONS, self.plan.small)?;
            let against = self.against_floor(outcome);
            let cpu = against.as_ref().and_then(|against| against.cpu);
            let calls = against
                .as_ref()
                .and_then(|against| against.calls_per_second);
            self.figure(&format!("a.{name}"), cpu);
            self.figure(&format!("b.{name}"), calls);
            if self.plan.has_extras {
                self.load(Kind::Small, era, CONNECTIONS_FEW, self.plan.small)?;
            }
        }
        Ok(())
    }

    /// Row c.
    fn fixed_rate(&mut self) -> Result<()> {
        let pace = Pace::Open {
            rate: RATE,
            spin: Duration::ZERO,
        };
        let scenario = Scenario {
            pace,
            ..self.scenario(Kind::Small, Era::Session, CONNECTIONS_FEW, self.plan.open)
        };
        let outcome = self.run(&scenario, &self.bed.targets())?;
        let against = self.against_floor(outcome);
        let added = |added: fn(&Comparison) -> Option<Summary>| against.as_ref().and_then(added);
        let (p50, p99) = (
            added(|against| against.added_p50_us),
            added(|against| against.added_p99_us),
        );
        self.figure("c.added_p50", p50);
        self.figure("c.added_p99", p99);
        Ok(())
    }

    /// Row d, scrub off.
    fn large_result(&mut self) -> Result<()> {
        let outcome = self.load(Kind::Blob, Era::Session, CONNECTIONS_FEW, self.plan.other)?;
        let cpu = self.against_floor(outcome).and_then(|against| against.cpu);
        self.figure("d.scrub_off", cpu);
        Ok(())
    }

    /// Row e: the floor carries a list of the same size.
    fn merged_list(&mut self) -> Result<()> {
        let Some(gateway) = self.bed.another("gateway-list", Variant::ManyServers)? else {
            return Ok(());
        };
        let target = gateway.target("")?;
        let listing = wait_for_tools(&target, SERVERS * TOOLS)?;
        let scenario = self.scenario(Kind::List, Era::Session, CONNECTIONS_FEW, self.plan.other);
        let targets = [self.bed.floor_sized(listing.bytes)?, target];
        let outcome = self.run(&scenario, &targets)?;
        let cpu = self.against_floor(outcome).and_then(|against| against.cpu);
        self.figure("e.list", cpu);
        Ok(())
    }

    /// Calls that change the era on their way, against calls of the same client to a server of its own era.
    fn bridged(&mut self) -> Result<()> {
        let Some(gateway) = self.bed.another("gateway-eras", Variant::BothEras)? else {
            return Ok(());
        };
        wait_for_tools(&gateway.target("")?, 2 * TOOLS)?;
        let target = |name: &str, server: &str| {
            let mut target = gateway.target(&format!("{server}_"))?;
            name.clone_into(&mut target.name);
            Ok(target)
        };
        for (era, own, other, way) in [
            (Era::Session, SESSION_SERVER, STATELESS_SERVER, "up"),
            (Era::Stateless, STATELESS_SERVER, SESSION_SERVER, "down"),
        ] {
            for (kind, size) in [(Kind::Small, "small"), (Kind::Upload, "20k")] {
                let scenario = self.scenario(kind, era, CONNECTIONS_FEW, self.plan.other);
                let targets = [target(SAME_ERA, own)?, target(BRIDGED, other)?];
                let outcome = self.run(&scenario, &targets)?;
                let bridged = self.report.outcomes.get(outcome);
                let cpu =
                    bridged.and_then(|outcome| outcome.lane(BRIDGED)?.against.get(SAME_ERA)?.cpu);
                self.figure(&format!("bridge.{way}.{size}"), cpu);
            }
        }
        Ok(())
    }

    /// Scenarios that the budget does not name.
    fn without_budget(&mut self) -> Result<()> {
        let mut kinds = vec![Kind::Progress, Kind::SessionCycle, Kind::Mixed];
        if self.plan.has_extras {
            kinds.push(Kind::List);
        }
        for kind in kinds {
            self.load(kind, Era::Session, CONNECTIONS_FEW, self.plan.other)?;
        }
        Ok(())
    }

    /// Row f.
    fn memory(&mut self) -> Result<()> {
        let Some(gateway) = self.bed.another("gateway-active", Variant::OneServer)? else {
            return Ok(());
        };
        thread::sleep(IDLE_SETTLE);
        let idle = Memory::read(gateway.pid())?;
        let prefix = &self.bed.gateway().prefix;
        let target = gateway.target(prefix)?;
        self.fill_caches(&target)?;
        let active = measure_idle(
            &target,
            IdlePlan {
                sessions: self.plan.sessions,
                streams: self.plan.streams,
                passivate_wait: None,
            },
        )?;
        drop(gateway);
        let variant = Variant::Passivating(PASSIVATE_AFTER);
        let Some(gateway) = self.bed.another("gateway-passivated", variant)? else {
            return Ok(());
        };
        let target = gateway.target(prefix)?;
        self.fill_caches(&target)?;
        let passivated = measure_idle(
            &target,
            IdlePlan {
                sessions: self.plan.sessions,
                streams: 0,
                passivate_wait: Some(PASSIVATE_WAIT),
            },
        )?;
        let kib = |bytes: f64| Summary::of([bytes / 1024.0]);
        self.figure("f.idle_node", kib(idle.rss as f64 / 1024.0));
        self.figure("f.active_session", kib(active.active));
        self.figure("f.open_stream", active.stream.and_then(kib));
        let passivated_kib = passivated
            .passivated
            .map(|weight| weight.scaled(1.0 / 1024.0));
        self.figure("f.passivated_session", passivated_kib);
        self.report.idle.extend([active, passivated]);
        Ok(())
    }

    /// What a node keeps of its latest calls, up to a bound, whoever makes them, is no part of a session's weight.
    fn fill_caches(&self, target: &Target) -> Result<()> {
        wait_for_tools(target, TOOLS)?;
        let mut calls = self.scenario(
            Kind::Small,
            Era::Stateless,
            CONNECTIONS_FEW,
            self.plan.small,
        );
        calls.rounds = 1;
        measure(&calls, slice::from_ref(target))?;
        thread::sleep(IDLE_SETTLE);
        Ok(())
    }

    /// Row g.
    fn start(&mut self) -> Result<()> {
        let mut starts = Vec::new();
        for n in 0..self.plan.starts {
            let name = format!("gateway-start-{n}");
            let Some(gateway) = self.bed.another(&name, Variant::ManyServers)? else {
                return Ok(());
            };
            starts.push(gateway.ready_after().as_secs_f64() * 1e3);
        }
        self.figure("g.start", Summary::of(starts));
        Ok(())
    }

    /// Puts a closed loop on all three targets.
    fn load(&mut self, kind: Kind, era: Era, connections: usize, window: Window) -> Result<usize> {
        let scenario = self.scenario(kind, era, connections, window);
        self.run(&scenario, &self.bed.targets())
    }

    /// Runs a scenario and keeps its outcome; gives its place in the report.
    fn run(&mut self, scenario: &Scenario, targets: &[Target]) -> Result<usize> {
        self.report.outcomes.push(measure(scenario, targets)?);
        Ok(self.report.outcomes.len() - 1)
    }

    fn scenario(&self, kind: Kind, era: Era, connections: usize, window: Window) -> Scenario {
        Scenario {
            kind,
            era,
            connections,
            pace: Pace::Closed,
            window,
            rounds: self.plan.rounds,
            n_tools: None,
        }
    }

    /// The gateway against the floor in one outcome.
    fn against_floor(&self, outcome: usize) -> Option<Comparison> {
        let outcome: &Outcome = self.report.outcomes.get(outcome)?;
        let lane = outcome.lane(&self.bed.gateway().name)?;
        lane.against.get(REFERENCE).cloned()
    }

    fn figure(&mut self, id: &str, value: Option<Summary>) {
        self.report.figures.extend(value.map(|value| Figure {
            id: id.to_owned(),
            value,
        }));
    }
}
