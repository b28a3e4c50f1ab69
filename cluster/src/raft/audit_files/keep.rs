//! The thread that keeps the segments: it carries out what it is told, one order after the other.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::AuditFiles;
use crate::audit::segment::{Limits, Position, SegmentError, SegmentStore};
use crate::audit::verify::{Trust, Verdict, verify_segments};
use crate::audit::{AuditEffect, Genesis, MacKeys};
use crate::raft::audit_aside;

/// Records of several commands that come within this time are written together. Nobody waits for them here: what was
/// acknowledged is in the replicated log, which is purged only behind a sync.
const TOGETHER: Duration = Duration::from_millis(10);

/// Most bytes of records that wait for those before them.
const HELD_BYTES_MAX: usize = 32 << 20;

/// What the thread is told.
pub(super) enum Order {
    /// Cut the segments back to this, and go on from there.
    Open(Box<Opening>),
    Keys(MacKeys),
    Append(Vec<AuditEffect>),
    Sync(oneshot::Sender<Result<(), SegmentError>>),
    /// Try whether the segments are whole now.
    Complete(oneshot::Sender<Result<(), SegmentError>>),
}

pub(super) struct Opening {
    pub(super) genesis: Genesis,
    pub(super) position: Position,
    pub(super) keys: MacKeys,
}

impl Opening {
    fn trust(&self) -> Trust {
        Trust {
            genesis: self.genesis.clone(),
            keys: self.keys.clone(),
            guards: None,
            signers: Vec::new(),
        }
    }
}

impl AuditFiles {
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
pub(super) fn keep(files: &AuditFiles, mut orders: mpsc::Receiver<Order>) {
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
