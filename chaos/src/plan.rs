//! The plan of a run: a pure function of its seed.

use std::time::Duration;

use crate::random::Random;

/// Faults of one run.
const FAULTS: usize = 6;

/// What happens to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL; started again on the same port after a while, with no memory of its sessions.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Pause,
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 and restart",
            Self::Pause => "SIGSTOP and SIGCONT",
        }
    }
}

/// One step: a calm phase, then a fault that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) calm: Duration,
    pub(crate) fault: Fault,
    pub(crate) lasts: Duration,
}

/// Steps in order. Both faults occur in every plan.
pub(crate) fn plan(seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let mut faults = vec![Fault::Kill, Fault::Pause];
    while faults.len() < FAULTS {
        faults.push(if random.next().is_multiple_of(2) {
            Fault::Kill
        } else {
            Fault::Pause
        });
    }
    let steps = faults.into_iter().map(|fault| Step {
        calm: random.millis(1_000, 2_000),
        fault,
        lasts: random.millis(1_000, 2_000),
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_plan_has_both_faults_and_fits_a_minute() {
        for seed in 0..1000 {
            let steps = plan(seed);
            for fault in [Fault::Kill, Fault::Pause] {
                assert!(steps.iter().any(|step| step.fault == fault));
            }
            let total: Duration = steps.iter().map(|step| step.calm + step.lasts).sum();
            assert!(total < Duration::from_secs(30), "{total:?}");
        }
    }
}
