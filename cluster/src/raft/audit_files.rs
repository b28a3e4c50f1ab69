//! The audit segments of this node, behind a thread of their own: the machine says what is to be appended, and never
//! waits for a disk.

mod keep;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::{fs, io};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

use self::keep::{Opening, Order, keep};
use super::audit_aside;
use crate::audit::segment::{Position, SegmentError, SegmentReader};
use crate::audit::{AuditEffect, AuditLog, Frontier, Genesis, Guards, KeyRanges, MacKeys, derive};
use crate::error::OpenError;
use crate::guarding::{self, GuardMismatch};
use crate::keyring::Keyring;

/// Batches that wait for the disk; then the machine waits, too.
const QUEUE_MAX: usize = 256;

/// Where the segments of a node are, and how they do. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct AuditFiles {
    dir: Arc<Path>,
    has_peers: bool,
    reader: Arc<Mutex<Option<SegmentReader>>>,
    has_failed: Arc<AtomicBool>,
    /// Number of records that must be here, while some of them are not.
    lacks: Arc<watch::Sender<Option<u64>>>,
    /// Why this node can guard nothing more, once that is so.
    mismatch: Arc<watch::Sender<Option<GuardMismatch>>>,
    /// To the thread, once it runs. Weak: it ends with the machine.
    orders: Arc<OnceLock<mpsc::WeakSender<Order>>>,
}

impl AuditFiles {
    /// Segments in `dir`, none of them open. `has_peers`: what is damaged can be had from others.
    pub(crate) fn new(dir: PathBuf, has_peers: bool) -> Self {
        Self {
            dir: dir.into(),
            has_peers,
            reader: Arc::default(),
            has_failed: Arc::default(),
            lacks: Arc::default(),
            mismatch: Arc::default(),
            orders: Arc::default(),
        }
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Number of records that must be here, while some of them are not.
    pub(crate) fn lacking(&self) -> watch::Receiver<Option<u64>> {
        self.lacks.subscribe()
    }

    /// Why this node can guard nothing more, once that is so.
    pub(super) fn mismatch(&self) -> Option<GuardMismatch> {
        self.mismatch.borrow().clone()
    }

    /// Waits until that is so.
    pub(super) async fn mismatched(&self) -> GuardMismatch {
        let mut mismatch = self.mismatch.subscribe();
        let found = mismatch.wait_for(Option::is_some).await;
        match found.ok().and_then(|found| found.clone()) {
            Some(found) => found,
            // Nobody is left to tell it.
            None => std::future::pending().await,
        }
    }

    /// Opens the segments again, after files were fetched. They are verified.
    ///
    /// # Errors
    ///
    /// What is wrong with them, or [`SegmentError::Short`] while records are missing.
    pub(crate) async fn complete(&self) -> Result<(), SegmentError> {
        let (done, completed) = oneshot::channel();
        if let Some(orders) = self.orders.get().and_then(mpsc::WeakSender::upgrade) {
            // When the thread has ended, the answer never comes, and nothing is to be done.
            let _ended = orders.send(Order::Complete(done)).await;
        }
        completed.await.unwrap_or(Ok(()))
    }

    /// Moves the files away for a person to look at, in the place of those that were moved before. Only while they are
    /// not open.
    pub(crate) fn set_aside(&self) -> io::Result<()> {
        let aside = audit_aside::place(&self.dir);
        audit_aside::remove(&aside)?;
        fs::rename(&self.dir, aside)?;
        self.make_dir()
    }

    fn make_dir(&self) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(&self.dir)
    }

    /// Reader of the records; `None` before the log has begun, and while records are missing here.
    pub(crate) fn reader(&self) -> Option<SegmentReader> {
        let reader = self.reader.lock();
        reader.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_reader(&self, reader: Option<SegmentReader>) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = reader;
    }
}

/// The machine's end: tells the thread what is to be written. The thread ends with it.
pub(crate) struct AuditWriter {
    orders: mpsc::Sender<Order>,
    files: AuditFiles,
    guards: Guards,
    is_open: bool,
    n_keys: usize,
    /// Of the keys that were ever in use.
    keys: MacKeys,
}

impl AuditWriter {
    /// Starts the thread, which is given, too: when it has ended, nothing is written any more.
    pub(super) fn start(
        files: AuditFiles,
        guards: Guards,
    ) -> Result<(Self, JoinHandle<()>), OpenError> {
        let (orders, receiver) = mpsc::channel(QUEUE_MAX);
        // Only this sets it, and only once: the files have one thread.
        let _first = files.orders.set(orders.downgrade());
        let (keeper, dir) = (files.clone(), files.dir.to_path_buf());
        let spawned = thread::Builder::new()
            .name("audit-segments".to_owned())
            .spawn(move || keep(&keeper, receiver));
        // It ends when its orders do, with nothing left to write.
        let keeper = spawned.map_err(|source| OpenError::Io {
            what: "start the thread for",
            path: dir,
            source,
        })?;
        let writer = Self {
            orders,
            files,
            guards,
            is_open: false,
            n_keys: 0,
            keys: MacKeys::default(),
        };
        Ok((writer, keeper))
    }

