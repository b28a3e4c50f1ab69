//! A cluster in one thread: nodes with clocks that run at their own rates, a log with a leader that changes and stalls,
//! and messages that are late, lost, doubled and reordered.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{self, Node};
use super::random::Random;
use crate::machine::quota::{Batch, Command, Limit, Quota, Reply, Stamp};

/// Length of one run.
const RUN_US: u64 = 24_000_000;
/// One step.
const STEP_US: u64 = 20_000;
/// Batches go no more often than this.
const BATCH_EVERY_US: u64 = 225_000;
/// After so long a node gives up on an answer.
const ANSWER_WAIT_US: u64 = 2_000_000;

/// What a run has shown.
#[derive(Default)]
pub(super) struct Seen {
    /// When tokens of the rate were spent, in true time.
    pub(super) rate_spent_us: Vec<u64>,
    /// When tokens of the budget were spent.
    pub(super) budget_spent_us: Vec<u64>,
    /// Rates in force: from when, tokens per `per_us`, burst.
    pub(super) rates: Vec<(u64, Limit)>,
    pub(super) budgets: Vec<Limit>,
    pub(super) n_commits: u64,
    pub(super) n_nodes: u64,
    pub(super) run_us: u64,
}

/// An entry of the log that is not applied yet.
struct Pending {
    apply_us: u64,
    /// When it was stamped, in true time.
    stamp_us: u64,
    stamp: Stamp,
    command: Command,
}

/// A message on its way.
struct Message {
    due_us: u64,
    body: Body,
}

enum Body {
    /// To the leader, whoever that is then.
    Proposal(Command),
    /// To a node, about its batch.
    Answer {
        node: u64,
        boot: u64,
        seq: u64,
        reply: Reply,
    },
}

pub(super) struct World {
    random: Random,
    nodes: Vec<Node>,
    machine: Quota,
    log: Vec<Pending>,
    messages: Vec<Message>,
    leader: usize,
    term: u64,
    /// Until when the leader commits nothing.
    stall_until_us: u64,
    /// Up to when the machine has counted time, in true time.
    counted_us: u64,
    limits_version: u64,
    limits: BTreeMap<Arc<str>, Limit>,
    changes_limits: bool,
    seen: Seen,
}

/// How a run differs from what is shipped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As shipped.
    RefillFirst,
    /// Reports are subtracted before the refill.
    ReportsFirst,
}

/// Runs one seed to its end.
pub(super) fn run(seed: u64, order: Order) -> Seen {
    let mut world = World::new(seed, order);
    let mut now_us = 0;
    while now_us < RUN_US {
        now_us += STEP_US / 2 + world.random.below(STEP_US);
        world.faults(now_us);
        world.calls(now_us);
        world.send(now_us);
        world.deliver(now_us);
        world.apply(now_us);
    }
    world.machine.check();
    world.seen.run_us = now_us;
    world.seen
}

impl World {
    fn new(seed: u64, order: Order) -> Self {
        let mut random = Random(seed);
        let rate = Limit::Rate {
            amount: random.of(&[1, 5, 20, 80]),
            per_us: random.of(&[1_000_000, 997_000]),
            burst: random.of(&[5, 20, 50, 200]),
        };
        let budget = Limit::Budget {
            amount: random.of(&[10, 60, 300]),
            window_ms: random.of(&[3_000, 7_000]),
        };
        let n_nodes = random.of(&[1, 2, 3, 3, 5]);
        let nodes = (0..n_nodes)
            .map(|node| Node::new(node, &mut random))
            .collect();
        let changes_limits = random.once_in(3);
        let mut world = Self {
            nodes,
            machine: Quota::default(),
            log: Vec::new(),
            messages: Vec::new(),
            leader: 0,
            term: 1,
            stall_until_us: 0,
            counted_us: 0,
            limits_version: 0,
            limits: BTreeMap::from([("rate".into(), rate), ("budget".into(), budget)]),
            changes_limits,
            seen: Seen {
                n_nodes,
                ..Seen::default()
            },
            random,
        };
        world.machine.reports_first = order == Order::ReportsFirst;
        world.set_limits(0);
        world
    }

    /// Proposes the limits that `self.limits` says, as a leader does.
    fn set_limits(&mut self, now_us: u64) {
        self.limits_version += 1;
        let command = Command::SetLimits {
            version: self.limits_version,
            limits: self.limits.clone(),
        };
        self.append(now_us, command);
    }

