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
    /// The leader and its disk lose their power: what was not written through is gone.
    PowerLeader,
    /// A node that follows and its disk lose their power.
    PowerFollower,
    /// All nodes and their disks lose their power at once.
    PowerAll,
    /// The disk of the leader says for a while that it has written what it has not, and then loses its power.
    LyingLeader,
    /// The same of a node that follows.
    LyingFollower,
    /// The disk of a node that follows is full until the node has ended by itself, and for a while behind that.
    FullFollower,
}

/// What a run may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kinds {
    /// Kill and stop nodes.
    Processes,
    /// And cut the ways between them.
    Ways,
    /// Cut the power of disks, fill them, and have them lie.
    Disks,
}

impl Fault {
    /// Those of a kind. The first three of them come first: a short run has to have them.
    fn all(kinds: Kinds) -> Vec<Self> {
        match kinds {
            Kinds::Processes => vec![
                Self::KillLeader,
                Self::KillAll,
                Self::PauseLeader,
                Self::KillFollower,
            ],
            Kinds::Ways => vec![
                Self::KillLeader,
                Self::IsolateLeader,
                Self::CutFromLeader,
                Self::KillFollower,
                Self::KillAll,
                Self::PauseLeader,
                Self::CutToLeader,
                Self::IsolateFollower,
            ],
            Kinds::Disks => vec![
                Self::LyingFollower,
                Self::PowerLeader,
                Self::FullFollower,
                Self::PowerAll,
                Self::LyingLeader,
                Self::PowerFollower,
            ],
        }
    }

    /// As many of them, from the front, come first.
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
            Self::PowerLeader => "power of leader",
            Self::PowerFollower => "power of follower",
            Self::PowerAll => "power of all",
            Self::LyingLeader => "leader's disk lies",
            Self::LyingFollower => "a disk lies",
            Self::FullFollower => "a full disk",
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
pub(super) fn plan(seed: u64, kinds: Kinds) -> impl Iterator<Item = Step> {
    let mut random = Random::new(seed);
    let mut round = Vec::new();
    std::iter::from_fn(move || {
        if round.is_empty() {
            let mut faults = Fault::all(kinds);
            let (first, rest) = faults.split_at_mut(Fault::FIRST);
            random.shuffle(first);
            random.shuffle(rest);
            round = faults;
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

    fn faults(seed: u64, kinds: Kinds, count: usize) -> Vec<Fault> {
        plan(seed, kinds)
            .take(count)
            .map(|step| step.fault)
            .collect()
    }

    #[test]
    fn a_seed_gives_one_plan() {
        let steps = |seed| plan(seed, Kinds::Ways).take(20).collect::<Vec<_>>();
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn a_round_has_every_fault_of_its_kind_and_three_steps_those_of_a_short_run() {
        for kinds in [Kinds::Processes, Kinds::Ways, Kinds::Disks] {
            let all = Fault::all(kinds);
            for seed in 0..100 {
                let round = faults(seed, kinds, all.len());
                assert!(all.iter().all(|fault| round.contains(fault)));
                let short = &all[..Fault::FIRST];
                assert!(short.iter().all(|fault| round[..3].contains(fault)));
            }
        }
    }
}
