//! A B A B: every target has one window in each round, so that what disturbs the machine disturbs all.

use std::time::Duration;

use super::Scenario;
use crate::{
    error::Result,
    load::{Engine, Lane, Sample, Target},
    report::Outcome,
};

/// Measures every target in interleaved rounds.
pub(crate) fn measure(scenario: &Scenario, targets: &[Target]) -> Result<Outcome> {
    let lanes: Vec<Lane> = targets.iter().map(Lane::from).collect();
    measure_lanes(scenario, &lanes, Duration::ZERO)
}

/// Measures every lane in interleaved rounds, and gives each up to `rest` to finish what it put off, lest it does so in
/// the window of the next.
pub(crate) fn measure_lanes(
    scenario: &Scenario,
    lanes: &[Lane],
    rest: Duration,
) -> Result<Outcome> {
    let mut measured: Vec<(Engine, Vec<Sample>)> = lanes
        .iter()
        .map(|lane| Ok((scenario.engine(lane)?, Vec::new())))
        .collect::<Result<_>>()?;
    for _round in 0..scenario.rounds {
        for (engine, samples) in &mut measured {
            samples.push(engine.run(scenario.pace, scenario.window)?);
            engine.wait_until_idle(rest)?;
        }
    }
    let samples: Vec<(String, Vec<Sample>)> = measured
        .into_iter()
        .map(|(engine, samples)| (engine.name().to_owned(), samples))
        .collect();
    Ok(Outcome::of(scenario, &samples))
}