    fn faults(&mut self, now_us: u64) {
        for at in 0..self.nodes.len() {
            let random = &mut self.random;
            let node = &mut self.nodes[at];
            if random.once_in(400) {
                node.is_cut_off = !node.is_cut_off;
            }
            if node.is_up && random.once_in(700) {
                node.is_up = false;
            } else if !node.is_up && random.once_in(60) {
                node.restart(at as u64);
            }
            if random.once_in(80) {
                node.calls_per_s = random.of(&[0, 1, 5, 50, 400]);
            }
            if node.is_up && random.once_in(500) {
                node.close();
            }
        }
        if self.random.once_in(300) {
            self.elect(now_us);
        }
        if self.random.once_in(300) {
            self.stall_until_us = now_us + self.random.below(3_000_000);
        }
        if self.changes_limits && self.random.once_in(250) {
            let amount = self.random.of(&[1, 5, 20, 80]);
            let burst = self.random.of(&[5, 20, 50, 200]);
            let per_us = 1_000_000;
            let rate = Limit::Rate {
                amount,
                per_us,
                burst,
            };
            self.limits.insert("rate".into(), rate);
            self.set_limits(now_us);
        }
    }

    /// Another node leads. What was in the old leader's log and not applied is kept up to some point.
    fn elect(&mut self, now_us: u64) {
        let kept = self.random.below(self.log.len() as u64 + 1);
        self.log.truncate(usize::try_from(kept).unwrap());
        self.leader = usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap();
        self.term += 1;
        self.stall_until_us = now_us + self.random.below(500_000);
        for pending in &mut self.log {
            pending.apply_us = self.stall_until_us;
        }
    }

    fn calls(&mut self, now_us: u64) {
        for node in self.nodes.iter_mut().filter(|node| node.is_up) {
            let own_us = node.now_us(now_us);
            node::set_clock(own_us);
            let due = node.calls_per_s * STEP_US;
            let n_calls =
                due / 1_000_000 + u64::from(self.random.below(1_000_000) < due % 1_000_000);
            for _ in 0..n_calls {
                if let Some(purse) = &node.rate
                    && node.wallet.try_spend(purse, 1)
                {
                    self.seen.rate_spent_us.push(now_us);
                }
                let tokens = self.random.of(&[1, 3]);
                if let Some(purse) = &node.budget
                    && node.wallet.try_spend(purse, tokens)
                {
                    for _ in 0..tokens {
                        self.seen.budget_spent_us.push(now_us);
                    }
                }
            }
        }
    }

    fn send(&mut self, now_us: u64) {
        for at in 0..self.nodes.len() {
            if !self.nodes[at].is_up {
                continue;
            }
            self.observe(at, now_us);
            let node = &mut self.nodes[at];
            let own_us = node.now_us(now_us);
            if let Some(since_us) = node.waits_since_us {
                if own_us.saturating_sub(since_us) > ANSWER_WAIT_US {
                    node.batcher.on_unknown();
                    node.waits_since_us = None;
                }
                continue;
            }
            if own_us < node.sent_us + BATCH_EVERY_US {
                continue;
            }
            node::set_clock(own_us);
            if let Some(batch) = node.batcher.next(&node.wallet, own_us) {
                node.sent_us = own_us;
                node.waits_since_us = Some(own_us);
                node.seq = batch.seq;
                let is_cut_off = node.is_cut_off;
                self.post_batch(now_us, &batch, is_cut_off);
            }
        }
    }

    fn post_batch(&mut self, now_us: u64, batch: &Batch, is_cut_off: bool) {
        let n_copies = if is_cut_off || self.random.once_in(25) {
            0
        } else if self.random.once_in(10) {
            2
        } else {
            1
        };
        for _ in 0..n_copies {
            let delay_us = self.delay_us();
            self.messages.push(Message {
                due_us: now_us + delay_us,
                body: Body::Proposal(Command::Batch(batch.clone())),
            });
        }
    }

