//! Offline verification: what was changed since it was written, and where first.
//!
//! Each record is checked for its place, its link to the one before, its MAC under the one key that may guard it, its
//! time, and its number in its node's life; the tree at each checkpoint, and the checkpoint's signatures. Without MAC keys
//! the checkpoints decide, without public keys the MACs; without both nothing can be said, since anybody can make a chain.

mod macs;
mod origins;
mod report;
mod run;

use std::collections::VecDeque;
use std::path::PathBuf;

use self::macs::Macs;
use self::origins::Origins;
pub use self::report::{Finding, Reason, Report, Verdict};
pub use self::run::{verify_export, verify_segments};
use super::chain::{self, Genesis};
use super::checkpoint::{Checkpoint, Signers};
use super::guard::Guards;
use super::hash::{Hash, leaf_hash};
use super::leaf::Head;
use super::mac::MacKeys;
use super::note::{Note, NoteError};
use super::segment::Stored;
use super::time::{self, STAMP_BYTES};
use super::tree::Frontier;

/// Longest time over which records at the end of a log in use may wait for their checkpoint: many times what an election
/// takes.
const CHECKPOINT_WAIT_MS_MAX: u64 = 60_000;

/// What the verifier believes without proof.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Which log it is, and from where it comes.
    pub genesis: Genesis,
    /// MAC keys, retired ones too. May be empty.
    pub keys: MacKeys,
    /// Secrets of the operator, from which MAC keys follow as the log says. What is guarded by one that is not here counts
    /// as unchecked. `None`: checkpoints are enough.
    pub guards: Option<Guards>,
    /// Who signs and cosigned checkpoints: now, and in earlier times of the log. May be empty.
    pub signers: Vec<Signers>,
}

/// Where verification starts: the beginning of the log, or the first record that was not pruned.
#[derive(Clone, Debug)]
pub struct Start {
    /// Chain hash before the first record.
    pub chain: Hash,
    /// Edge of the tree of what comes before.
    pub frontier: Frontier,
}

impl Start {
    /// The beginning of the log.
    #[must_use]
    pub fn of(genesis: &Genesis) -> Self {
        Self {
            chain: genesis.head(),
            frontier: Frontier::default(),
        }
    }
}

/// Takes records in order and remembers what the next one must fit.
#[derive(Debug)]
pub struct Verifier<'a> {
    trust: &'a Trust,
    first: u64,
    chain: Hash,
    frontier: Frontier,
    macs: Macs<'a>,
    last_ts: [u8; STAMP_BYTES],
    origins: Origins,
    /// A record whose link to the one before is broken, where nothing told which of the two was changed. If the next
    /// record fits it, it was the one before.
    suspect: Option<u64>,
    /// A checkpoint has another root. The next record tells whether the one before it was changed, or more.
    wrong_root: Option<Finding>,
    /// Whether the chain so far has a witness: the last MAC, a checkpoint, or the start.
    is_vouched: bool,
    /// Checkpoints ahead, smallest first.
    checkpoints: VecDeque<Checkpoint>,
    n_checkpoints: u64,
    /// The first checkpoint that is none. The records are held to the others before it is told.
    fault: Option<Finding>,
    /// The file of checkpoints, where it is not there.
    missing: Option<PathBuf>,
    /// Records before this are in a good checkpoint.
    attested: u64,
    /// When the first record was written that is in none.
    unattested_since: Option<[u8; STAMP_BYTES]>,
    /// What could not be checked.
    unchecked: Vec<String>,
}

impl<'a> Verifier<'a> {
    /// Starts.
    #[must_use]
    pub fn new(trust: &'a Trust, start: Start) -> Self {
        let first = start.frontier.size();
        Self {
            trust,
            first,
            chain: start.chain,
            frontier: start.frontier,
            macs: Macs::starting(first, trust),
            last_ts: [0; STAMP_BYTES],
            origins: Origins::starting(first == 0),
            suspect: None,
            wrong_root: None,
            is_vouched: true,
            checkpoints: VecDeque::new(),
            n_checkpoints: 0,
            fault: None,
            missing: None,
            attested: first,
            unattested_since: None,
            unchecked: Vec::new(),
        }
    }

    /// Takes the checkpoints that are known, before the first record. One that is malformed or has a wrong signature is
    /// a fault, as there is nothing in them that a disk or a person may change; the others count without it.
    pub fn add_checkpoints(&mut self, notes: &[Vec<u8>]) {
        for note in notes {
            if let Err(fault) = self.add_checkpoint(note) {
                self.add_fault(fault);
            }
        }
        let all = self.checkpoints.make_contiguous();
        all.sort_by_key(|checkpoint| checkpoint.size);
        self.check_checkpoints(self.next());
    }

