//! The part of this node in the audit log of the cluster: records get their number, go into the spool, and from there
//! into the log. A record that was given out is not lost to the end of the process; from when on it also survives a
//! power loss, or the node, is what the mode says.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lockgate_cluster::audit::{Kind, Origin, Record};
use lockgate_proto::jsonrpc::{decode_str, find};
use memchr::memchr_iter;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::error;

use super::spool::Spool;
use crate::config::{AuditMode, AuditSync, Ledger as Settings};
use crate::error::CallError;

/// Above this many bytes that the log of the cluster has not taken, calls wait for it.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Above this many, no call starts: those that came at once have not waited yet.
const REFUSED_BYTES: usize = 12 << 20;
/// Kept free for the ends of calls that have started.
const RESERVE_BYTES: usize = 8 << 20;
/// Room for lines that is kept when there are none.
const IDLE_BYTES: usize = 64 << 10;
/// One batch has at most so many lines, and about so many bytes.
const BATCH_LINES_MAX: usize = 2048;
const BATCH_BYTES_MAX: usize = 768 << 10;
/// Who must wait for the log waits so long; several elections fit in.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// Records of this life of this node, on their way into the log.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    /// Of the spools.
    dir: PathBuf,
    node: Box<str>,
    boot: u64,
    clock: fn() -> SystemTime,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    /// Calls are faster than the log.
    is_behind: AtomicBool,
    /// Something waits for the log.
    pub(super) to_ship: Notify,
    /// Something waits for the disk.
    pub(super) to_sync: Notify,
}

/// A record that says what is going to happen. Its number is what the record of the outcome names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Number in this life of the node.
    pub local_seq: u64,
    kind: Kind,
}

/// How the ledger stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerStatus {
    /// Number of the last record.
    pub last: u64,
    /// Number of the last one in the log of the cluster.
    pub committed: u64,
    /// Bytes that wait for the log.
    pub waiting_bytes: usize,
    /// Calls without an end.
    pub open: usize,
    /// Records that found no room.
    pub lost: u64,
}

/// How far records have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    synced: u64,
    committed: u64,
}

#[derive(Debug)]
struct State {
    /// Lines that the log has not taken, from the record `first` on.
    lines: Vec<u8>,
    first: u64,
    next: u64,
    /// So many bytes of `lines` are in the spool.
    spooled: usize,
    /// `None` in the mode `memory`.
    spool: Option<Spool>,
    open: BTreeSet<u64>,
    has_failed: bool,
    lost: u64,
}

/// Lines for one command.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) count: usize,
    /// The lines, with a newline between two of them.
    pub(super) text: Bytes,
    /// More wait than one command takes.
    pub(super) leaves_some: bool,
}

impl Batch {
    /// Its lines, each a part of the one text.
    pub(super) fn lines(&self) -> Vec<Bytes> {
        let mut start = 0;
        let ends = memchr_iter(b'\n', &self.text).chain([self.text.len()]);
        let mut lines = Vec::with_capacity(self.count);
        lines.extend(ends.map(|end| self.text.slice(std::mem::replace(&mut start, end + 1)..end)));
        lines
    }
}

impl Ledger {
    /// A ledger with nothing in it; its spool is in `dir`.
    ///
    /// # Errors
    ///
    /// The spool can't be made.
    pub fn open(
        settings: Settings,
        dir: &Path,
        life: (&str, u64),
        clock: fn() -> SystemTime,
    ) -> io::Result<Self> {
        let (node, boot) = life;
        let spool = match settings.mode {
            AuditMode::Memory => None,
            AuditMode::Local | AuditMode::Quorum => Some(Spool::create(dir, boot)?),
        };
        let state = State {
            lines: Vec::new(),
            first: 1,
            next: 1,
            spooled: 0,
            spool,
            open: BTreeSet::new(),
            has_failed: false,
            lost: 0,
        };
        Ok(Self {
            settings,
            dir: dir.to_owned(),
            node: node.into(),
            boot,
            clock,
            state: Mutex::new(state),
            progress: watch::Sender::default(),
            is_behind: AtomicBool::new(false),
            to_ship: Notify::new(),
            to_sync: Notify::new(),
        })
    }

    /// Mode in which it runs.
    pub fn mode(&self) -> AuditMode {
        self.settings.mode
    }

    /// Whether calls wait for the disk.
    pub fn sync_mode(&self) -> AuditSync {
        self.settings.sync
    }

