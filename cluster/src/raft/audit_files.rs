//! The audit segments of this node, behind a thread of their own: the machine says what is to be appended, and never
//! waits for a disk.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::audit_aside;
use crate::audit::segment::{Limits, Position, SegmentError, SegmentReader, SegmentStore};
use crate::audit::verify::{Trust, Verdict, verify_segments};
use crate::audit::{AuditEffect, AuditLog, Frontier, Genesis, MacKeys, derive};
use crate::error::OpenError;
use crate::keyring::Keyring;

/// Batches that wait for the disk; then the machine waits, too.
const QUEUE_MAX: usize = 256;

/// Records of several commands that come within this time are written together. Nobody waits for them here: what was
/// acknowledged is in the replicated log, which is purged only behind a sync.
const TOGETHER: Duration = Duration::from_millis(10);

/// Most bytes of records that wait for those before them.
const HELD_BYTES_MAX: usize = 32 << 20;

/// What the thread is told.
enum Order {
    /// Cut the segments back to this, and go on from there.
    Open(Box<Opening>),
    Keys(MacKeys),
    Append(Vec<AuditEffect>),
    Sync(oneshot::Sender<Result<(), SegmentError>>),
    /// Try whether the segments are whole now.
    Complete(oneshot::Sender<Result<(), SegmentError>>),
}

struct Opening {
    genesis: Genesis,
    position: Position,
    keys: MacKeys,
}

impl Opening {
    fn trust(&self) -> Trust {
        Trust {
            genesis: self.genesis.clone(),
            keys: self.keys.clone(),
            signers: Vec::new(),
        }
    }
}