    /// What a node makes of the state that it sees, as the leader above all.
    fn observe(&mut self, at: usize, now_us: u64) {
        let node = &mut self.nodes[at];
        let own_us = node.now_us(now_us);
        node.learn_limits(&self.machine);
        node.expiry.on_seen(self.machine.last_lease(), own_us);
        let below = node.expiry.old_below(own_us);
        // Now and then one that leads no more believes that it does.
        let leads = at == self.leader || self.random.once_in(50);
        if leads
            && own_us.saturating_sub(node.expired_us) >= 1_000_000
            && self.machine.has_grant_below(below)
        {
            node.expired_us = own_us;
            let delay_us = self.delay_us();
            self.messages.push(Message {
                due_us: now_us + delay_us,
                body: Body::Proposal(Command::Expire { below }),
            });
        }
    }

    /// Mostly short, sometimes very long.
    fn delay_us(&mut self) -> u64 {
        let most_us = self.random.of(&[
            2_000, 2_000, 2_000, 2_000, 30_000, 30_000, 300_000, 4_000_000,
        ]);
        self.random.below(most_us)
    }

    fn deliver(&mut self, now_us: u64) {
        let mut due = Vec::new();
        self.messages.retain_mut(|message| {
            let is_due = message.due_us <= now_us;
            if is_due {
                let body = std::mem::replace(
                    &mut message.body,
                    Body::Proposal(Command::Expire { below: 0 }),
                );
                due.push((message.due_us, body));
            }
            !is_due
        });
        for (due_us, body) in due {
            match body {
                // Stamped when it came, which may be earlier than another that is before it in the log.
                Body::Proposal(command) => self.append(due_us, command),
                Body::Answer {
                    node,
                    boot,
                    seq,
                    reply,
                } => {
                    let node = &mut self.nodes[usize::try_from(node).unwrap()];
                    let waits = node.waits_since_us.is_some();
                    if node.is_up && waits && (node.boot, node.seq) == (boot, seq) {
                        let own_us = node.now_us(now_us);
                        node.batcher.on_reply(reply, own_us);
                        node.waits_since_us = None;
                    }
                }
            }
        }
    }

    fn append(&mut self, stamp_us: u64, command: Command) {
        let leader = &self.nodes[self.leader];
        if !leader.is_up && !self.random.once_in(3) {
            return;
        }
        let stamp = Stamp {
            // Now and then stamped in a term before the one it is written in.
            term: if self.random.once_in(40) {
                0
            } else {
                self.term
            },
            leader_us: leader.now_us(stamp_us),
            at_ms: stamp_us / 1000,
        };
        let apply_us = stamp_us.max(self.stall_until_us) + self.random.below(10_000);
        self.log.push(Pending {
            apply_us,
            stamp_us,
            stamp,
            command,
        });
    }

    /// What is replicated is read as it was written, and now and then the machine goes on from its snapshot.
    fn check_wire(&mut self, command: &Command) {
        assert_eq!(
            Command::from_wire(command.to_wire()).as_ref(),
            Some(command)
        );
        if self.random.once_in(300) {
            let mut restored = Quota::from_wire(self.machine.to_wire()).unwrap();
            restored.reports_first = self.machine.reports_first;
            assert_eq!(restored, self.machine);
            self.machine = restored;
        }
    }

    fn apply(&mut self, now_us: u64) {
        if now_us < self.stall_until_us {
            return;
        }
        while self
            .log
            .first()
            .is_some_and(|entry| entry.apply_us <= now_us)
        {
            let Pending {
                stamp_us,
                stamp,
                command,
                ..
            } = self.log.remove(0);
            if stamp.term != 0 {
                self.counted_us = self.counted_us.max(stamp_us);
            }
            let life = match &command {
                Command::Batch(batch) => Some((batch.node, batch.boot, batch.seq)),
                Command::SetLimits { limits, .. } => {
                    self.seen.rates.push((self.counted_us, limits["rate"]));
                    self.seen.budgets.push(limits["budget"]);
                    None
                }
                Command::Expire { .. } => None,
            };
            self.check_wire(&command);
            let reply = self.machine.apply(command, stamp);
            assert_eq!(Reply::from_wire(reply.to_wire()).as_ref(), Some(&reply));
            self.seen.n_commits += 1;
            if let Some((node, boot, seq)) = life
                && !self.random.once_in(30)
            {
                let delay_us = self.delay_us();
                self.messages.push(Message {
                    due_us: now_us + delay_us,
                    body: Body::Answer {
                        node,
                        boot,
                        seq,
                        reply,
                    },
                });
            }
        }
    }
}
