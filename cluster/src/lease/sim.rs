//! Three nodes that elect leaders, replicate, fail, are cut off, and whose clocks run apart, with the real lease
//! machines and the real shard map. One seed gives a whole run. After every step two things are checked, as nobody in
//! the system could: at most one life believes that it owns a shard, and nobody serves who has not applied a
//! revocation that was acknowledged.
//!
//! No timer decides when a node stands for election, and no voter sticks to a leader, so that leases have nothing to
//! lean on but their own rules.

mod world;

use proptest::prelude::*;

use self::world::World;

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    NoDrift,
    QuorumIsNow,
    NoElders,
    FromAnswer,
    NoFence,
    NoWait,
    NoCatchUp,
}

/// How often something happened.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    elections: u32,
    grants: u32,
    take_overs: u32,
    hand_overs: u32,
    revocations: u32,
    restarts: u32,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.elections += other.elections;
        self.grants += other.grants;
        self.take_overs += other.take_overs;
        self.hand_overs += other.hand_overs;
        self.revocations += other.revocations;
        self.restarts += other.restarts;
    }
}

/// Runs by seed; `LOCKGATE_LEASE_RUNS` sets how many, for long tests.
fn runs() -> u32 {
    let set = std::env::var("LOCKGATE_LEASE_RUNS").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(100)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(runs()) })]
    #[test]
    fn no_two_lives_ever_own_a_shard_and_no_revocation_is_missed(seed in any::<u64>()) {
        let mut world = World::new(seed, Lie::None);
        for _ in 0..1500 {
            world.step();
            if let Err(broken) = world.check() {
                panic!("seed {seed}: {broken}");
            }
        }
    }
}

/// A rule that is left out is found, or the simulation would prove nothing.
#[track_caller]
fn check_found(lie: Lie, what: &str) {
    let found = (0..400).any(|seed| {
        let mut world = World::new(seed, lie);
        (0..1500).any(|_| {
            world.step();
            world.check().is_err_and(|broken| broken.contains(what))
        })
    });
    assert!(found, "{lie:?} was not found");
}

#[test]
fn runs_do_what_they_are_about() {
    let mut seen = Seen::default();
    for seed in 0..60 {
        let mut world = World::new(seed, Lie::None);
        for _ in 0..1500 {
            world.step();
        }
        seen.add(&world.seen);
    }
    assert!(seen.elections > 100, "{seen:?}");
    assert!(seen.grants > 1000, "{seen:?}");
    assert!(seen.take_overs > 20, "{seen:?}");
    assert!(seen.hand_overs > 50, "{seen:?}");
    assert!(seen.revocations > 100, "{seen:?}");
    assert!(seen.restarts > 50, "{seen:?}");
}

#[test]
fn clocks_that_differ_more_than_was_agreed_are_found() {
    check_found(Lie::NoDrift, "own");
}

#[test]
fn a_leader_that_grants_on_its_own_word_is_found() {
    check_found(Lie::QuorumIsNow, "own");
}

#[test]
fn a_new_leader_that_does_not_wait_is_found() {
    check_found(Lie::NoElders, "own");
}

#[test]
fn a_holder_that_counts_from_the_answer_is_found() {
    check_found(Lie::FromAnswer, "own");
}

#[test]
fn a_take_over_that_does_not_fence_is_found() {
    check_found(Lie::NoFence, "own");
}

#[test]
fn a_revocation_that_does_not_wait_for_leases_is_found() {
    check_found(Lie::NoWait, "revocation");
}

#[test]
fn a_new_leader_that_lets_nodes_lag_behind_its_election_is_found() {
    check_found(Lie::NoCatchUp, "");
}
