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
        let index = loop {
            let asked = async {
                match self.leader() {
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
        loop {
            match timeout_at(deadline, self.attempt(entry.clone())).await {
                Ok(Ok(outcome)) => {
                    return wire::decode_outcome(outcome)
                        .map_err(|cause| ProposeError::Invalid(cause.to_string()));
                }
                Ok(Err(PeerError::Refused(why))) => return Err(ProposeError::Invalid(why)),
                Ok(Err(cause)) => {
                    may_be_done |= matches!(cause, PeerError::Unknown(_));
                    debug!(%cause, "proposal not answered");
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

    async fn attempt(&self, entry: Bytes) -> Result<Bytes, PeerError> {
        match self.leader() {
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

    fn leader(&self) -> Leader {
        let metrics = self.engine.raft().metrics();
        let metrics = metrics.borrow_watched();
        match metrics.current_leader {
            Some(leader) if leader == self.engine.id() => Leader::Here,
            Some(leader) => match metrics.membership_config.get_node(&leader) {
                Some(member) => Leader::There(leader, member.clone()),
                None => Leader::Nobody,
            },
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