    /// Records what is going to happen. It is in the spool when this returns.
    ///
    /// # Errors
    ///
    /// [`CallError::AuditUnavailable`] when the spool or the log takes nothing: then it must not happen.
    pub(super) fn intend<'a>(
        &'a self,
        kind: Kind,
        fill: impl FnOnce(&mut Record<'a>),
    ) -> Result<Intent, CallError> {
        let mut state = self.state.lock();
        if state.has_failed || state.lines.len() >= REFUSED_BYTES {
            return Err(CallError::AuditUnavailable);
        }
        let before = state.lines.len();
        let local_seq = self.put(&mut state, kind, fill);
        if let Err(cause) = state.write_spool() {
            // As if it had never been: the call does not take place.
            state.lines.truncate(before);
            state.next = local_seq;
            self.note_failure(&mut state, &cause);
            return Err(CallError::AuditUnavailable);
        }
        if kind == Kind::Call {
            state.open.insert(local_seq);
        }
        if state.lines.len() >= WAITING_BYTES_MAX {
            self.is_behind.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.rouse();
        Ok(Intent { local_seq, kind })
    }

    /// Records what has happened, for `intent` if that was recorded. Returns its number; `None` when there was no room.
    pub(super) fn tell<'a>(
        &'a self,
        intent: Option<Intent>,
        kind: Kind,
        fill: impl FnOnce(&mut Record<'a>),
    ) -> Option<u64> {
        let mut state = self.state.lock();
        if state.lines.len() >= REFUSED_BYTES + RESERVE_BYTES {
            state.lost += 1;
            return None;
        }
        if let Some(intent) = intent {
            state.open.remove(&intent.local_seq);
        }
        let kind = intent.map_or(kind, |intent| intent.kind);
        let local_seq = self.put(&mut state, kind, |record| {
            record.intent = intent.map(|intent| intent.local_seq);
            fill(record);
        });
        drop(state);
        self.rouse();
        Some(local_seq)
    }

    /// Waits until the record is as safe as the mode demands before what it says is done, or its answer is sent; and
    /// until the log has caught up, so that calls come no faster than they are recorded.
    ///
    /// # Errors
    ///
    /// [`CallError::AuditUnavailable`] when that takes too long.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settled(&self, local_seq: u64) -> Result<(), CallError> {
        let each = self.settings.sync == AuditSync::Each;
        let needs_progress = match self.settings.mode {
            AuditMode::Quorum => true,
            AuditMode::Local => each,
            AuditMode::Memory => false,
        };
        // Nearly every call. To look at the progress is to lock it.
        if !needs_progress && !self.is_behind.load(Ordering::Relaxed) {
            return Ok(());
        }
        let is_settled = |progress: &Progress| match self.settings.mode {
            AuditMode::Quorum => progress.committed >= local_seq,
            AuditMode::Local if each => progress.synced.max(progress.committed) >= local_seq,
            AuditMode::Local | AuditMode::Memory => !self.is_behind.load(Ordering::Relaxed),
        };
        if is_settled(&self.progress.borrow()) {
            return Ok(());
        }
        let mut progress = self.progress.subscribe();
        match timeout(SETTLE_MAX, progress.wait_for(is_settled)).await {
            Ok(Ok(_settled)) => Ok(()),
            _ => Err(CallError::AuditUnavailable),
        }
    }

    /// Whether calls are taken.
    pub fn is_healthy(&self) -> bool {
        let state = self.state.lock();
        !state.has_failed && state.lines.len() < REFUSED_BYTES
    }

    /// How it stands.
    pub fn status(&self) -> LedgerStatus {
        let state = self.state.lock();
        LedgerStatus {
            last: state.next - 1,
            committed: state.first - 1,
            waiting_bytes: state.lines.len(),
            open: state.open.len(),
            lost: state.lost,
        }
    }

    /// Time of the oldest record that the log does not have, as it stands in it.
    pub fn oldest_at(&self) -> Option<String> {
        let state = self.state.lock();
        let line = state.lines.split(|byte| *byte == b'\n').next()?;
        let line = std::str::from_utf8(line).ok()?;
        let at = find(line, "at")?.of(line);
        decode_str(at).map(Cow::into_owned)
    }

    /// Waits until everything that was recorded before is in the log.
    pub(super) async fn drained(&self) {
        let last = self.status().last;
        self.to_ship.notify_one();
        let mut progress = self.progress.subscribe();
        // The sender lives as long as this.
        let _done = progress
            .wait_for(|progress| progress.committed >= last)
            .await;
    }

    /// Removes the spool if nothing in it is owed.
    pub(super) fn retire(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.lines.is_empty()
            && state.open.is_empty()
            && let Some(spool) = &mut state.spool
        {
            spool.remove()?;
        }
        Ok(())
    }

