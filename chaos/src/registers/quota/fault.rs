//! What happens to the nodes while they grant: a pure plan of the seed, and its execution.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::sleep;

use super::super::api::Api;
use super::super::fault::{NODES, leader};
use crate::clock::now_us;
use crate::random::Random;
use crate::world::Members;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL of the leader, with all that it holds.
    KillLeader,
    /// SIGKILL of a node that follows.
    KillFollower,
    /// SIGSTOP of the leader, which then goes on as if no time had passed.
    PauseLeader,
    /// The leader hears no node, and none hears it; clients reach it.
    IsolateLeader,
    /// The same for a node that follows, until the others have taken away what it held.
    IsolateFollower,
}

/// One step: a calm phase, then a fault that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) calm: Duration,
    pub(super) fault: Fault,
    pub(super) lasts: Duration,
    /// Chooses among the nodes that follow.
    choice: usize,
}

/// One fault as it was carried out. Moments are those of [`now_us`].
#[derive(Clone, Debug)]
pub(super) struct Injected {
    pub(super) fault: Fault,
    pub(super) node: usize,
    pub(super) from_us: u64,
    pub(super) healed_us: u64,
    /// Every node answered again.
    pub(super) recovered_us: u64,
    /// What showed that it happened.
    pub(super) shown: Option<String>,
}

impl Fault {
    /// Those that the first steps of every plan have, in an order of chance.
    const FIRST: [Self; 3] = [Self::IsolateFollower, Self::KillLeader, Self::PauseLeader];
    const LATER: [Self; 2] = [Self::IsolateLeader, Self::KillFollower];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill -9 leader",
            Self::KillFollower => "kill -9 follower",
            Self::PauseLeader => "SIGSTOP leader",
            Self::IsolateLeader => "isolate leader",
            Self::IsolateFollower => "isolate follower",
        }
    }

    /// Whether the node is cut off from the others, while clients reach it.
    pub(super) fn isolates(self) -> bool {
        matches!(self, Self::IsolateLeader | Self::IsolateFollower)
    }

    fn lasts_ms(self) -> (u64, u64) {
        match self {
            Self::KillLeader | Self::KillFollower => (800, 2_500),
            Self::PauseLeader => (1_000, 4_000),
            Self::IsolateLeader => (3_000, 5_000),
            // Beyond 5.25 s, when the leader takes away what the node was granted.
            Self::IsolateFollower => (6_000, 7_500),
        }
    }
}

/// Steps in order, without end. `cuts`: whether nodes can be isolated.
pub(super) fn plan(seed: u64, cuts: bool) -> impl Iterator<Item = Step> {
    let mut random = Random::new(seed);
    let mut round = Vec::new();
    std::iter::from_fn(move || {
        if round.is_empty() {
            let (mut first, mut later) = (Fault::FIRST, Fault::LATER);
            random.shuffle(&mut first);
            random.shuffle(&mut later);
            round.extend(later.into_iter().chain(first));
            round.retain(|fault: &Fault| cuts || !fault.isolates());
        }
        let fault = round.pop()?;
        let (from, to) = fault.lasts_ms();
        Some(Step {
            calm: random.millis(1_000, 2_000),
            fault,
            lasts: random.millis(from, to),
            choice: random.below(usize::MAX),
        })
    })
}

/// Lets the fault of `step` last, then heals it. With `is_deaf` no way is cut, whatever the step says.
pub(super) async fn inject(
    members: &mut Members,
    api: &mut Api,
    step: Step,
    is_deaf: bool,
) -> anyhow::Result<Injected> {
    let leader = leader(api, NODES).await?;
    let node = match step.fault {
        Fault::KillLeader | Fault::PauseLeader | Fault::IsolateLeader => leader,
        Fault::KillFollower | Fault::IsolateFollower => {
            (leader + 1 + step.choice % (NODES - 1)) % NODES
        }
    };
    let from_us = now_us();
    let shown = match step.fault {
        Fault::KillLeader | Fault::KillFollower => {
            members.kill(node).await?;
            sleep(step.lasts).await;
            members.begin(node)?;
            members.ready(node).await?;
            Some("it was gone".to_owned())
        }
        Fault::PauseLeader => {
            members.process(node)?.signal(Signal::STOP)?;
            sleep(step.lasts).await;
            // An answer before it goes on would show that it was never stopped.
            let answer = api.status(node).await;
            members.process(node)?.signal(Signal::CONT)?;
            answer.is_none().then(|| "it was silent".to_owned())
        }
        Fault::IsolateLeader | Fault::IsolateFollower if is_deaf => {
            sleep(step.lasts).await;
            Some("as planted, nothing".to_owned())
        }
        Fault::IsolateLeader | Fault::IsolateFollower => isolate(members, node, step.lasts).await?,
    };
    let healed_us = now_us();
    Ok(Injected {
        fault: step.fault,
        node,
        from_us,
        healed_us,
        recovered_us: healed_us,
        shown,
    })
}

async fn isolate(
    members: &Members,
    node: usize,
    lasts: Duration,
) -> anyhow::Result<Option<String>> {
    let network = members.network().context("no network of our own")?;
    network.isolate(node)?;
    sleep(lasts).await;
    let dropped = network.dropped(node)?;
    network.heal()?;
    Ok((dropped > 0).then(|| format!("{dropped} packets dropped")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_whose_first_steps_have_every_kind() {
        let steps = |seed, cuts| plan(seed, cuts).take(10).collect::<Vec<_>>();
        assert_eq!(steps(7, true), steps(7, true));
        for seed in 0..50 {
            let steps = steps(seed, true);
            for fault in Fault::FIRST {
                assert!(steps[..3].iter().any(|step| step.fault == fault));
            }
        }
        assert!(steps(1, false).iter().all(|step| !step.fault.isolates()));
    }
}
