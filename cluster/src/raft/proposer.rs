//! Carries a proposal to the leader, wherever that is, as often as it takes, and has it done once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::id::NodeId;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info};

use super::engine::Engine;
use super::network::{PeerError, Peers};
use super::publish::Applied;
use super::types::{Member, RaftId};
use crate::command::{Command, Entry, Origin, Outcome, Reply, wire};
use crate::error::{ProposeError, ReadError};

/// A proposal is tried for so long: several elections fit in.
const TRY_MAX: Duration = Duration::from_secs(10);
/// Waits between two tries, from the first to the longest.
const WAIT_MIN: Duration = Duration::from_millis(2);
const WAIT_MAX: Duration = Duration::from_millis(100);
/// Proposals of this node under way. The machine remembers the outcomes of more.
const UNDER_WAY_MAX: usize = 1024;

/// Proposes and reads for this node.
pub(crate) struct Proposer {
    engine: Engine,
    peers: Arc<dyn Peers>,
    /// How often this node has started; 0 before that was counted.
    boot: AtomicU64,
    under_way: Mutex<UnderWay>,
    permits: Semaphore,
}

/// Serials of this life.
#[derive(Debug, Default)]
struct UnderWay {
    last: u64,
    open: BTreeSet<u64>,
}

/// Who may answer.
enum Leader {
    Here,
    There(RaftId, Member),
    Nobody,
}

/// Looks for the leader for one proposal or read.
///
/// The engine hears of a new leader from that one, which a node that has moved waits for in vain: the others call it
/// where it was before. So voters are asked that the engine takes for followers. Each of them names the leader that it
/// follows.
#[derive(Debug, Default)]
struct Search {
    n_failures: usize,
    /// Whom the last one that was asked has named.
    told: Option<RaftId>,
}

impl Search {
    /// After so many failures, a third of a second, others are asked beside the one that the engine names.
    const ELSEWHERE_AFTER: usize = 8;

    fn failed(&mut self, cause: &PeerError) {
        self.n_failures += 1;
        self.told = match cause {
            PeerError::NotLeader { leader } => *leader,
            _ => None,
        };
    }

    /// Whom to ask, where the engine names `known`, and these are the other voters.
    fn next(&self, known: Option<RaftId>, others: &[RaftId]) -> Option<RaftId> {
        if let Some(told) = self.told.filter(|told| others.contains(told)) {
            return Some(told);
        }
        let elsewhere = self.n_failures.checked_sub(Self::ELSEWHERE_AFTER);
        let elsewhere = elsewhere.filter(|n| known.is_none() || n % 2 == 0);
        match elsewhere {
            Some(n) if !others.is_empty() => Some(others[n / 2 % others.len()]),
            _ => known,
        }
    }
}

impl Proposer {
    pub(super) fn new(engine: Engine, peers: Arc<dyn Peers>) -> Self {
        Self {
            engine,
            peers,
            boot: AtomicU64::new(0),
            under_way: Mutex::default(),
            permits: Semaphore::new(UNDER_WAY_MAX),
        }
    }

    /// The engine of this node.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// From now on proposals belong to this life of the node.
    pub(super) fn begin_life(&self, boot: u64) {
        self.boot.store(boot, Ordering::Release);
    }

    /// Proposes what is the same when it is done twice.
    pub(super) async fn propose_idempotent(
        &self,
        command: Command,
        deadline: Instant,
    ) -> Result<Reply, ProposeError> {
        let entry = unstamped(None, command);
        let outcome = self.carry(wire::encode_entry(entry), deadline).await?;
        self.reach(outcome.index, deadline).await;
        Ok(outcome.result?)
    }

