//! A simulated world for the core: one server, and the tasks and timers that its actor would run.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A server that lives and dies, and the tasks and timers that the actor would run.
struct World {
    machine: Machine,
    now: Instant,
    alive: bool,
    /// Whether it gives its lists.
    lists: bool,
    timers: BTreeMap<String, (Instant, Timer)>,
    errands: Vec<Effect>,
    listening: BTreeSet<Era>,
    n_attempts: usize,
    n_probes: usize,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            machine: Machine::new(SETTINGS, Eras::default()),
            now: Instant::now(),
            alive: true,
            lists: true,
            timers: BTreeMap::new(),
            errands: Vec::new(),
            listening: BTreeSet::new(),
            n_attempts: 0,
            n_probes: 0,
        };
        world.feed(Event::Started);
        world
    }

    fn feed(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.machine.on(event, self.now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Arm(timer, after) => {
                    let due = self.now + after;
                    self.timers.insert(format!("{timer:?}"), (due, timer));
                }
                Effect::Listen(era) => {
                    self.listening.insert(era);
                }
                Effect::Probe | Effect::Fetch { .. } | Effect::Check(_) => {
                    let twin = |other: &Effect| match (other, &effect) {
                        (Effect::Fetch { era: a, .. }, Effect::Fetch { era: b, .. }) => a == b,
                        (other, effect) => other == effect,
                    };
                    assert!(!self.errands.iter().any(twin), "{effect:?} runs twice");
                    self.n_attempts += 1;
                    self.n_probes += usize::from(effect == Effect::Probe);
                    self.errands.push(effect);
                }
                Effect::Health { .. } | Effect::Announce => {}
            }
        }
    }

    /// Ends what runs, as the server's state has it, and lets time pass in steps of 50 ms.
    fn elapse(&mut self, ms: u64) {
        for _ in 0..=ms / 50 {
            for errand in std::mem::take(&mut self.errands) {
                self.finish(errand);
            }
            if !self.alive {
                for era in std::mem::take(&mut self.listening) {
                    self.feed(Event::ListenEnded {
                        era,
                        offered: true,
                        lasted: Duration::ZERO,
                    });
                }
            }
            self.now += Duration::from_millis(50);
            let now = self.now;
            for (_, (_, timer)) in self
                .timers
                .extract_if(.., |_, (due, _)| *due <= now)
                .collect::<Vec<_>>()
            {
                self.feed(Event::TimerOver { timer, silent: 3 });
            }
        }
    }

    fn finish(&mut self, errand: Effect) {
        let alive = self.alive;
        self.feed(match errand {
            Effect::Probe => Event::Probed(alive.then_some(BOTH)),
            Effect::Fetch { era, .. } if alive && self.lists => Event::Fetched {
                era,
                done: true,
                ttl: None,
                has_untold: false,
                shut_for: Duration::ZERO,
            },
            Effect::Fetch { era, .. } => Event::unfetched(era, Duration::ZERO),
            Effect::Check(endpoint) => Event::Checked {
                endpoint,
                passed: alive,
            },
            other => panic!("{other:?} is no errand"),
        });
    }
}

proptest! {
    #[test]
    fn a_server_that_lives_is_found_listed_and_listened_to(
        steps in prop::collection::vec((0_u8..8, 0_u64..5_000), 0..40)
    ) {
        let mut world = World::new();
        for (step, ms) in steps {
            match step {
                0 => world.alive = true,
                1 => world.alive = false,
                6 => world.lists = true,
                7 => world.lists = false,
                2 => world.feed(Event::Wanted),
                3 => world.feed(Event::Refused(ms as usize % 2)),
                4 => world.feed(Event::ListChanged(Era::Session)),
                _ => world.elapse(ms),
            }
        }
        (world.alive, world.lists) = (true, true);
        // Longest back-off, and what follows it.
        world.elapse(31_000);
        world.elapse(1_000);
        prop_assert_eq!(world.machine.phase(), Phase::Up);
        prop_assert_eq!(world.listening.len(), 2);

        // Well again, it is left alone but for the rounds of health checks.
        world.n_attempts = 0;
        world.elapse(60_000);
        prop_assert!(world.n_attempts <= 14, "{} attempts in a quiet minute", world.n_attempts);
    }

    #[test]
    fn a_dead_server_is_not_stormed(wants in 0_usize..200) {
        let mut world = World::new();
        world.alive = false;
        world.elapse(60_000);
        world.n_attempts = 0;
        for _ in 0..wants {
            world.feed(Event::Wanted);
            world.elapse(0);
        }
        // 50 ms apart: at most every second one can find the last verdict stale, for the probe and both endpoints.
        prop_assert!(world.n_attempts <= wants * 2 + 6, "{} attempts", world.n_attempts);
    }
}

#[test]
fn a_server_that_answers_and_gives_no_list_is_left_alone_ever_longer() {
    let mut world = World::new();
    world.lists = false;
    world.elapse(140_000);
    // After 0.5, 1, 2, 4, 8, 16 and then each 30 s.
    assert_eq!(world.n_probes, 10);
    assert_eq!(world.machine.phase(), Phase::Down);
}
