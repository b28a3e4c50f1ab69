//! The audit segments of this node, behind a thread of their own: the machine says what is to be appended, and never
//! waits for a disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::audit::segment::{Limits, Position, SegmentError, SegmentReader, SegmentStore};
use crate::audit::{AuditEffect, AuditLog, Frontier, Genesis, MacKeys, derive};
use crate::error::OpenError;
use crate::keyring::Keyring;

/// Batches that wait for the disk; then the machine waits, too.
const QUEUE_MAX: usize = 256;

/// What the machine has to say to the thread.
enum Order {
    /// Cut the segments back to this, and go on from there.
    Open(Box<Opening>),
    Keys(MacKeys),
    Append(Vec<AuditEffect>),
    Sync(oneshot::Sender<Result<(), SegmentError>>),
}

struct Opening {
    genesis: Genesis,
    position: Position,
    keys: MacKeys,
}

/// Where the segments of a node are, and how they do. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct AuditFiles {
    dir: Arc<Path>,
    reader: Arc<Mutex<Option<SegmentReader>>>,
    has_failed: Arc<AtomicBool>,
}

impl AuditFiles {
    /// Segments in `dir`, none of them open.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir: dir.into(),
            reader: Arc::default(),
            has_failed: Arc::default(),
        }
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
    is_open: bool,
    n_keys: usize,
}

impl AuditWriter {
    /// Starts the thread.
    pub(super) fn start(files: AuditFiles) -> Result<Self, OpenError> {
        let (orders, receiver) = mpsc::channel(QUEUE_MAX);
        let (keeper, dir) = (files.clone(), files.dir.to_path_buf());
        let spawned = thread::Builder::new()
            .name("audit-segments".to_owned())
            .spawn(move || keep(&keeper, receiver));
        // It ends when its orders do, with nothing left to write.
        let _detached = spawned.map_err(|source| OpenError::Io {
            what: "start the thread for",
            path: dir,
            source,
        })?;
        Ok(Self {
            orders,
            files,
            is_open: false,
            n_keys: 0,
        })
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
        if let (Some(ranges), Some(keyring)) = (log.key_ranges(), keyring)
            && ranges.starts().len() != self.n_keys
        {
            self.n_keys = ranges.starts().len();
            self.send(Order::Keys(derive::mac_keys(keyring, ranges)))
                .await?;
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
        self.n_keys = ranges.starts().len();
        let opening = Opening {
            genesis: genesis.clone(),
            position,
            keys: derive::mac_keys(keyring, ranges),
        };
        self.send(Order::Open(Box::new(opening))).await
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

/// Carries out orders until there can be no more, or until the disk refuses one.
fn keep(files: &AuditFiles, mut orders: mpsc::Receiver<Order>) {
    let mut store: Option<SegmentStore> = None;
    while let Some(order) = orders.blocking_recv() {
        let done = match order {
            Order::Open(opening) => open(files, *opening).map(|opened| store = opened),
            Order::Keys(keys) => {
                if let Some(store) = &mut store {
                    store.set_keys(keys);
                }
                Ok(())
            }
            Order::Append(effects) => match &mut store {
                Some(store) => store.append(&effects),
                None => Ok(()),
            },
            Order::Sync(done) => {
                let synced = store.as_mut().map_or(Ok(()), SegmentStore::sync);
                // Whoever asked may have gone.
                let _gone = done.send(synced);
                Ok(())
            }
        };
        if let Err(error) = done {
            error!(%error, "audit segments cannot be written, this node takes no changes any more");
            files.has_failed.store(true, Ordering::Release);
            return;
        }
    }
    if let Some(Err(error)) = store.as_mut().map(SegmentStore::sync) {
        error!(%error, "the last audit records may not survive a power loss");
    }
}

/// Opens the segments. `None` when records are missing that came with a snapshot.
fn open(files: &AuditFiles, opening: Opening) -> Result<Option<SegmentStore>, SegmentError> {
    files.set_reader(None);
    let Opening {
        genesis,
        position,
        keys,
    } = opening;
    match SegmentStore::open(&files.dir, &genesis, &position, keys, Limits::default()) {
        Ok(store) => {
            info!(records = store.size(), "audit segments opened");
            files.set_reader(Some(store.reader()));
            Ok(Some(store))
        }
        Err(SegmentError::Short { have, need }) => {
            warn!(
                have,
                need, "audit records are missing on this node; other nodes have them"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
