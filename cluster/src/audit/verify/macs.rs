//! MACs: which key may guard which records, and which of the keys the verifier has.

use super::Trust;
use super::origins::Rotation;
use super::report::{Finding, Reason};
use crate::audit::hash::Hash;
use crate::audit::mac::{KeyRanges, MacKeys};
use crate::audit::segment::Stored;

/// Holds records to the keys that may guard them.
#[derive(Debug)]
pub(super) struct Macs<'a> {
    trust: &'a Trust,
    /// Those that were given, and those that follow from secrets, as the log names them.
    keys: MacKeys,
    ranges: Option<KeyRanges>,
    n_right: u64,
    /// Whether the MAC of the last record is right. Then it vouches for the chain up to there.
    is_last_right: bool,
    /// First record of a key that follows from a secret which was not given.
    foreign: Option<u64>,
    /// The record that comes first, where nothing says of which key it is: neither a record before it, which is not there
    /// any more, nor a key or a secret that was given.
    untold: Option<u64>,
    /// Whether the key that guards what comes follows from the first secret that was given.
    is_in_use: bool,
    /// Whether a record names a secret that was given.
    is_named: bool,
    /// Whether a right MAC is of the first secret that was given. That a record names it says nothing: whoever has the
    /// log knows its mark.
    is_guarded: bool,
}

impl<'a> Macs<'a> {
    /// `first`: where the records start.
    pub(super) fn starting(first: u64, trust: &'a Trust) -> Self {
        Self {
            trust,
            keys: trust.keys.clone(),
            ranges: (first == 0).then(|| KeyRanges::starting(0, trust.genesis.first_key_id)),
            n_right: 0,
            is_last_right: false,
            foreign: None,
            untold: None,
            is_in_use: false,
            is_named: false,
            is_guarded: false,
        }
    }

    /// Whether the key of the record is there. `chain`: the chain hash after the record.
    ///
    /// # Errors
    /// When it is not the one that may guard the record.
    pub(super) fn has_key(
        &mut self,
        record: &Stored<'_>,
        seq: u64,
        chain: &Hash,
    ) -> Result<bool, Finding> {
        let found = record.key_id;
        if self.ranges.is_none() {
            self.begin_at(record, seq, chain);
        }
        let ranges = &mut self.ranges;
        let ranges = ranges.get_or_insert_with(|| KeyRanges::starting(seq, found));
        let allowed = ranges.at(seq);
        if found != allowed {
            let reason = Reason::Key { found, allowed };
            return Err(Finding { seq, reason });
        }
        Ok(self.keys.get(found).is_some())
    }

    /// Takes the first record of a log whose beginning is not there: its MAC tells which of the secrets that were given is
    /// its key's, if one is.
    fn begin_at(&mut self, record: &Stored<'_>, seq: u64, chain: &Hash) {
        let Some(guards) = &self.trust.guards else {
            return;
        };
        let log = &self.trust.genesis.log;
        let keys = guards.iter().map(|guard| guard.mac_key(log, record.key_id));
        let found = keys
            .enumerate()
            .find(|(_, key)| key.verify(seq, chain, &record.mac));
        match found {
            Some((at, key)) => {
                self.keys.add(key);
                self.is_in_use = at == 0;
                self.is_named = true;
            }
            None if self.keys.get(record.key_id).is_some() => {}
            None => self.untold = Some(seq),
        }
    }

    /// Checks the MAC of a record that follows the one before, as far as its key is there.
    pub(super) fn check(
        &mut self,
        record: &Stored<'_>,
        seq: u64,
        chain: &Hash,
    ) -> Result<(), Finding> {
        let key = self.keys.get(record.key_id);
        let is_right = key.map(|key| key.verify(seq, chain, &record.mac));
        if is_right == Some(false) {
            let reason = Reason::Mac;
            return Err(Finding { seq, reason });
        }
        self.is_last_right = is_right.is_some();
        self.n_right += u64::from(self.is_last_right);
        self.is_guarded |= self.is_last_right && self.is_in_use;
        Ok(())
    }

    /// Takes the rotation in the record `seq`.
    pub(super) fn rotate(&mut self, rotation: Rotation, seq: u64) -> Result<(), Reason> {
        let Rotation { old, new, guard } = rotation;
        let ranges = &mut self.ranges;
        let ranges = ranges.get_or_insert_with(|| KeyRanges::starting(seq, old));
        if ranges.current() != old || !ranges.rotate(seq + 1, new, guard) {
            return Err(Reason::Rotation { old, new });
        }
        self.is_in_use = false;
        let Some((mark, guards)) = guard.zip(self.trust.guards.as_ref()) else {
            return Ok(());
        };
        let log = &self.trust.genesis.log;
        match guards.find(log, &mark) {
            Some(guard) => {
                self.keys.add(guard.mac_key(log, new));
                self.is_in_use = guards.marks(log).first() == Some(&mark);
                self.is_named = true;
            }
            None => self.foreign = self.foreign.or(Some(seq + 1)),
        }
        Ok(())
    }

    /// How many are right.
    pub(super) fn n_right(&self) -> u64 {
        self.n_right
    }

    /// Whether the last one vouches for the chain of records before `end`.
    pub(super) fn vouches(&self) -> bool {
        self.is_last_right
    }

    /// Whether a secret guards records before `end` that was not given, or may do so.
    pub(super) fn lacks_secret(&self, end: u64) -> bool {
        let may_lack = self.untold.filter(|_| !self.is_guarded);
        self.foreign.or(may_lack).is_some_and(|first| first < end)
    }

    /// What of the secrets that were given, or were not, leaves the records before `end` unchecked.
    pub(super) fn unchecked(&self, end: u64) -> Option<String> {
        let guards = self.trust.guards.as_ref()?;
        if let Some(first) = self.foreign.filter(|first| *first < end) {
            return Some(format!(
                "records from {first} on are guarded by a secret that was not given"
            ));
        }
        if self.is_guarded {
            return None;
        }
        if let Some(first) = self.untold {
            return Some(format!(
                "it cannot be told whether a secret that was not given guards records from {first} on: what says so was \
                 written before"
            ));
        }
        if guards.is_empty() {
            return None;
        }
        Some(match self.is_named {
            // Whoever has a former one could cut the log off before the next one came, and go on from there.
            true => "the first secret that was given guards no record yet, and a former one is no witness to the end"
                .to_owned(),
            false => "no record is guarded by the secret that was given".to_owned(),
        })
    }
}
