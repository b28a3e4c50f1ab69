//! The one thread that writes the log: it takes what waits, writes it in one batch with one sync, and tells everybody.

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use openraft::entry::RaftEntry;
use openraft::storage::IOFlushed;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::error;

use super::body::encode;
use super::{State, lock};
use crate::raft::metrics::LogMetrics;
use crate::raft::types::{Entry, LogId, TypeConfig, Vote};
use crate::store::{Change, DurableLog, Note, StoreError};

/// Entries that one sync may cover, so that the first of them does not wait for too many others.
const BATCH_ENTRIES: usize = 4096;
/// Purged records that leave with one write, so that a purge holds up nobody for long.
const PURGE_STEP: u64 = 512;

/// Something that must become durable, in the order in which it was sent.
pub(super) enum Job {
    /// Entries, from the last one on.
    Append(Vec<Entry>, IOFlushed<TypeConfig>),
    /// Whom this node votes for.
    Vote(Vote, oneshot::Sender<io::Result<()>>),
    /// Take the end of the log away.
    Truncate(Range<u64>, oneshot::Sender<io::Result<()>>),
    /// Take the beginning of the log away, up to this entry.
    Purge(LogId, Range<u64>),
}

/// State of the thread.
pub(super) struct Flusher {
    log: DurableLog,
    shared: Arc<Mutex<State>>,
    metrics: Arc<LogMetrics>,
    /// Records that were purged and are still there.
    left_over: Range<u64>,
    /// Committed position as it was last written.
    committed: Option<LogId>,
    /// A job that needs what came before it on the disk first.
    held: Option<Job>,
}

/// What one write makes durable, and who waits for it.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    n_entries: usize,
    appended: Vec<(IOFlushed<TypeConfig>, Instant)>,
    waiting: Vec<oneshot::Sender<io::Result<()>>>,
    /// Index after the last entry.
    next: Option<u64>,
    /// Something can't even be encoded.
    failure: Option<io::Error>,
}

impl Flusher {
    pub(super) fn new(
        log: DurableLog,
        shared: Arc<Mutex<State>>,
        metrics: Arc<LogMetrics>,
        left_over: Range<u64>,
    ) -> Self {
        let committed = lock(&shared).committed;
        Self {
            log,
            shared,
            metrics,
            left_over,
            committed,
            held: None,
        }
    }

    /// Starts the thread: one of its own because it waits for the disk. It ends with the queue, or when a write fails:
    /// after a failed sync nothing that this process believes about the disk can be trusted, so there is no second
    /// attempt, and the engine stops when it learns of it.
    pub(super) fn start(mut self, mut queue: mpsc::Receiver<Job>) -> io::Result<JoinHandle<()>> {
        let run = move || {
            while let Some(batch) = self.gather(&mut queue) {
                if let Err(failure) = self.flush(batch) {
                    error!(error = %failure, "log failed, no further change is taken");
                    return;
                }
            }
            if let Err(failure) = self.close() {
                error!(error = %failure, "log not closed");
            }
        };
        let builder = thread::Builder::new().name("cluster-log".to_owned());
        builder.spawn(run)
    }

    /// Waits for work and takes all of it that one write can do. `None` when there will be no more.
    fn gather(&mut self, queue: &mut mpsc::Receiver<Job>) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut next = match self.held.take() {
            Some(job) => Some(job),
            // Left-overs go even when nothing else is to be written.
            None if !self.left_over.is_empty() => queue.try_recv().ok(),
            None => Some(queue.blocking_recv()?),
        };
        while let Some(job) = next.take() {
            // What memory lets go of is counted up to the last entry of a write, behind which nothing may be taken away.
            if matches!(job, Job::Truncate(..) | Job::Purge(..)) && batch.n_entries > 0 {
                self.held = Some(job);
                break;
            }
            self.add(&mut batch, job);
            if batch.n_entries < BATCH_ENTRIES {
                next = queue.try_recv().ok();
            }
        }
        let end = self.left_over.end.min(self.left_over.start + PURGE_STEP);
        if self.left_over.start < end {
            batch
                .changes
                .push(Change::Remove(self.left_over.start..end));
            self.left_over.start = end;
        }
        Some(batch)
    }

    fn add(&mut self, batch: &mut Batch, job: Job) {
        match job {
            Job::Append(entries, done) => {
                batch.n_entries += entries.len();
                batch.next = entries.last().map(|entry| entry.index() + 1);
                for entry in entries {
                    let index = entry.index();
                    batch.encode(&entry, |body| Change::Put(index, body));
                }
                batch.appended.push((done, Instant::now()));
            }
            Job::Vote(vote, done) => {
                batch.encode(&vote, |body| Change::Note(Note::Vote, body));
                batch.waiting.push(done);
            }
            Job::Truncate(range, done) => {
                batch.changes.push(Change::Remove(range));
                batch.waiting.push(done);
            }
            Job::Purge(upto, range) => {
                batch.encode(&upto, |body| Change::Note(Note::Purged, body));
                if self.left_over.is_empty() {
                    self.left_over = range;
                } else {
                    self.left_over.end = range.end;
                }
            }
        }
    }

    fn flush(&mut self, mut batch: Batch) -> Result<(), StoreError> {
        self.add_committed(&mut batch);
        let Batch {
            changes,
            n_entries,
            appended,
            waiting,
            next,
            failure,
        } = batch;
        let begun = Instant::now();
        let written = match failure {
            Some(source) => Err(self.log.unwritable(source)),
            None => self.attempt(|log| log.append(changes)),
        };
        let answer = |written: &Result<(), StoreError>| match written {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        if written.is_ok() {
            self.metrics.wrote(n_entries, begun.elapsed());
        }
        for (done, since) in appended {
            self.metrics.appended(since.elapsed());
            done.io_completed(answer(&written));
        }
        for done in waiting {
            // Whoever asked may have gone; then nobody needs the answer.
            let _gone = done.send(answer(&written));
        }
        written?;
        // Nobody waits for this: until it is done, readers find what was written in memory.
        self.attempt(|log| log.apply())?;
        if let Some(next) = next {
            lock(&self.shared).tail.evict(next);
        }
        Ok(())
    }

    /// A full disk or a damaged file makes sled panic as well as return errors.
    fn attempt(
        &mut self,
        step: impl FnOnce(&mut DurableLog) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let step = AssertUnwindSafe(|| step(&mut self.log));
        catch_unwind(step).unwrap_or_else(|_panic| {
            Err(self
                .log
                .unwritable(io::Error::other("the store has panicked")))
        })
    }

    /// The committed position rides along: nothing waits for it.
    fn add_committed(&mut self, batch: &mut Batch) {
        let committed = lock(&self.shared).committed;
        if let Some(at) = committed
            && self.committed != committed
        {
            self.committed = committed;
            batch.encode(&at, |body| Change::Note(Note::Committed, body));
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        self.add_committed(&mut batch);
        if !batch.changes.is_empty() {
            self.flush(batch)?;
        }
        self.attempt(DurableLog::settle)
    }
}

impl Batch {
    fn encode<T: Serialize>(&mut self, value: &T, change: impl FnOnce(Vec<u8>) -> Change) {
        match encode(value) {
            Ok(body) => self.changes.push(change(body)),
            Err(error) => self.failure = Some(error),
        }
    }
}
