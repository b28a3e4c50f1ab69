//! The leader's side of the leases: whom it has promised what, in memory, from its election until it leads no more.

use std::collections::BTreeMap;
use std::time::Duration;

use lockgate_proto::id::NodeId;

use super::Terms;

/// One life of one node, as the log knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which node.
    pub node: NodeId,
    /// How often it has started.
    pub boot: u64,
    /// Index of the entry that counted that start.
    pub boot_index: u64,
    /// Whether the node is a member still. One that was removed counts until its last lease is over.
    pub member: bool,
}

/// A node asks for its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Which node.
    pub node: NodeId,
    /// Which of its lives.
    pub boot: u64,
    /// Index of the last entry that it has applied.
    pub applied: u64,
}

/// What the leader sees when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footing {
    /// When it sent the heartbeat that a quorum has answered, on its own clock. In a cluster of one: now.
    pub quorum_heard: Duration,
    /// Its commit index.
    pub committed: u64,
}

/// The node may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// So long, from before it asked.
    pub lasting: Duration,
    /// What it must have applied to be granted the next one.
    pub named: u64,
}

/// Why a node gets no lease now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// The leader has not heard from a quorum; there may be another leader.
    #[error("the leader has lost its quorum")]
    NoQuorum,
    /// The leader does not know that node, or not yet that life of it.
    #[error("the node is no member, or its start is not known yet")]
    Unknown,
    /// That life is over: the node has started again, or its process is proved dead.
    #[error("this life of the node is over")]
    Over,
    /// It must apply this first.
    #[error("the node must first apply entry {apply}")]
    Behind {
        /// Index of an entry.
        apply: u64,
    },
    /// Its shards are being given to others; it must wait until that is in the log.
    #[error("the shards of the node are being taken over")]
    TakenOver,
}

/// Leases that one leader has granted during one term. It is thrown away when it leads no more.
#[derive(Clone, Debug)]
pub struct Granter {
    terms: Terms,
    /// When the last lease of any older leader is over.
    elders_until: Duration,
    first_index: u64,
    leases: BTreeMap<NodeId, Lease>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    boot: u64,
    /// When it is certainly over.
    until: Duration,
    /// What the next grant demands.
    demand: Demand,
    /// What the node has said that it has applied.
    applied: u64,
    /// Whether the node is a member still. What was granted to one that is not must run out all the same.
    member: bool,
}

#[derive(Clone, Copy, Debug)]
enum Demand {
    /// This entry.
    Applied(u64),
    /// An entry that has no index yet.
    TakeOver,
    /// That life never gets one again.
    Never,
}

impl Granter {
    /// A leader that was elected at `now` on its own clock, and whose first entry in the log has `first_index`.
    pub fn new(terms: Terms, now: Duration, first_index: u64) -> Self {
        Self {
            terms,
            elders_until: now.saturating_add(terms.lengthened(terms.lease)),
            first_index,
            leases: BTreeMap::new(),
        }
    }

