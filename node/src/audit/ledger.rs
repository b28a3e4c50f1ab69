//! The part of this node in the audit log of the cluster: records get their number, go into the spool, and from there
//! into the log. What has happened behind a record is not lost to the end of the process; from when on the record also
//! survives a power loss, or the node, is what the mode says.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockgate_cluster::audit::{Kind, Origin, Record};
use lockgate_proto::jsonrpc::{decode_str, find};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tracing::error;

mod backlog;
mod state;
mod waiters;
mod waiting;

pub(super) use self::backlog::Batch;
use self::state::{Demand, State};
use self::waiting::Waiting;
use super::spool::Spool;
use crate::config::{AuditMode, AuditSync, Ledger as Settings};
use crate::error::CallError;
use crate::timers::Timers;

/// Above this many bytes that the log of the cluster has not taken, calls wait for it.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Above this many, no call starts: those that came at once have not waited yet.
const REFUSED_BYTES: usize = 12 << 20;
/// Kept free for the ends of calls that have started.
const RESERVE_BYTES: usize = 8 << 20;
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
    /// Calls go on whose record is this one or one before it: see [`Demand`]. Changes under the lock of `state`.
    settled: AtomicU64,
    /// Of those who wait for their record.
    timers: Arc<Timers>,
    /// Something waits for the log.
    pub(super) to_ship: Notify,
    /// Something waits for the disk.
    pub(super) to_sync: Notify,
    /// The log has taken something.
    taken: Notify,
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
        let settled = match Demand::of(settings) {
            Demand::Committed | Demand::Synced => 0,
            Demand::Pace => u64::MAX,
        };
        Ok(Self {
            settings,
            dir: dir.to_owned(),
            node: node.into(),
            boot,
            clock,
            state: Mutex::new(State::new(spool)),
            settled: settled.into(),
            timers: Timers::new(SETTLE_MAX),
            to_ship: Notify::new(),
            to_sync: Notify::new(),
            taken: Notify::new(),
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

    /// Records what is going to happen. It is in the spool when this returns, unless it happens only after
    /// [`Self::settled`]: what waits for the log of the cluster goes into the spool on its way there, with all else that
    /// waits.
    ///
    /// # Errors
    ///
    /// [`CallError::AuditUnavailable`] when the spool or the log takes nothing: then it must not happen.
    pub(super) fn intend<'a>(
        &'a self,
        kind: Kind,
        is_awaited: bool,
        fill: impl FnOnce(&mut Record<'a>),
    ) -> Result<Intent, CallError> {
        let demand = Demand::of(self.settings);
        let mut state = self.state.lock();
        if !state.takes_calls() {
            return Err(CallError::AuditUnavailable);
        }
        let before = state.backlog.len();
        let local_seq = self.put(&mut state, kind, fill);
        if !(is_awaited && demand == Demand::Committed)
            && let Err(cause) = state.write_spool()
        {
            // As if it had never been: the call does not take place.
            state.backlog.take_back(before);
            self.on_failure(state, &cause);
            return Err(CallError::AuditUnavailable);
        }
        if kind == Kind::Call {
            state.open.insert(local_seq);
        }
        if demand == Demand::Pace && state.backlog.len() >= WAITING_BYTES_MAX {
            self.settled.store(0, Ordering::Relaxed);
        }
        self.rouse(state);
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
        if state.backlog.len() >= REFUSED_BYTES + RESERVE_BYTES {
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
        self.rouse(state);
        Some(local_seq)
    }

    /// Waits until the record is as safe as the mode demands before what it says is done, or its answer is sent; and
    /// until the log has caught up, so that calls come no faster than they are recorded.
    ///
    /// # Errors
    ///
    /// [`CallError::AuditUnavailable`] when that takes too long, when the log refuses all records of this node, or when
    /// the spool refuses that of a call that has not begun.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settled(&self, local_seq: u64) -> Result<(), CallError> {
        // Nearly every call, but in the mode `quorum`.
        if self.is_settled(local_seq) {
            return Ok(());
        }
        let waiting = pin!(Waiting::new(self, local_seq));
        let in_time = self.timers.limit(waiting).await;
        in_time.unwrap_or(Err(CallError::AuditUnavailable))
    }

    /// Whether calls are taken.
    pub fn is_healthy(&self) -> bool {
        self.state.lock().takes_calls()
    }

    /// How it stands.
    pub fn status(&self) -> LedgerStatus {
        let state = self.state.lock();
        LedgerStatus {
            last: state.backlog.last(),
            committed: state.backlog.committed(),
            waiting_bytes: state.backlog.len(),
            open: state.open.len(),
            lost: state.lost,
        }
    }

    /// Time of the oldest record that the log does not have, as it stands in it.
    pub fn oldest_at(&self) -> Option<String> {
        let state = self.state.lock();
        let line = std::str::from_utf8(state.backlog.oldest()?).ok()?;
        let at = find(line, "at")?.of(line);
        decode_str(at).map(Cow::into_owned)
    }

    /// Waits until everything that was recorded before is in the log.
    pub(super) async fn drained(&self) {
        let last = self.status().last;
        self.to_ship.notify_one();
        loop {
            let mut taken = pin!(self.taken.notified());
            // From here on nothing is missed.
            taken.as_mut().enable();
            if self.status().committed >= last {
                return;
            }
            taken.await;
        }
    }

    /// Removes the spool if nothing in it is owed.
    pub(super) fn retire(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.backlog.is_empty()
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

    /// Lines that are next for the log. They stay until [`Self::on_committed`]. After `None` whoever asked waits for
    /// `to_ship`.
    pub(super) fn batch(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        let written = state.write_spool();
        let batch = state.backlog.batch();
        state.roused_by = batch.is_none().then_some(0);
        if let Err(cause) = written {
            self.on_failure(state, &cause);
        }
        batch
    }

    /// Waits until the record of this number was made. For whoever ships.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Afterwards `to_ship` may ring once for nothing.
    pub(super) async fn recorded(&self, local_seq: u64) {
        let is_there = || {
            let mut state = self.state.lock();
            let is_there = state.backlog.last() >= local_seq;
            state.roused_by = (!is_there).then_some(local_seq);
            is_there
        };
        while !is_there() {
            self.to_ship.notified().await;
        }
    }

    /// The log has the batch.
    pub(super) fn on_committed(&self, batch: &Batch) {
        let mut state = self.state.lock();
        state.backlog.on_committed(batch);
        let settled = self.advance(&mut state);
        match state.release_spool() {
            Ok(()) => drop(state),
            Err(cause) => self.on_failure(state, &cause),
        }
        wake(settled);
        self.taken.notify_waiters();
    }

    /// The log refuses this life of the node: nothing more can be recorded.
    pub(super) fn refused(&self) {
        let mut state = self.state.lock();
        state.is_refused = true;
        let in_vain = state.waiters.reach(u64::MAX);
        drop(state);
        wake(in_vain);
    }

    /// Writes what waits into the spool, and makes it durable.
    pub(super) fn sync(&self) {
        let mut state = self.state.lock();
        let last = state.backlog.last();
        let written = state.write_spool();
        let spool = state.spool.as_ref();
        let files = written.and_then(|()| spool.map_or(Ok(Vec::new()), Spool::unsynced));
        drop(state);
        // Without the lock: calls go on meanwhile.
        let synced = files.and_then(|files| files.iter().try_for_each(File::sync_data));
        let mut state = self.state.lock();
        if let Err(cause) = synced {
            self.on_failure(state, &cause);
            return;
        }
        state.synced = state.synced.max(last);
        if let Some(spool) = &mut state.spool {
            spool.on_synced(last);
        }
        let settled = self.advance(&mut state);
        if std::mem::take(&mut state.has_failed) {
            // Some may have been kept back from the log.
            self.to_ship.notify_one();
        }
        drop(state);
        wake(settled);
    }

    fn put<'a>(&'a self, state: &mut State, kind: Kind, fill: impl FnOnce(&mut Record<'a>)) -> u64 {
        state.backlog.push(|local_seq, line| {
            let origin = Origin {
                node: &self.node,
                boot: self.boot,
                local_seq,
            };
            let mut record = Record::new(origin, self.now_ms(), kind);
            fill(&mut record);
            record.write(line);
        })
    }

    fn now_ms(&self) -> u64 {
        let since_epoch = (self.clock)().duration_since(UNIX_EPOCH);
        u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whoever waits for this record, or would, goes on.
    fn is_settled(&self, local_seq: u64) -> bool {
        self.settled.load(Ordering::Relaxed) >= local_seq
    }

    /// Says how far records are settled. Returns who has waited for that, to be woken without the lock.
    #[must_use]
    fn advance(&self, state: &mut State) -> Vec<Waker> {
        let committed = state.backlog.committed();
        let settled = match Demand::of(self.settings) {
            Demand::Committed => committed,
            Demand::Synced => committed.max(state.synced),
            Demand::Pace if state.backlog.len() < WAITING_BYTES_MAX => u64::MAX,
            Demand::Pace => return Vec::new(),
        };
        self.settled.store(settled, Ordering::Relaxed);
        state.waiters.reach(settled)
    }

    /// There is something to do for those who bring records to safety.
    fn rouse(&self, mut state: MutexGuard<'_, State>) {
        let last = state.backlog.last();
        let is_awaited = state
            .roused_by
            .take_if(|awaited| *awaited <= last)
            .is_some();
        drop(state);
        if is_awaited {
            self.to_ship.notify_one();
        }
        if self.settings.mode == AuditMode::Local {
            self.to_sync.notify_one();
        }
    }

    fn on_failure(&self, mut state: MutexGuard<'_, State>, cause: &io::Error) {
        let is_new = !std::mem::replace(&mut state.has_failed, true);
        // Some of them wait in vain: each looks for itself.
        let disturbed = match is_new {
            true => state.waiters.reach(u64::MAX),
            false => Vec::new(),
        };
        drop(state);
        wake(disturbed);
        if is_new {
            error!(error = %cause, "audit spool cannot be written, calls are refused until it can");
        }
        // Tried again there, until it succeeds.
        self.to_sync.notify_one();
    }
}

fn wake(waiters: Vec<Waker>) {
    waiters.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests;
