//! Leases: the leader grants them, every node renews its own.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockgate_proto::id::NodeId;
use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, ServerState};
use tokio::time::{MissedTickBehavior, interval};

use crate::grpc::{LeaseRenewal, Peers};
use crate::lease::{Footing, Granter, Holder, Life, Renewal, Terms};
use crate::raft::{Applied, Engine, Member, PeerError, RaftId};
use crate::serving::{Serving, boot_time};

const TERMS: Terms = Terms::DEFAULT;
/// A renewal that was not answered by then comes too late to be of use.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// The leader's side. Cheap to clone.
#[derive(Clone)]
pub(super) struct Leases {
    engine: Engine,
    /// Of the term in which this node leads.
    granter: Arc<Mutex<Option<(u64, Granter)>>>,
    /// Who has said that audit records are missing there.
    lacking: Arc<Mutex<BTreeSet<RaftId>>>,
}

/// What this node sees as a leader.
pub(super) struct Lead {
    term: u64,
    /// Index of the last entry of its log.
    pub(super) last_log: u64,
    footing: Footing,
}

impl Leases {
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            granter: Arc::default(),
            lacking: Arc::default(),
        }
    }

    /// Lets a life of a node serve.
    pub(super) fn grant(&self, node: RaftId, told: LeaseRenewal) -> Result<Duration, PeerError> {
        let mut lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        match told.lacks_audit {
            true => drop(lacking.insert(node)),
            false => drop(lacking.remove(&node)),
        }
        drop(lacking);
        let renewal = Renewal {
            node: NodeId(node),
            boot: told.boot,
            applied: told.applied,
        };
        self.as_leader(|granter, lead, now| granter.on_renewal(now, renewal, lead.footing))?
            .map(|grant| grant.lasting)
            .map_err(|denial| PeerError::Refused(denial.to_string()))
    }

    /// Whether the node has said that audit records are missing there.
    pub(super) fn lacks_audit(&self, node: RaftId) -> bool {
        let lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        lacking.contains(&node)
    }

    /// Whether every node has applied the entry, or may not serve before it has.
    pub(super) fn is_past(&self, index: u64) -> Result<bool, PeerError> {
        self.as_leader(|granter, _lead, now| granter.all_past(index, now))
    }

    /// Asks what this node has promised as the leader, with the time of now.
    pub(super) fn as_leader<T>(
        &self,
        ask: impl FnOnce(&mut Granter, &Lead, Duration) -> T,
    ) -> Result<T, PeerError> {
        let mut granter = self.granter.lock().unwrap_or_else(PoisonError::into_inner);
        // The state before the look at who leads: what is granted never rests on members older than that.
        let applied = self.engine.applied();
        let applied = Arc::clone(&applied.borrow());
        let lead = match self.lead() {
            Ok(lead) => lead,
            Err(leader) => {
                // Promises of a term that is over are of no use to the next one, which counts them all as renewed.
                *granter = None;
                return Err(PeerError::NotLeader { leader });
            }
        };
        let now = boot_time();
        let current = match granter.take() {
            Some((term, current)) if term == lead.term => current,
            // Noticed after the election, and with an entry that may be later than its first: both err on the safe
            // side.
            _ => Granter::new(TERMS, now, lead.last_log),
        };
        let (_, current) = granter.insert((lead.term, current));
        current.set_members(lives(&applied), now);
        Ok(ask(current, &lead, now))
    }

    /// What this node sees as a leader, or who leads.
    fn lead(&self) -> Result<Lead, Option<RaftId>> {
        let metrics = self.engine.raft().metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            let me = self.engine.id();
            return Err(metrics.current_leader.filter(|leader| *leader != me));
        }
        let mut voters = metrics.membership_config.voter_ids();
        let is_alone = voters.next() == Some(self.engine.id()) && voters.next().is_none();
        let age = match metrics.last_quorum_acked {
            _ if is_alone => Duration::ZERO,
            Some(acked) => acked.elapsed(),
            None => Duration::MAX,
        };
        Ok(Lead {
            term: metrics.current_term,
            last_log: metrics.last_log_index.unwrap_or_default(),
            footing: Footing {
                quorum_heard: boot_time().saturating_sub(age),
                committed: metrics.local_committed.map_or(0, |at| at.index),
            },
        })
    }
}

fn lives(applied: &Applied) -> impl Iterator<Item = Life> {
    let members = applied.parts.nodes().members().values();
    members.map(|member| Life {
        node: member.id,
        boot: member.boot,
        boot_index: member.boot_index,
        member: member.is_live(),
    })
}

/// Renews the lease of this node until the engine ends.
pub(super) async fn renew(engine: Engine, leases: Leases, peers: Peers, serving: Serving) {
    let mut holder = Holder::new(TERMS);
    let mut every = interval(Terms::RENEW_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let applied = engine.applied();
    loop {
        every.tick().await;
        if applied.has_changed().is_err() {
            holder.give_up();
            serving.until(holder.until());
            return;
        }
        let state = Arc::clone(&applied.borrow());
        let me = NodeId(engine.id());
        let Some(member) = state.parts.nodes().members().get(&me) else {
            continue;
        };
        serving.drain(member.draining_since_ms.is_some());
        let number = holder.renew(boot_time());
        let renewal = LeaseRenewal {
            boot: member.boot,
            applied: state.index,
            lacks_audit: engine.audit().lacking().borrow().is_some(),
        };
        let asked = async {
            match leader(&engine) {
                Some((id, _)) if id == engine.id() => leases.grant(id, renewal),
                Some((id, member)) => peers.renew_lease((id, &member), renewal, ANSWER_MAX).await,
                None => Err(PeerError::NotLeader { leader: None }),
            }
        };
        match asked.await {
            Ok(lasting) => holder.on_grant(number, lasting),
            Err(cause) => tracing::debug!(%cause, "lease not renewed"),
        }
        serving.until(holder.until());
    }
}

/// Who leads, as far as this node knows.
pub(super) fn leader(engine: &Engine) -> Option<(RaftId, Member)> {
    let metrics = engine.raft().metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader?;
    let member = metrics.membership_config.get_node(&leader)?;
    Some((leader, member.clone()))
}
