//! The plan of a run: a pure function of its seed.

use std::time::Duration;

use crate::random::Random;

/// What happens to the nodes, and to the ways between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// SIGKILL of the leader; started again after a while.
    KillLeader,
    /// SIGKILL of a node that follows.
    KillFollower,
    /// SIGKILL of all nodes at once.
    KillAll,
    /// SIGSTOP of the leader, and SIGCONT after a while: it does not know that time has passed.
    PauseLeader,
    /// The leader hears nobody, and nobody hears it. Clients still reach it.
    IsolateLeader,
    /// One node hears nobody and is not heard.
    IsolateFollower,
    /// One node does not hear the leader.
    CutFromLeader,
    /// The leader does not hear one node.
    CutToLeader,
}

impl Fault {
    const ALL: [Self; 8] = [
        Self::KillLeader,
        Self::IsolateLeader,
        Self::CutFromLeader,
        Self::KillFollower,
        Self::KillAll,
        Self::PauseLeader,
        Self::CutToLeader,
        Self::IsolateFollower,
    ];
    /// As many of them, from the front, come first: a short run has to have them.
    const FIRST: usize = 3;

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill -9 leader",
            Self::KillFollower => "kill -9 follower",
            Self::KillAll => "kill -9 all",
            Self::PauseLeader => "SIGSTOP leader",
            Self::IsolateLeader => "isolate leader",
            Self::IsolateFollower => "isolate follower",
            Self::CutFromLeader => "cut from leader",
            Self::CutToLeader => "cut to leader",
        }
    }

    /// Whether it needs ways that can be cut.
    pub(super) fn is_cut(self) -> bool {
        match self {
            Self::KillLeader | Self::KillFollower | Self::KillAll | Self::PauseLeader => false,
            Self::IsolateLeader
            | Self::IsolateFollower
            | Self::CutFromLeader
            | Self::CutToLeader => true,
        }
    }
}

/// One step: a calm phase, then a fault that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) calm: Duration,
    pub(super) fault: Fault,
    pub(super) lasts: Duration,
    /// Chooses among the nodes that the fault may hit.
    pub(super) choice: usize,
}

/// Steps in order, without end. Every fault that is possible occurs once before any occurs twice.
pub(super) fn plan(seed: u64, cuts: bool) -> impl Iterator<Item = Step> {
    let mut random = Random::new(seed);
    let mut round = Vec::new();
    std::iter::from_fn(move || {
        if round.is_empty() {
            let mut faults = Fault::ALL;
            let (first, rest) = faults.split_at_mut(Fault::FIRST);
            random.shuffle(first);
            random.shuffle(rest);
            round.extend(faults.into_iter().filter(|fault| cuts || !fault.is_cut()));
            round.reverse();
        }
        Some(Step {
            calm: random.millis(500, 1_500),
            fault: round.pop()?,
            lasts: random.millis(800, 2_500),
            choice: random.below(usize::MAX),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(seed: u64, cuts: bool, count: usize) -> Vec<Fault> {
        plan(seed, cuts)
            .take(count)
            .map(|step| step.fault)
            .collect()
    }

    #[test]
    fn a_seed_gives_one_plan() {
        let steps = |seed| plan(seed, true).take(20).collect::<Vec<_>>();
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn eight_steps_have_every_fault_and_three_those_of_a_short_run() {
        for seed in 0..100 {
            let all = faults(seed, true, 8);
            assert!(Fault::ALL.iter().all(|fault| all.contains(fault)));
            let short = &Fault::ALL[..Fault::FIRST];
            assert!(short.iter().all(|fault| all[..3].contains(fault)));
        }
    }

    #[test]
    fn without_a_network_nothing_is_cut() {
        let all = faults(1, false, 16);
        assert!(all.iter().all(|fault| !fault.is_cut()));
        assert!(all.contains(&Fault::KillAll) && all.contains(&Fault::PauseLeader));
    }
}
