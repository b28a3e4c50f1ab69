//! Figures of the writes.

use std::time::Duration;

use serde::Serialize;

use super::orders::Counted;
use crate::measure::Summary;

/// Name of the replicated truth among the lanes.
pub(crate) const CLUSTER: &str = "cluster";
/// Name of the bare engine on the same kind of log.
pub(crate) const ENGINE: &str = "engine on sled";
/// Name of the bare engine that writes to no disk.
pub(super) const ENGINE_MEMORY: &str = "engine in memory";
/// Name of the disk by itself.
pub(super) const DISK: &str = "fdatasync alone";

/// Figures of one number of clients.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RaftOutcome {
    /// Clients.
    pub(crate) clients: usize,
    /// Rounds.
    pub(crate) rounds: usize,
    /// In the order of the rounds.
    pub(crate) lanes: Vec<RaftLane>,
}

/// Figures of one that was written to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RaftLane {
    /// Who.
    pub(crate) name: String,
    /// Committed writes a second.
    pub(crate) writes_per_second: Summary,
    /// Latency of a write in microseconds, 50 %.
    pub(crate) p50_us: Summary,
    /// The same, 99 %.
    pub(crate) p99_us: Summary,
    /// Syncs of one node's log a write.
    pub(crate) syncs_per_write: Summary,
    /// CPU time of all nodes a write, in microseconds.
    pub(crate) cpu_us: Option<Summary>,
    /// Writes a second against the bare engine on the same kind of log, round by round.
    pub(crate) against_engine: Option<Summary>,
    /// The same against the bare engine in memory.
    pub(crate) against_memory: Option<Summary>,
}

/// One window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) counted: Counted,
    /// CPU time of all processes, warm-up included.
    pub(super) cpu: Option<Duration>,
}

impl Sample {
    fn writes_per_second(&self) -> f64 {
        self.counted.writes as f64 * 1e6 / self.counted.elapsed_us.max(1) as f64
    }

    fn syncs_per_write(&self) -> f64 {
        self.counted.syncs as f64 / self.counted.writes.max(1) as f64
    }

    fn cpu_us(&self) -> Option<f64> {
        let writes = self.counted.writes_in_all.max(1) as f64;
        Some(self.cpu?.as_secs_f64() * 1e6 / writes)
    }
}

impl RaftOutcome {
    /// Sums up the samples of each lane; lanes without any are left out.
    pub(super) fn of(clients: usize, rounds: usize, lanes: &[(String, Vec<Sample>)]) -> Self {
        let rates = |samples: &[Sample]| -> Vec<f64> {
            samples.iter().map(Sample::writes_per_second).collect()
        };
        let rates_of = |name: &str| {
            let lane = lanes.iter().find(|(lane, _samples)| lane == name);
            lane.map_or_else(Vec::new, |(_name, samples)| rates(samples))
        };
        let (engine, memory) = (rates_of(ENGINE), rates_of(ENGINE_MEMORY));
        let lane = |(name, samples): &(String, Vec<Sample>)| {
            let sum = |figure: fn(&Sample) -> f64| Summary::of(samples.iter().map(figure));
            let against = |other: &[f64]| Summary::of_ratios(&rates(samples), other);
            let is_cluster = name == CLUSTER;
            let cpu: Option<Vec<f64>> = samples.iter().map(Sample::cpu_us).collect();
            Some(RaftLane {
                name: name.clone(),
                writes_per_second: Summary::of(rates(samples))?,
                p50_us: sum(|sample| sample.counted.p50_us)?,
                p99_us: sum(|sample| sample.counted.p99_us)?,
                syncs_per_write: sum(Sample::syncs_per_write)?,
                cpu_us: cpu.and_then(Summary::of),
                against_engine: against(&engine).filter(|_ratio| is_cluster),
                against_memory: against(&memory).filter(|_ratio| is_cluster),
            })
        };
        Self {
            clients,
            rounds,
            lanes: lanes.iter().filter_map(lane).collect(),
        }
    }

    /// Figures of one lane.
    pub(crate) fn lane(&self, name: &str) -> Option<&RaftLane> {
        self.lanes.iter().find(|lane| lane.name == name)
    }
}
