//! A B A B: every target has one window in each round, so that what disturbs the machine disturbs all.

use super::Scenario;
use crate::{
    error::Result,
    load::{Engine, Sample, Target},
    report::Outcome,
};

/// Measures every target in interleaved rounds.
pub(crate) fn measure(scenario: &Scenario, targets: &[Target]) -> Result<Outcome> {
    let mut lanes: Vec<(Engine, Vec<Sample>)> = targets
        .iter()
        .map(|target| Ok((scenario.engine(target)?, Vec::new())))
        .collect::<Result<_>>()?;
    for _round in 0..scenario.rounds {
        for (engine, samples) in &mut lanes {
            samples.push(engine.run(scenario.pace, scenario.window)?);
        }
    }
    let lanes: Vec<(String, Vec<Sample>)> = lanes
        .into_iter()
        .map(|(engine, samples)| (engine.target().name.clone(), samples))
        .collect();
    Ok(Outcome::of(scenario, &lanes))
}