    /// Has `command` carried out once, and gives the answer. This node has applied it by then, too: whoever has the
    /// answer finds it in the view.
    pub(crate) async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        let deadline = Instant::now() + TRY_MAX;
        let outcome = self.commit(command, deadline).await?;
        self.reach(outcome.index, deadline).await;
        Ok(outcome.result?)
    }

    /// As [`Self::propose`], but this node may not have applied it yet.
    pub(crate) async fn propose_unseen(&self, command: Command) -> Result<Reply, ProposeError> {
        let outcome = self.commit(command, Instant::now() + TRY_MAX).await?;
        Ok(outcome.result?)
    }

    async fn commit(&self, command: Command, deadline: Instant) -> Result<Outcome, ProposeError> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let ticket = Ticket::take(&self.under_way);
        let origin = Origin {
            node: NodeId(self.engine.id()),
            boot: self.boot.load(Ordering::Acquire),
            serial: ticket.serial,
            settled: ticket.settled,
        };
        let entry = unstamped(Some(origin), command);
        self.carry(wire::encode_entry(entry), deadline).await
    }

    /// Waits until this node has applied all that was answered anywhere before the question, and gives that state.
    pub(crate) async fn read(&self) -> Result<Arc<Applied>, ReadError> {
        let deadline = Instant::now() + TRY_MAX;
        let mut wait = WAIT_MIN;
        let mut search = Search::default();
        let index = loop {
            let asked = async {
                match self.leader(&search) {
                    Leader::Here => self.engine.read_index_here().await,
                    Leader::There(id, member) => self.peers.read_index(id, &member).await,
                    Leader::Nobody => Err(PeerError::NotLeader { leader: None }),
                }
            };
            let cause = match timeout_at(deadline, asked).await {
                Ok(Ok(index)) => break index,
                Ok(Err(cause)) => cause,
                Err(_elapsed) => return Err(ReadError::NoLeader),
            };
            debug!(%cause, "read not answered");
            search.failed(&cause);
            self.check_running().map_err(|()| ReadError::Closed)?;
            if pause(&mut wait, deadline).await.is_err() {
                // A cluster that does not know this node any more says so.
                info!(%cause, "no leader answers this node");
                return Err(ReadError::NoLeader);
            }
        };
        let mut applied = self.engine.applied();
        let reached = applied.wait_for(|applied| applied.index >= index);
        match timeout_at(deadline, reached).await {
            Ok(Ok(applied)) => Ok(Arc::clone(&applied)),
            Ok(Err(_closed)) => Err(ReadError::Closed),
            Err(_elapsed) => Err(ReadError::NoLeader),
        }
    }

    /// Tries until there is an answer, always with the same bytes, so that the machine knows a repetition.
    async fn carry(&self, entry: Bytes, deadline: Instant) -> Result<Outcome, ProposeError> {
        let mut wait = WAIT_MIN;
        let mut may_be_done = false;
        let mut search = Search::default();
        loop {
            match timeout_at(deadline, self.attempt(&search, entry.clone())).await {
                Ok(Ok(outcome)) => {
                    return wire::decode_outcome(outcome)
                        .map_err(|cause| ProposeError::Invalid(cause.to_string()));
                }
                Ok(Err(PeerError::Refused(why))) => return Err(ProposeError::Invalid(why)),
                Ok(Err(cause)) => {
                    may_be_done |= matches!(cause, PeerError::Unknown(_));
                    debug!(%cause, "proposal not answered");
                    search.failed(&cause);
                }
                Err(_elapsed) => return Err(ProposeError::Unknown),
            }
            let given_up = || match may_be_done {
                true => ProposeError::Unknown,
                false => ProposeError::NoLeader,
            };
            if self.check_running().is_err() {
                return Err(match may_be_done {
                    true => ProposeError::Unknown,
                    false => ProposeError::Closed,
                });
            }
            pause(&mut wait, deadline).await.map_err(|()| given_up())?;
        }
    }

    async fn attempt(&self, search: &Search, entry: Bytes) -> Result<Bytes, PeerError> {
        match self.leader(search) {
            Leader::Here => self.engine.propose_here(entry).await,
            Leader::There(id, member) => self.peers.propose(id, &member, entry).await,
            Leader::Nobody => Err(PeerError::NotLeader { leader: None }),
        }
    }

    /// Waits until this node has applied the entry at `index`.
    async fn reach(&self, index: u64, deadline: Instant) {
        let mut applied = self.engine.applied();
        let reached = applied.wait_for(|applied| applied.index >= index);
        // The change is done whether or not this node has caught up in time.
        let _late = timeout_at(deadline, reached).await.is_err();
    }

    /// Whether this node leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.engine.term_led() != 0
    }

    fn leader(&self, search: &Search) -> Leader {
        let me = self.engine.id();
        let metrics = self.engine.raft().metrics();
        let metrics = metrics.borrow_watched();
        if metrics.current_leader == Some(me) {
            return Leader::Here;
        }
        let members = &metrics.membership_config;
        let others: Vec<RaftId> = match search.n_failures {
            0 => Vec::new(),
            _ => members.voter_ids().filter(|id| *id != me).collect(),
        };
        let asked = search.next(metrics.current_leader, &others);
        match asked.and_then(|id| Some((id, members.get_node(&id)?))) {
            Some((id, member)) => Leader::There(id, member.clone()),
            None => Leader::Nobody,
        }
    }

    fn check_running(&self) -> Result<(), ()> {
        let metrics = self.engine.raft().metrics();
        let running = metrics.borrow_watched().running_state.is_ok();
        running.then_some(()).ok_or(())
    }
}