/// Where the segments of a node are, and how they do. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct AuditFiles {
    dir: Arc<Path>,
    has_peers: bool,
    reader: Arc<Mutex<Option<SegmentReader>>>,
    has_failed: Arc<AtomicBool>,
    /// Number of records that must be here, while some of them are not.
    lacks: Arc<watch::Sender<Option<u64>>>,
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

    /// Says how the segments are.
    fn tell(&self, kept: &Kept) {
        self.set_reader(match kept {
            Kept::Whole(store) => {
                let records = store.size();
                info!(
                    records,
                    "audit segments opened, the replicated log brings what is behind"
                );
                Some(store.reader())
            }
            Kept::Nothing | Kept::Lacking(_) => None,
        });
        self.lacks.send_replace(match kept {
            Kept::Lacking(lacking) => Some(lacking.opening.position.frontier.size()),
            Kept::Nothing | Kept::Whole(_) => None,
        });
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
    /// Starts the thread, which is given, too: when it has ended, nothing is written any more.
    pub(super) fn start(files: AuditFiles) -> Result<(Self, JoinHandle<()>), OpenError> {
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
            is_open: false,
            n_keys: 0,
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
            self.n_keys = ranges.starts().len();
            self.send(Order::Keys(derive::mac_keys(keyring, genesis, ranges)))
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
            keys: derive::mac_keys(keyring, genesis, ranges),
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

/// What the thread keeps.
enum Kept {
    /// The log has not begun here.
    Nothing,
    Whole(Box<SegmentStore>),
    Lacking(Box<Lacking>),
}

/// Records are missing that came with a snapshot. Those that come meanwhile wait for them.
struct Lacking {
    opening: Box<Opening>,
    effects: Vec<AuditEffect>,
    bytes: usize,
}

impl Kept {
    fn lacking(opening: Box<Opening>) -> Self {
        Self::Lacking(Box::new(Lacking {
            opening,
            effects: Vec::new(),
            bytes: 0,
        }))
    }
}

impl Lacking {
    fn take(&mut self, effects: Vec<AuditEffect>) {
        let length = |effect: &AuditEffect| match effect {
            AuditEffect::Record(record) => record.line.len(),
            AuditEffect::Checkpoint { note, .. } => note.len(),
        };
        self.bytes += effects.iter().map(length).sum::<usize>();
        self.effects.extend(effects);
        if self.bytes <= HELD_BYTES_MAX {
            return;
        }
        // What does not fit is fetched, too.
        self.bytes = 0;
        for effect in self.effects.drain(..) {
            if let AuditEffect::Record(record) = effect {
                self.opening.position.frontier.append(record.leaf);
                self.opening.position.chain = record.chain;
            }
        }
    }
}

/// Carries out orders until there can be no more, or until the disk refuses one.
fn keep(files: &AuditFiles, mut orders: mpsc::Receiver<Order>) {
    let mut kept = Kept::Nothing;
    let mut next = None;
    while let Some(mut order) = next.take().or_else(|| orders.blocking_recv()) {
        if let Order::Append(effects) = &mut order {
            thread::sleep(TOGETHER);
            next = gather(effects, &mut orders);
        }
        if let Err(error) = carry_out(files, &mut kept, order) {
            error!(%error, "audit segments cannot be written, this node takes no changes any more");
            files.has_failed.store(true, Ordering::Release);
            return;
        }
    }
    if let Kept::Whole(store) = &mut kept
        && let Err(error) = store.sync()
    {
        error!(%error, "the last audit records may not survive a power loss");
    }
}

/// Adds what is to be appended behind `effects`. Returns the order behind that, if there is one.
fn gather(effects: &mut Vec<AuditEffect>, orders: &mut mpsc::Receiver<Order>) -> Option<Order> {
    loop {
        match orders.try_recv().ok()? {
            Order::Append(more) => effects.extend(more),
            other => return Some(other),
        }
    }
}

fn carry_out(files: &AuditFiles, kept: &mut Kept, order: Order) -> Result<(), SegmentError> {
    match order {
        Order::Open(opening) => {
            files.set_reader(None);
            let is_aside = keep_evidence(&files.dir, &opening)?;
            *kept = match open(&files.dir, &opening) {
                Ok(store) => Kept::Whole(Box::new(store)),
                Err(SegmentError::Short { have, need }) => {
                    warn!(
                        have,
                        need, "audit records are missing on this node; other nodes have them"
                    );
                    Kept::lacking(opening)
                }
                Err(error @ SegmentError::Damaged { .. }) if files.has_peers => {
                    error!(%error, "audit segments are set aside and fetched from other nodes");
                    // What was kept before the files were cut has more than they have now.
                    let moved = match is_aside {
                        true => audit_aside::remove(&files.dir).and_then(|()| files.make_dir()),
                        false => files.set_aside(),
                    };
                    moved.map_err(|source| SegmentError::Io {
                        what: "move",
                        path: files.dir.to_path_buf(),
                        source,
                    })?;
                    Kept::lacking(opening)
                }
                Err(error) => return Err(error),
            };
            files.tell(kept);
        }
        Order::Keys(keys) => match kept {
            Kept::Nothing => {}
            Kept::Whole(store) => store.set_keys(keys),
            Kept::Lacking(lacking) => lacking.opening.keys = keys,
        },
        Order::Append(effects) => match kept {
            Kept::Nothing => {}
            Kept::Whole(store) => store.append(&effects)?,
            Kept::Lacking(lacking) => lacking.take(effects),
        },
        Order::Sync(done) => {
            let synced = match kept {
                Kept::Whole(store) => store.sync(),
                // Whatever is missing after a restart is fetched then.
                Kept::Nothing | Kept::Lacking(_) => Ok(()),
            };
            // Whoever asked may have gone.
            let _gone = done.send(synced);
        }
        Order::Complete(done) => {
            let completed = match kept {
                Kept::Lacking(lacking) => match complete(&files.dir, lacking) {
                    Ok(store) => {
                        *kept = Kept::Whole(Box::new(store));
                        files.tell(kept);
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Kept::Nothing | Kept::Whole(_) => Ok(()),
            };
            let _gone = done.send(completed);
        }
    }
    Ok(())
}

/// Looks at the records that are about to be cut away and written anew, and sets a copy of all aside if they, or the
/// checkpoints, are damaged. Returns whether they are.
fn keep_evidence(dir: &Path, opening: &Opening) -> Result<bool, SegmentError> {
    let Some(damage) = audit_aside::damage(dir, &opening.position, &opening.trust())? else {
        return Ok(false);
    };
    let aside = audit_aside::place(dir);
    let aside = aside.display();
    match audit_aside::keep(dir, &opening.position) {
        Ok(()) => error!(%aside, damage, "audit records are damaged, a copy of them is set aside"),
        Err(error) => {
            error!(%error, damage, "audit records are damaged, and cannot be set aside");
            return Ok(false);
        }
    }
    Ok(true)
}

fn open(dir: &Path, opening: &Opening) -> Result<SegmentStore, SegmentError> {
    let (genesis, position) = (&opening.genesis, &opening.position);
    let keys = opening.keys.clone();
    SegmentStore::open(dir, genesis, position, keys, Limits::default())
}

/// Opens the segments with what was fetched, if it is what the machine has applied, and appends what has waited. The
/// tree and the chain were compared with the machine's own; what is beside the records is verified here.
fn complete(dir: &Path, lacking: &Lacking) -> Result<SegmentStore, SegmentError> {
    let mut store = open(dir, &lacking.opening)?;
    let trust = lacking.opening.trust();
    let report = verify_segments(&store.reader(), &trust, Some(store.size()), |_, _| {})?;
    if let Verdict::Bad(finding) = report.verdict {
        return Err(SegmentError::Damaged {
            path: dir.to_owned(),
            offset: 0,
            what: finding.to_string(),
        });
    }
    store.append(&lacking.effects)?;
    Ok(store)
}
