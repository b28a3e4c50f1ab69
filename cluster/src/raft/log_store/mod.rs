//! The engine's log: entries, vote and committed position, in memory as far as they are young and always on the disk.
//!
//! Everything that has to be durable goes through one queue and one thread ([`flush`](self::flush)), so that nothing
//! overtakes anything and one sync covers all that waits: a vote that became durable before an earlier entry could lose
//! what was committed.

mod body;
mod flush;
mod tail;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use self::body::{decode, encode};
use self::flush::{Flusher, Job};
use self::tail::Tail;
use super::metrics::LogMetrics;
use super::types::{Entry, LogId, RaftId, TypeConfig, Vote};
use crate::error::OpenError;
use crate::store::{Change, Cold, DurableLog, Note, StoreError};

/// Jobs that may wait for the thread that writes.
const QUEUE_MAX: usize = 4096;
/// Bytes of entries that one answer holds, so that one message to a node that lags behind stays small.
const READ_BYTES: usize = 1 << 20;

/// The log of one node. Clones are readers of the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Mutex<State>>,
    cold: Cold,
    jobs: mpsc::Sender<Job>,
    identity: Arc<Identity>,
    metrics: Arc<LogMetrics>,
}

/// Which member a log belongs to. Written once, when the log is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) id: RaftId,
    pub(crate) name: String,
}

/// What is known without asking the disk.
struct State {
    tail: Tail,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
}

impl LogStore {
    /// Opens the log in `dir`, which is `new`'s when there is none, and starts the thread that writes it. The thread
    /// ends when the last clone is gone.
    pub(crate) fn open(dir: &Path, new: &Identity) -> Result<(Self, JoinHandle<()>), OpenError> {
        Self::start(DurableLog::open(dir)?, new, dir)
    }

    /// [`Self::open`] of a log whose member is not known. `None` when it is new.
    pub(crate) fn reopen(dir: &Path) -> Result<Option<(Self, JoinHandle<()>)>, OpenError> {
        let log = DurableLog::open(dir)?;
        match read_note(&log, Note::Identity)? {
            Some(identity) => Self::start(log, &identity, dir).map(Some),
            None => Ok(None),
        }
    }

    /// [`Self::open`] of a log that is open.
    pub(super) fn start(
        mut log: DurableLog,
        new: &Identity,
        dir: &Path,
    ) -> Result<(Self, JoinHandle<()>), OpenError> {
        let identity = match read_note::<Identity>(&log, Note::Identity)? {
            Some(identity) if identity.name == new.name => identity,
            Some(identity) => {
                return Err(OpenError::OtherNode {
                    dir: dir.to_owned(),
                    name: identity.name,
                });
            }
            None => {
                let body = encode(new).map_err(|source| log.unwritable(source))?;
                log.write(vec![Change::Note(Note::Identity, body)])?;
                new.clone()
            }
        };
        let purged: Option<LogId> = read_note(&log, Note::Purged)?;
        let mut state = State {
            tail: Tail::new(next_index(purged.as_ref())),
            vote: read_note(&log, Note::Vote)?,
            committed: read_note(&log, Note::Committed)?,
            purged,
            last: purged,
        };
        // A crash can come between the note and the removal that it announces.
        let behind = next_index(purged.as_ref());
        let left_over = log.first()?.unwrap_or(behind).min(behind)..behind;
        log.check(state.tail.next(), |index, body| {
            let entry: Entry = decode(body).ok_or_else(|| unreadable(&log, index))?;
            if entry.index() != index {
                return Err(log.damaged(index, "it belongs to another index".to_owned()));
            }
            state.last = Some(entry.log_id());
            state.tail.push(entry);
            state.tail.evict(index + 1);
            Ok(())
        })?;
        let cold = log.cold();
        let shared = Arc::new(Mutex::new(state));
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let metrics = Arc::new(LogMetrics::default());
        let flusher = Flusher::new(log, Arc::clone(&shared), Arc::clone(&metrics), left_over);
        let thread = flusher.start(queue).map_err(|source| OpenError::Io {
            what: "start the thread for",
            path: dir.to_owned(),
            source,
        })?;
        let log = Self {
            shared,
            cold,
            jobs,
            identity: Arc::new(identity),
            metrics,
        };
        Ok((log, thread))
    }