    /// Tells it who is or was a member, each time that may have changed, and before it is asked about anything that
    /// stands in the log behind that.
    ///
    /// A life that appears may come from the time of an older leader, whose grants it may hold; one that was replaced
    /// is dead, since the next one has taken the lock on its directory.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = Life>, now: Duration) {
        for lease in self.leases.values_mut() {
            lease.member = false;
        }
        for life in members {
            let known = self.leases.get_mut(&life.node);
            if let Some(lease) = known.filter(|lease| lease.boot >= life.boot) {
                lease.member = life.member;
                continue;
            }
            let lease = Lease {
                boot: life.boot,
                until: self.elders_until,
                demand: Demand::Applied(life.boot_index.max(self.first_index)),
                applied: 0,
                member: life.member,
            };
            self.leases.insert(life.node, lease);
        }
        self.leases
            .retain(|_, lease| lease.member || lease.until > now);
    }

    /// Answers a renewal.
    ///
    /// # Errors
    ///
    /// [`Denial`]; what was granted before goes on until it is over.
    pub fn on_renewal(
        &mut self,
        now: Duration,
        renewal: Renewal,
        footing: Footing,
    ) -> Result<Grant, Denial> {
        let terms = self.terms;
        let age = now.saturating_sub(footing.quorum_heard);
        let left = terms.lease.checked_sub(terms.at_most(age));
        let lasting = left.filter(|_| age <= terms.quorum_within);
        let lasting = lasting.ok_or(Denial::NoQuorum)?;
        let known = self.leases.get_mut(&renewal.node);
        let lease = known.filter(|lease| lease.member && lease.boot >= renewal.boot);
        let lease = lease.ok_or(Denial::Unknown)?;
        if lease.boot > renewal.boot {
            return Err(Denial::Over);
        }
        lease.applied = lease.applied.max(renewal.applied);
        match lease.demand {
            Demand::Never => Err(Denial::Over),
            Demand::TakeOver => Err(Denial::TakenOver),
            Demand::Applied(apply) if lease.applied < apply => Err(Denial::Behind { apply }),
            Demand::Applied(apply) => {
                let named = apply.max(footing.committed);
                lease.demand = Demand::Applied(named);
                let until = now.saturating_add(terms.lengthened(lasting));
                lease.until = lease.until.max(until);
                Ok(Grant { lasting, named })
            }
        }
    }

    /// Lives whose lease is over at `now`, with nothing under way about them yet.
    pub fn lapsed(&self, now: Duration) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        let lapsed = self.leases.iter().filter(move |(_, lease)| {
            lease.until <= now && !matches!(lease.demand, Demand::TakeOver)
        });
        lapsed.map(|(node, lease)| (*node, lease.boot))
    }

    /// Whether that life may serve at `now`, as far as the leader can tell: it has a lease that is not over.
    pub fn may_serve(&self, node: NodeId, boot: u64, now: Duration) -> bool {
        let lease = self.leases.get(&node);
        lease.is_some_and(|lease| lease.boot == boot && lease.until > now)
    }

    /// Takes note of a proof that a process is dead: its lease is over at once and never renewed.
    pub fn proved_dead(&mut self, node: NodeId, boot: u64) {
        let lease = self.leases.get_mut(&node);
        if let Some(lease) = lease.filter(|lease| lease.boot == boot) {
            lease.until = Duration::ZERO;
            lease.demand = Demand::Never;
        }
    }

    /// To be asked right before a take-over of that life is proposed, which may only follow if the answer is true:
    /// its lease is over, and is not renewed until [`Granter::taken_over`].
    #[must_use]
    pub fn take_over(&mut self, node: NodeId, boot: u64, now: Duration) -> bool {
        let Some(lease) = self.leases.get_mut(&node) else {
            // Nothing was ever granted to it, or that ran out after it was removed.
            return now >= self.elders_until;
        };
        if lease.boot > boot {
            // A newer life: the one that is meant is dead.
            return true;
        }
        if lease.boot < boot || lease.until > now {
            return false;
        }
        if matches!(lease.demand, Demand::Applied(_)) {
            lease.demand = Demand::TakeOver;
        }
        true
    }

    /// The take-over of that life has been applied as the entry `index`, or the log has gone past `index` without
    /// it: from there on the node may come back.
    pub fn taken_over(&mut self, node: NodeId, boot: u64, index: u64) {
        let lease = self.leases.get_mut(&node);
        let waits =
            |lease: &&mut Lease| lease.boot == boot && matches!(lease.demand, Demand::TakeOver);
        if let Some(lease) = lease.filter(waits) {
            lease.demand = Demand::Applied(index);
        }
    }

    /// Whether every node has applied the committed entry `index`, or has no lease any more and gets none before it
    /// has. A revocation is acknowledged then. The members as of that entry must have been set.
    pub fn all_past(&mut self, index: u64, now: Duration) -> bool {
        let mut all = true;
        for lease in self.leases.values_mut() {
            if lease.applied >= index {
                continue;
            }
            if lease.until > now {
                all = false;
            } else if let Demand::Applied(apply) = &mut lease.demand {
                *apply = (*apply).max(index);
            }
        }
        all
    }
}