    /// Where they are written.
    pub(super) fn files(&self) -> &AuditFiles {
        &self.files
    }

    /// Writes what the machine gave out since the last time. `log` is its state after that.
    pub(super) async fn append(
        &mut self,
        log: &AuditLog,
        keyring: Option<&Keyring>,
        effects: Vec<AuditEffect>,
    ) -> io::Result<()> {
        if !self.is_open
            && let Some(genesis) = log.genesis()
        {
            // No snapshot came before, so the machine has seen the log from its beginning.
            let start = Position {
                frontier: Frontier::default(),
                chain: genesis.head(),
            };
            self.open(log, keyring, start).await?;
        }
        if effects.is_empty() {
            return Ok(());
        }
        if let (Some(genesis), Some(ranges), Some(keyring)) =
            (log.genesis(), log.key_ranges(), keyring)
            && ranges.starts().len() != self.n_keys
        {
            let keys = self.keys_of(keyring, genesis, ranges);
            self.send(Order::Keys(keys)).await?;
        }
        if let Some(ranges) = log.key_ranges() {
            self.check_keys(ranges, &effects)?;
        }
        self.send(Order::Append(effects)).await
    }

    /// Goes on behind a snapshot, in which the log is `log`.
    pub(super) async fn resume(
        &mut self,
        log: &AuditLog,
        keyring: Option<&Keyring>,
    ) -> io::Result<()> {
        self.is_open = false;
        match (log.frontier(), log.chain()) {
            (Some(frontier), Some(chain)) => {
                let frontier = frontier.clone();
                self.open(log, keyring, Position { frontier, chain }).await
            }
            _ => Ok(()),
        }
    }

    async fn open(
        &mut self,
        log: &AuditLog,
        keyring: Option<&Keyring>,
        position: Position,
    ) -> io::Result<()> {
        // Without the keyring the node does not start, and says so elsewhere.
        let (Some(genesis), Some(ranges), Some(keyring)) =
            (log.genesis(), log.key_ranges(), keyring)
        else {
            return Ok(());
        };
        self.is_open = true;
        let opening = Opening {
            genesis: genesis.clone(),
            position,
            keys: self.keys_of(keyring, genesis, ranges),
        };
        self.check_keys(ranges, &[])?;
        self.send(Order::Open(Box::new(opening))).await
    }

    fn keys_of(&mut self, keyring: &Keyring, genesis: &Genesis, ranges: &KeyRanges) -> MacKeys {
        self.n_keys = ranges.starts().len();
        self.keys = derive::mac_keys(keyring, &self.guards, genesis, ranges);
        self.keys.clone()
    }

    /// Refuses what this node can't guard: a log must not go on here with other MACs than elsewhere.
    fn check_keys(&self, ranges: &KeyRanges, effects: &[AuditEffect]) -> io::Result<()> {
        if self.keys.len() == self.n_keys {
            return Ok(());
        }
        let mut missing = effects.iter().filter_map(|effect| match effect {
            AuditEffect::Record(record) if self.keys.get(record.key_id).is_none() => {
                Some(record.seq)
            }
            AuditEffect::Record(_) | AuditEffect::Checkpoint { .. } => None,
        });
        let mismatch = match (self.keys.get(ranges.current()), missing.next()) {
            (Some(_), None) => return Ok(()),
            (None, _) => guarding::missing(ranges),
            (Some(_), Some(first)) => GuardMismatch::Missing { first },
        };
        error!(%mismatch, "this node cannot guard the audit log, it takes no changes any more");
        self.files.mismatch.send_replace(Some(mismatch.clone()));
        Err(io::Error::other(mismatch))
    }

    /// What makes durable all that was appended so far. The log may be purged only behind that.
    pub(super) fn syncer(&self) -> AuditSyncer {
        AuditSyncer(self.orders.clone())
    }

    async fn send(&self, order: Order) -> io::Result<()> {
        let failed = self.files.has_failed.load(Ordering::Acquire);
        match self.orders.send(order).await {
            Ok(()) if !failed => Ok(()),
            _ => Err(io::Error::other("the audit segments cannot be written")),
        }
    }
}

/// See [`AuditWriter::syncer`].
pub(super) struct AuditSyncer(mpsc::Sender<Order>);

impl AuditSyncer {
    pub(super) async fn sync(&self) -> io::Result<()> {
        let (done, synced) = oneshot::channel();
        // When the thread has ended, the channel has closed, too.
        let _ended = self.0.send(Order::Sync(done)).await;
        match synced.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_ended) => Err(io::Error::other("the audit segments cannot be written")),
        }
    }
}