    /// Which member this log belongs to.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What is measured of it.
    pub(crate) fn metrics(&self) -> Arc<LogMetrics> {
        Arc::clone(&self.metrics)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    async fn send(&self, job: Job) -> Result<(), io::Error> {
        self.jobs.send(job).await.map_err(|_| stopped())
    }

    /// Hands a job over and waits until it is on the disk.
    async fn durable(
        &self,
        job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job,
    ) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.send(job(done)).await?;
        answer.await.map_err(|_| stopped())?
    }

    fn read(&self, mut range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        loop {
            let old = {
                let state = self.state();
                if let Some(entries) = state.tail.get(&range, bytes_max) {
                    return Ok(entries);
                }
                // What is young may be half in the store.
                range.start..range.end.min(state.tail.first())
            };
            // Where there is nothing old, as before the first entry of a log, the young come next.
            range.start = old.end;
            let records = self.cold.read(old, bytes_max).map_err(io::Error::other)?;
            if records.is_empty() {
                continue;
            }
            let entries = records.into_iter().map(|(index, body)| {
                decode(&body)
                    .ok_or_else(|| io::Error::other(format!("entry {index} is unreadable")))
            });
            return entries.collect();
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut range = half_open(&range);
        let mut entries = self.read(range.clone(), usize::MAX)?;
        // What is old comes from the disk up to where the young begins.
        while let Some(last) = entries.last() {
            range.start = last.index() + 1;
            if range.start >= range.end {
                break;
            }
            let more = self.read(range.clone(), usize::MAX)?;
            if more.is_empty() {
                break;
            }
            entries.extend(more);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.state().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.state();
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: state.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        self.durable(|done| Job::Vote(vote, done)).await?;
        self.state().vote = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Taken along by the next write: a restarted node that reads an older position only applies the rest later,
        // when a leader tells it, and leadership is never resumed without an election.
        self.state().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.state().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut state = self.state();
            for entry in &entries {
                state.last = Some(entry.log_id());
                state.tail.push(entry.clone());
            }
        }
        self.send(Job::Append(entries, callback)).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = next_index(last_log_id.as_ref());
        let removed = {
            let mut state = self.state();
            let removed = from..state.tail.next();
            if removed.is_empty() {
                return Ok(());
            }
            state.tail.truncate(from);
            state.last = last_log_id;
            removed
        };
        self.durable(|done| Job::Truncate(removed, done)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let removed = {
            let mut state = self.state();
            let removed = next_index(state.purged.as_ref())..log_id.index() + 1;
            state.purged = Some(log_id);
            state.tail.purge(log_id.index() + 1);
            if state.last < Some(log_id) {
                state.last = Some(log_id);
            }
            removed
        };
        self.send(Job::Purge(log_id, removed)).await
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn next_index(log_id: Option<&LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index() + 1)
}

/// Nothing that holds this lock can leave the state half changed.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stopped() -> io::Error {
    io::Error::other("the log takes no more writes")
}

fn read_note<T: DeserializeOwned>(log: &DurableLog, note: Note) -> Result<Option<T>, StoreError> {
    let Some(bytes) = log.note(note)? else {
        return Ok(None);
    };
    match decode(&bytes) {
        Some(value) => Ok(Some(value)),
        None => Err(unreadable(log, 0)),
    }
}

fn unreadable(log: &DurableLog, index: u64) -> StoreError {
    log.damaged(
        index,
        "it holds something that this program cannot read".to_owned(),
    )
}
