//! State of the log.

use std::collections::{BTreeMap, VecDeque};

use crate::audit::chain::Genesis;
use crate::audit::checkpoint::{self, Checkpoint, Signers};
use crate::audit::hash::Hash;
use crate::audit::mac::KeyRanges;
use crate::audit::note::Note;
use crate::audit::tree::Frontier;

/// Lives of one node that may append at a time: the one that runs, and earlier ones whose spools are drained.
pub(super) const BOOTS_MAX: usize = 4;
/// Late sizes of which the root is kept, so that a checkpoint can be compared that was signed while the log went on.
pub(super) const MARKS_MAX: usize = 128;

/// The audit log: what its next record needs. A clone is small and independent of the number of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditLog {
    begun: Option<Begun>,
}

/// State since the genesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) genesis: Genesis,
    /// Chain hash after the last record.
    pub(super) chain: Hash,
    /// Time of the last record.
    pub(super) ts_ms: u64,
    pub(super) frontier: Frontier,
    pub(super) nodes: BTreeMap<String, NodeTail>,
    /// Number of the last record that the log itself wrote.
    pub(super) own_seq: u64,
    pub(super) ranges: KeyRanges,
    /// Late sizes and their roots, oldest first.
    pub(super) marks: VecDeque<(u64, Hash)>,
    pub(super) signers: Option<Signers>,
    /// Checkpoints that lack cosignatures, oldest first.
    pub(super) pending: VecDeque<(Checkpoint, Note)>,
    /// The last one that a majority has cosigned.
    pub(super) good: Option<(Checkpoint, Note)>,
}

/// How far one node's records have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeTail {
    /// No life up to this one can append any more.
    pub(super) closed_through: u64,
    /// Last record of each life that still can.
    pub(super) boots: BTreeMap<u64, u64>,
}

impl NodeTail {
    pub(super) fn last(&self, boot: u64) -> u64 {
        self.boots.get(&boot).copied().unwrap_or_default()
    }

    /// Notes that the records of `boot` have come through `local_seq`; never back.
    pub(super) fn advance(&mut self, boot: u64, local_seq: u64) {
        let last = self.boots.entry(boot).or_default();
        *last = local_seq.max(*last);
    }
}

impl Begun {
    /// Notes root and size, for checkpoints that are signed meanwhile.
    pub(super) fn mark(&mut self) {
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        let mark = (self.frontier.size(), self.frontier.root());
        self.marks.push_back(mark);
    }
}

impl AuditLog {
    pub(super) fn begun(&self) -> Option<&Begun> {
        self.begun.as_ref()
    }

    pub(super) fn begun_mut(&mut self) -> Option<&mut Begun> {
        self.begun.as_mut()
    }

    pub(super) fn start(&mut self, genesis: Genesis) {
        self.begun = Some(Begun {
            chain: genesis.head(),
            ts_ms: 0,
            frontier: Frontier::default(),
            nodes: BTreeMap::new(),
            own_seq: 0,
            ranges: KeyRanges::starting(0, genesis.first_key_id),
            marks: VecDeque::new(),
            signers: None,
            pending: VecDeque::new(),
            good: None,
            genesis,
        });
    }

    pub(super) fn resume(begun: Begun) -> Self {
        Self { begun: Some(begun) }
    }

    /// What the log is from its first record on. `None` before it has begun, as everywhere below.
    #[must_use]
    pub fn genesis(&self) -> Option<&Genesis> {
        self.begun.as_ref().map(|log| &log.genesis)
    }

    /// Number of records: the number of the next one.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.begun.as_ref().map_or(0, |log| log.frontier.size())
    }

    /// Whether nothing has come to `earlier` but records, too few for another checkpoint.
    pub(crate) fn adds_only_records(&self, earlier: &Self) -> bool {
        match (&self.begun, &earlier.begun) {
            (Some(log), Some(earlier)) => {
                let full = |log: &Begun| log.frontier.size() / checkpoint::RECORDS_MAX;
                full(log) == full(earlier)
                    && log.signers == earlier.signers
                    && log.pending == earlier.pending
                    && log.good == earlier.good
                    && log.ranges == earlier.ranges
            }
            (None, None) => true,
            _ => false,
        }
    }

    /// Chain hash after the last record.
    #[must_use]
    pub fn chain(&self) -> Option<Hash> {
        self.begun.as_ref().map(|log| log.chain)
    }

    /// Edge of the tree.
    #[must_use]
    pub fn frontier(&self) -> Option<&Frontier> {
        self.begun.as_ref().map(|log| &log.frontier)
    }

    /// Time of the last record, in milliseconds since 1970.
    #[must_use]
    pub fn ts_ms(&self) -> Option<u64> {
        self.begun.as_ref().map(|log| log.ts_ms)
    }

    /// Which MAC key guards which records.
    #[must_use]
    pub fn key_ranges(&self) -> Option<&KeyRanges> {
        self.begun.as_ref().map(|log| &log.ranges)
    }

    /// Number of the last record of a life of a node that is in the log; 0 for none.
    #[must_use]
    pub fn last_local_seq(&self, node: &str, boot: u64) -> u64 {
        let tail = self.begun.as_ref().and_then(|log| log.nodes.get(node));
        tail.map_or(0, |tail| tail.last(boot))
    }

    /// Who may sign and cosign checkpoints.
    #[must_use]
    pub fn signers(&self) -> Option<&Signers> {
        self.begun.as_ref()?.signers.as_ref()
    }

    /// Checkpoint that the leader may sign now: of the log as it is. `None` when there is nothing behind the last one.
    #[must_use]
    pub fn candidate(&self) -> Option<Checkpoint> {
        let log = self.begun.as_ref()?;
        let done = log.good.as_ref().map_or(0, |(good, _)| good.size);
        let signed = log.pending.back().map_or(done, |(last, _)| last.size);
        (log.frontier.size() > signed).then(|| Checkpoint {
            origin: log.genesis.origin(),
            size: log.frontier.size(),
            root: log.frontier.root(),
        })
    }

    /// Checkpoints that wait for cosignatures, oldest first. Their roots were compared with this log's own when they
    /// came in, so that a voter that finds one here has recomputed it.
    pub fn pending(&self) -> impl Iterator<Item = (&Checkpoint, &Note)> {
        let pending = self.begun.iter().flat_map(|log| &log.pending);
        pending.map(|(checkpoint, note)| (checkpoint, note))
    }

    /// The last checkpoint that a majority has cosigned.
    #[must_use]
    pub fn checkpoint(&self) -> Option<(&Checkpoint, &Note)> {
        let good = self.begun.as_ref()?.good.as_ref()?;
        Some((&good.0, &good.1))
    }
}