    /// Line of a record of an earlier life that closes `intent` without saying how it ended.
    pub(super) fn unknown(&self, boot: u64, local_seq: u64, intent: u64) -> Vec<u8> {
        let origin = Origin {
            node: &self.node,
            boot,
            local_seq,
        };
        let mut record = Record::new(origin, self.now_ms(), Kind::Call);
        record.intent = Some(intent);
        record.status = Some("unknown");
        let mut line = Vec::new();
        record.write(&mut line);
        line
    }

    /// Directory of the spools of all lives.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Name and life of the node.
    pub(super) fn life(&self) -> (&str, u64) {
        (&self.node, self.boot)
    }

    /// Lines that are next for the log. They stay until [`Self::committed`].
    pub(super) fn batch(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        if let Err(cause) = state.write_spool() {
            self.note_failure(&mut state, &cause);
        }
        let ends = memchr_iter(b'\n', &state.lines).take(BATCH_LINES_MAX);
        let ends = ends.take_while(|end| *end <= BATCH_BYTES_MAX);
        let (count, end) = ends.fold((0, 0), |(count, _), end| (count + 1, end));
        (count > 0).then(|| Batch {
            first: state.first,
            count,
            text: Bytes::copy_from_slice(&state.lines[..end]),
            leaves_some: end + 1 < state.lines.len(),
        })
    }

    /// The log has the batch.
    pub(super) fn committed(&self, batch: &Batch) {
        let mut state = self.state.lock();
        let bytes = batch.text.len() + 1;
        state.lines.drain(..bytes);
        state.spooled = state.spooled.saturating_sub(bytes);
        state.first = batch.first + batch.count as u64;
        if state.lines.len() < WAITING_BYTES_MAX {
            self.is_behind.store(false, Ordering::Relaxed);
        }
        if state.lines.is_empty() {
            state.lines.shrink_to(IDLE_BYTES);
        }
        let committed = state.first - 1;
        let State {
            spool, open, next, ..
        } = &mut *state;
        if let Some(spool) = spool
            && let Err(cause) = spool.release(committed, *next, open)
        {
            self.note_failure(&mut state, &cause);
        }
        drop(state);
        self.progress
            .send_modify(|progress| progress.committed = committed);
    }

    /// The log refuses this life of the node: nothing more can be recorded.
    pub(super) fn refused(&self) {
        self.state.lock().has_failed = true;
    }

    /// Writes what waits into the spool, and makes it durable.
    pub(super) fn sync(&self) {
        let mut state = self.state.lock();
        let last = state.next - 1;
        let written = state.write_spool();
        let spool = state.spool.as_ref();
        // Synced outside of the lock: calls go on meanwhile.
        let file = written.and_then(|()| spool.map(Spool::handle).transpose());
        drop(state);
        match file.and_then(|file| file.map_or(Ok(()), |file| file.sync_data())) {
            Ok(()) => {
                self.state.lock().has_failed = false;
                self.progress
                    .send_modify(|progress| progress.synced = progress.synced.max(last));
            }
            Err(cause) => self.note_failure(&mut self.state.lock(), &cause),
        }
    }

    fn put<'a>(&'a self, state: &mut State, kind: Kind, fill: impl FnOnce(&mut Record<'a>)) -> u64 {
        let local_seq = state.next;
        let origin = Origin {
            node: &self.node,
            boot: self.boot,
            local_seq,
        };
        let mut record = Record::new(origin, self.now_ms(), kind);
        fill(&mut record);
        record.write(&mut state.lines);
        state.lines.push(b'\n');
        state.next += 1;
        local_seq
    }

    fn now_ms(&self) -> u64 {
        let since_epoch = (self.clock)().duration_since(UNIX_EPOCH);
        u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    }

    fn rouse(&self) {
        self.to_ship.notify_one();
        if self.settings.mode == AuditMode::Local {
            self.to_sync.notify_one();
        }
    }

    fn note_failure(&self, state: &mut State, cause: &io::Error) {
        if !std::mem::replace(&mut state.has_failed, true) {
            error!(error = %cause, "audit spool cannot be written, calls are refused until it can");
        }
        // Tried again there, until it succeeds.
        self.to_sync.notify_one();
    }
}

impl State {
    fn write_spool(&mut self) -> io::Result<()> {
        if let Some(spool) = &mut self.spool
            && self.spooled < self.lines.len()
        {
            spool.write(&self.lines[self.spooled..])?;
            self.spooled = self.lines.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
