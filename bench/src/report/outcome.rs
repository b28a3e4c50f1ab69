//! Figures of one scenario.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    load::{Pace, Sample},
    measure::{Summary, new_histogram},
    scenario::{Era, Kind, Scenario},
};

/// Name of the target that ratios refer to beside the first.
pub(crate) const REFERENCE: &str = "floor";
/// Quantiles that are kept for the plot.
const QUANTILES: [f64; 15] = [
    0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0,
];

/// Figures of one scenario, every target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// What was measured, for people.
    pub(crate) label: String,
    /// What was called.
    pub(crate) kind: Kind,
    /// In which era.
    pub(crate) era: Era,
    /// Over how many connections.
    pub(crate) connections: usize,
    /// Calls a second of an open loop.
    pub(crate) rate: Option<f64>,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Figures of each target, in the order of the rounds.
    pub(crate) lanes: Vec<Lane>,
}

/// Figures of one target in one scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lane {
    /// Target.
    pub(crate) target: String,
    /// Calls counted in all rounds.
    pub(crate) n_calls: u64,
    /// Throughput.
    pub(crate) calls_per_second: Summary,
    /// CPU time of the target's process a call, in microseconds.
    pub(crate) cpu_us: Option<Summary>,
    /// Cores that the target's process kept busy.
    pub(crate) busy: Option<Summary>,
    /// Latencies in microseconds.
    pub(crate) latency_us: Latency,
    /// Lateness of the load generator in microseconds; open loop only.
    pub(crate) lateness_us: Option<Lateness>,
    /// Against other targets, by their name.
    pub(crate) against: BTreeMap<String, Comparison>,
    /// Latency by quantile over all rounds, in microseconds.
    pub(crate) quantiles: Vec<(f64, f64)>,
    /// Each round by itself.
    pub(crate) samples: Vec<Round>,
}

/// Latencies in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    /// Median.
    pub(crate) p50: Summary,
    /// 90 %.
    pub(crate) p90: Summary,
    /// 99 %.
    pub(crate) p99: Summary,
    /// 99.9 %.
    pub(crate) p999: Summary,
}

/// How late the load generator was, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lateness {
    /// Median.
    pub(crate) p50: Summary,
    /// 99 %.
    pub(crate) p99: Summary,
}

/// One target against another, round by round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    /// Ratio of throughputs.
    pub(crate) calls_per_second: Option<Summary>,
    /// Ratio of CPU times a call.
    pub(crate) cpu: Option<Summary>,
    /// Median latency beyond the other's, in microseconds.
    pub(crate) added_p50_us: Option<Summary>,
    /// 99 % latency beyond the other's, in microseconds.
    pub(crate) added_p99_us: Option<Summary>,
}

/// One window.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    calls_per_second: f64,
    cpu_us: Option<f64>,
    p50_us: f64,
    p99_us: f64,
    lateness_p99_us: Option<f64>,
}

impl Outcome {
    /// Sums up the samples of each target.
    pub(crate) fn of(scenario: &Scenario, lanes: &[(String, Vec<Sample>)]) -> Self {
        let references: Vec<&(String, Vec<Sample>)> = lanes
            .iter()
            .enumerate()
            .filter(|(index, (name, _samples))| *index == 0 || name == REFERENCE)
            .map(|(_index, lane)| lane)
            .collect();
        Self {
            label: scenario.label(),
            kind: scenario.kind,
            era: scenario.era,
            connections: scenario.connections,
            rate: match scenario.pace {
                Pace::Closed => None,
                Pace::Open { rate, .. } => Some(rate),
            },
            rounds: scenario.rounds,
            lanes: lanes
                .iter()
                .filter_map(|(name, samples)| Lane::of(name, samples, &references))
                .collect(),
        }
    }

    /// Figures of one target.
    pub(crate) fn lane(&self, target: &str) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.target == target)
    }
}

impl Lane {
    /// `None` when there was no round.
    fn of(name: &str, samples: &[Sample], references: &[&(String, Vec<Sample>)]) -> Option<Self> {
        let latency = |quantile| each(samples, |sample| Some(sample.latency_us(quantile)));
        let lateness = |quantile| each(samples, |sample| sample.lateness_us(quantile));
        let against = references
            .iter()
            .filter(|(reference, _samples)| reference != name)
            .map(|(reference, others)| (reference.clone(), Comparison::of(samples, others)))
            .collect();
        let mut all = new_histogram();
        for sample in samples {
            // Both have the same bounds.
            let _added = all.add(&sample.latency);
        }
        let quantiles = QUANTILES
            .into_iter()
            .map(|quantile| (quantile, all.value_at_quantile(quantile) as f64 / 1e3))
            .collect();
        Some(Self {
            target: name.to_owned(),
            n_calls: samples.iter().map(|sample| sample.n_calls).sum(),
            calls_per_second: each(samples, |sample| Some(sample.calls_per_second()))?,
            cpu_us: each(samples, Sample::cpu_us),
            busy: each(samples, Sample::busy),
            latency_us: Latency {
                p50: latency(0.5)?,
                p90: latency(0.9)?,
                p99: latency(0.99)?,
                p999: latency(0.999)?,
            },
            lateness_us: lateness(0.5)
                .zip(lateness(0.99))
                .map(|(p50, p99)| Lateness { p50, p99 }),
            against,
            quantiles,
            samples: samples.iter().map(Round::of).collect(),
        })
    }
}

impl Comparison {
    fn of(samples: &[Sample], others: &[Sample]) -> Self {
        let ratio = |figure: fn(&Sample) -> Option<f64>| {
            let values: Option<Vec<f64>> = samples.iter().map(figure).collect();
            let references: Option<Vec<f64>> = others.iter().map(figure).collect();
            Summary::of_ratios(&values?, &references?)
        };
        let added =
            |quantile: f64| {
                let pairs = samples.iter().zip(others);
                Summary::of(pairs.map(|(sample, other)| {
                    sample.latency_us(quantile) - other.latency_us(quantile)
                }))
            };
        Self {
            calls_per_second: ratio(|sample| Some(sample.calls_per_second())),
            cpu: ratio(Sample::cpu_us),
            added_p50_us: added(0.5),
            added_p99_us: added(0.99),
        }
    }
}

impl Round {
    fn of(sample: &Sample) -> Self {
        Self {
            calls_per_second: sample.calls_per_second(),
            cpu_us: sample.cpu_us(),
            p50_us: sample.latency_us(0.5),
            p99_us: sample.latency_us(0.99),
            lateness_p99_us: sample.lateness_us(0.99),
        }
    }
}

/// Sums up a figure of each sample; `None` when a sample lacks it.
fn each(samples: &[Sample], figure: impl Fn(&Sample) -> Option<f64>) -> Option<Summary> {
    let values: Option<Vec<f64>> = samples.iter().map(figure).collect();
    Summary::of(values?)
}