    /// Takes a fault that is in no record. It is told when the records have none.
    pub fn add_fault(&mut self, fault: Finding) {
        if self
            .fault
            .as_ref()
            .is_none_or(|first| fault.seq < first.seq)
        {
            self.fault = Some(fault);
        }
    }

    /// Takes note that the file of checkpoints is not there, which whoever writes a log makes first.
    pub fn miss_checkpoints(&mut self, path: PathBuf) {
        self.missing = Some(path);
    }

    /// Number of the record that is next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.frontier.size()
    }

    fn add_checkpoint(&mut self, note: &[u8]) -> Result<(), Finding> {
        let wrong = |size: u64, error: NoteError| Finding {
            seq: size.saturating_sub(1),
            reason: Reason::Checkpoint { size, error },
        };
        let note = Note::parse(note).map_err(|error| wrong(0, error))?;
        let stated = Checkpoint::parse(note.text()).map_err(|error| wrong(0, error))?;
        if stated.size < self.first {
            return Ok(());
        }
        for signers in &self.trust.signers {
            match signers.open(&self.trust.genesis.origin(), &note) {
                Ok((checkpoint, cosigned)) if cosigned >= signers.majority() => {
                    self.checkpoints.push_back(checkpoint);
                    return Ok(());
                }
                Ok(_) | Err(NoteError::Unsigned) => {}
                Err(error) => return Err(wrong(stated.size, error)),
            }
        }
        if !self.trust.signers.is_empty() && self.other_log().is_none() {
            let size = stated.size;
            let what = format!("checkpoint of {size} records: no majority of known keys signed it");
            self.unchecked.push(what);
        }
        Ok(())
    }

    /// Checks the next record.
    ///
    /// # Errors
    /// The first thing that is wrong. The verifier is at its end then.
    pub fn push(&mut self, record: &Stored<'_>) -> Result<(), Finding> {
        let seq = self.next();
        let bad = |reason| Finding { seq, reason };
        let head = Head::read(record.line).ok_or_else(|| bad(Reason::NotALeaf));
        if let Some(finding) = self.wrong_root.take() {
            let breaks = head.is_ok_and(|head| head.prev != self.chain);
            let before = Finding {
                seq: seq.saturating_sub(1),
                reason: Reason::Link,
            };
            return Err(if breaks { before } else { finding });
        }
        let head = head?;
        if head.seq != seq {
            return Err(self.blame(bad(Reason::Place { found: head.seq })));
        }
        if head.log != self.trust.genesis.log {
            return Err(self.blame(bad(Reason::OtherLog)));
        }
        let leaf = leaf_hash(record.line);
        let intact = head.prev == self.chain;
        if let Some(suspect) = self.suspect {
            let seq = if intact { suspect - 1 } else { suspect };
            let reason = Reason::Link;
            return Err(Finding { seq, reason });
        }
        let chain = chain::link(&head.prev, seq, &leaf);
        let has_key = match self.macs.has_key(record, seq, &chain) {
            // What says which key comes next is the record before, and that is not the one that this one follows.
            Err(_) if !intact && !self.is_vouched => {
                let (seq, reason) = (seq - 1, Reason::Link);
                return Err(Finding { seq, reason });
            }
            has_key => has_key?,
        };
        if !intact && self.is_vouched {
            return Err(bad(Reason::Link));
        }
        if !intact {
            self.suspect = Some(seq);
        }
        if intact {
            self.macs.check(record, seq, &chain)?;
        }
        self.is_vouched = intact && has_key;
        self.check_meaning(&head, record.line)
            .map_err(|reason| self.blame(bad(reason)))?;
        self.chain = chain;
        self.frontier.append(leaf);
        if self.suspect.is_none() {
            self.check_checkpoints(seq + 1);
        }
        Ok(())
    }

    /// Checks what the record says of time, number and key.
    fn check_meaning(&mut self, head: &Head<'_>, line: &[u8]) -> Result<(), Reason> {
        if head.ts.as_bytes() < &self.last_ts[..] {
            return Err(Reason::Time);
        }
        self.last_ts.copy_from_slice(head.ts.as_bytes());
        self.unattested_since.get_or_insert(self.last_ts);
        match self.origins.accept(head, line)? {
            Some(rotation) => self.macs.rotate(rotation, head.seq),
            None => Ok(()),
        }
    }

    /// With an unresolved suspicion, what is found behind it is a consequence, not the cause.
    fn blame(&self, finding: Finding) -> Finding {
        match self.suspect {
            Some(suspect) => Finding {
                seq: suspect - 1,
                reason: Reason::Link,
            },
            None => finding,
        }
    }

    /// Compares the tree with the checkpoints of `size` records.
    fn check_checkpoints(&mut self, size: u64) {
        while let Some(checkpoint) = self.checkpoints.front().filter(|next| next.size <= size) {
            if checkpoint.root != self.frontier.root() {
                self.wrong_root = Some(Finding {
                    seq: self.attested,
                    reason: Reason::Root { size },
                });
                return;
            }
            self.checkpoints.pop_front();
            self.n_checkpoints += 1;
            self.attested = size;
            self.unattested_since = None;
            self.is_vouched = true;
        }
    }

    /// Ends. `expected` is the number of records that should be there, if somebody knows.
    #[must_use]
    pub fn finish(mut self, expected: Option<u64>) -> Report {
        let end = self.next();
        let named = self.checkpoints.back().map_or(0, |last| last.size);
        let expected = expected.unwrap_or(0).max(named);
        let missing = (expected > end).then_some(Finding {
            seq: end,
            reason: Reason::Missing { end: expected },
        });
        let suspect = self.suspect.map(|suspect| Finding {
            seq: suspect - 1,
            reason: Reason::Link,
        });
        let record = suspect.or_else(|| self.wrong_root.take()).or(missing);
        let verdict = match record.or_else(|| self.fault.take()) {
            Some(finding) => Verdict::Bad(finding),
            None => self.judge(end),
        };
        Report {
            records: self.first..end,
            verdict,
            chain: self.chain,
            root: self.frontier.root(),
            n_checkpoints: self.n_checkpoints,
            attested: self.attested,
            n_macs: self.macs.n_right(),
            lacks_secret: self.macs.lacks_secret(end),
        }
    }

    /// Ends with what was found.
    #[must_use]
    pub fn fail(self, finding: Finding) -> Report {
        let end = self.next();
        Report {
            verdict: Verdict::Bad(finding),
            ..self.finish(None)
        }
        .through(end)
    }

    /// Good when each record has a witness: a checkpoint or a MAC, of its own or behind it.
    fn judge(&mut self, end: u64) -> Verdict {
        let has_witness = self.attested == end || self.macs.vouches();
        match self.macs.unchecked(end) {
            None if has_witness => return Verdict::Good,
            unchecked => self.unchecked.extend(unchecked),
        }
        if !has_witness {
            self.unchecked.push(self.unvouched(end));
        }
        Verdict::Unchecked(std::mem::take(&mut self.unchecked))
    }

    /// Whose keys were given, if they are all of other logs.
    fn other_log(&self) -> Option<&str> {
        let origin = self.trust.genesis.origin();
        let mut names = self.trust.signers.iter().map(|one| one.log().name());
        let first = names.next()?;
        let is_other = first != origin && names.all(|name| name != origin);
        is_other.then_some(first)
    }

    /// Which records nothing that was given vouches for, and why that need be no fault.
    fn unvouched(&self, end: u64) -> String {
        let records = match self.attested {
            from if from + 1 == end => format!("record {from} is"),
            from => format!("records {from} to {} are", end - 1),
        };
        if self.trust.signers.is_empty() {
            return format!(
                "{records} in no checkpoint that could be verified: no public keys were given"
            );
        }
        if let Some(other) = self.other_log() {
            let origin = self.trust.genesis.origin();
            return format!(
                "{records} in no checkpoint that could be verified: the public keys that were given are of the log \
                 `{other}`, and this is `{origin}`; `lockgate audit signers` prints its own"
            );
        }
        if let Some(path) = &self.missing {
            let path = path.display();
            return format!(
                "{records} in no checkpoint: `{path}` is not there; fetch it from another node or restore it"
            );
        }
        let time = |stamp: &[u8]| time::parse(std::str::from_utf8(stamp).ok()?);
        let since = self.unattested_since.as_ref().and_then(|since| time(since));
        let waited = since.zip(time(&self.last_ts));
        if let Some(waited_ms) = waited.map(|(since, last)| last.saturating_sub(since))
            && waited_ms > CHECKPOINT_WAIT_MS_MAX
        {
            return format!(
                "{records} in no checkpoint that was verified, though they were written over {} s and one is made every \
                 second: where other nodes have them, checkpoints are missing here",
                waited_ms / 1000
            );
        }
        format!(
            "{records} in no checkpoint that was verified yet; where that is the end of a log in use it is no fault: \
             the next checkpoint covers it, about a second later"
        )
    }
}
