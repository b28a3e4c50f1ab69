//! What the ledger has under its lock.

use std::collections::BTreeSet;
use std::io;

use super::REFUSED_BYTES;
use super::backlog::Backlog;
use super::waiters::Waiters;
use crate::audit::spool::Spool;
use crate::config::{AuditMode, AuditSync, Ledger as Settings};

/// State under the lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) backlog: Backlog,
    /// `None` in the mode `memory`.
    pub(super) spool: Option<Spool>,
    /// Number of the last record on the disk.
    pub(super) synced: u64,
    pub(super) open: BTreeSet<u64>,
    pub(super) waiters: Waiters,
    /// Whoever ships is to be woken by the record of this number, or one behind it; `None` while it is busy.
    pub(super) roused_by: Option<u64>,
    /// The spool cannot be written.
    pub(super) has_failed: bool,
    /// The log takes nothing of this life any more.
    pub(super) is_refused: bool,
    pub(super) lost: u64,
}

/// What calls wait for, by the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// That the log has their record.
    Committed,
    /// That the disk has it, or the log.
    Synced,
    /// That the log is not far behind: then for all of them, otherwise for none.
    Pace,
}

impl Demand {
    /// By the settings.
    pub(super) fn of(settings: Settings) -> Self {
        match (settings.mode, settings.sync) {
            (AuditMode::Quorum, _) => Self::Committed,
            (AuditMode::Local, AuditSync::Each) => Self::Synced,
            (AuditMode::Local, AuditSync::Group) | (AuditMode::Memory, _) => Self::Pace,
        }
    }
}

impl State {
    /// Of a life that has recorded nothing.
    pub(super) fn new(spool: Option<Spool>) -> Self {
        Self {
            backlog: Backlog::new(),
            spool,
            synced: 0,
            open: BTreeSet::new(),
            waiters: Waiters::default(),
            roused_by: Some(0),
            has_failed: false,
            is_refused: false,
            lost: 0,
        }
    }

    /// Whether the next call finds room.
    pub(super) fn takes_calls(&self) -> bool {
        !self.has_failed && !self.is_refused && self.backlog.len() < REFUSED_BYTES
    }

    /// Whether it is in vain to wait for this record: it never gets into the log, or is the intent of a call that must
    /// not take place.
    pub(super) fn refuses(&self, local_seq: u64) -> bool {
        let is_kept_back = || self.has_failed && !self.backlog.is_spooled(local_seq);
        self.is_refused || is_kept_back() && self.open.contains(&local_seq)
    }

    /// Writes what waits into the spool.
    pub(super) fn write_spool(&mut self) -> io::Result<()> {
        let lines = self.backlog.unspooled();
        if let Some(spool) = &mut self.spool
            && !lines.is_empty()
        {
            spool.write(lines)?;
        }
        self.backlog.spooled();
        Ok(())
    }

    /// Lets go of what the log has.
    pub(super) fn release_spool(&mut self) -> io::Result<()> {
        if self.spool.as_ref().is_some_and(Spool::is_full) {
            // The next file begins with the calls that have no end: none of them may have its beginning or its end
            // nowhere but here.
            self.write_spool()?;
        }
        let (committed, next) = (self.backlog.committed(), self.backlog.last() + 1);
        match &mut self.spool {
            Some(spool) => spool.release(committed, next, &self.open),
            None => Ok(()),
        }
    }
}