fn unstamped(origin: Option<Origin>, command: Command) -> Entry {
    // The leader stamps its clocks.
    Entry {
        at_ms: 0,
        leader_us: 0,
        leader_term: 0,
        origin,
        command,
    }
}

/// Waits a little longer each time. An error when the deadline is passed by then.
async fn pause(wait: &mut Duration, deadline: Instant) -> Result<(), ()> {
    if Instant::now() + *wait >= deadline {
        return Err(());
    }
    sleep(*wait).await;
    *wait = (*wait * 2).min(WAIT_MAX);
    Ok(())
}

/// The serial of one proposal, which is settled when this is dropped: its answer came, or nobody waits for it.
struct Ticket<'a> {
    under_way: &'a Mutex<UnderWay>,
    serial: u64,
    settled: u64,
}

impl<'a> Ticket<'a> {
    fn take(under_way: &'a Mutex<UnderWay>) -> Self {
        let mut state = under_way.lock().unwrap_or_else(PoisonError::into_inner);
        state.last += 1;
        let serial = state.last;
        state.open.insert(serial);
        let settled = state.open.first().copied().unwrap_or(serial);
        Self {
            under_way,
            serial,
            settled,
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let state = self.under_way.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.open.remove(&self.serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whom twelve tries ask, all in vain, where the engine names `known`.
    fn asked(known: Option<RaftId>, others: &[RaftId]) -> Vec<Option<RaftId>> {
        let mut search = Search::default();
        let mut next = || {
            let asked = search.next(known, others);
            search.failed(&PeerError::NotLeader { leader: None });
            asked
        };
        (0..12).map(|_| next()).collect()
    }

    #[test]
    fn others_are_asked_when_the_one_that_is_known_does_not_lead() {
        let known = [Some(1); 8];
        let others = [Some(1), Some(1), Some(3), Some(1)];
        assert_eq!(asked(Some(1), &[1, 3]), [&known[..], &others].concat());
        let others = [Some(1), Some(1), Some(3), Some(3)];
        assert_eq!(asked(None, &[1, 3]), [&[None; 8][..], &others].concat());
        assert_eq!(asked(None, &[]), [None; 12]);
    }

    #[test]
    fn whoever_is_named_is_asked_next() {
        let mut search = Search::default();
        let named = |leader| PeerError::NotLeader { leader };
        search.failed(&named(Some(3)));
        assert_eq!(search.next(Some(1), &[1, 3]), Some(3));
        // It does not lead either, and knows nobody who does; or it is no voter.
        for leader in [None, Some(9)] {
            search.failed(&named(leader));
            assert_eq!(search.next(Some(1), &[1, 3]), Some(1));
        }
    }
}
