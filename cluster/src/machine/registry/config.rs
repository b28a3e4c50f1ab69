//! The configuration document and its history.

use std::collections::{BTreeMap, VecDeque};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use crate::command::{ChangeNote, ConfigChange};
use crate::machine::limits::{
    DOCUMENT, NAME_BYTES_MAX, REASON, REASON_BYTES_MAX, WHO, check_bound, check_length,
};
use crate::machine::{Refusal, Stamp};

/// Versions that are kept.
const VERSIONS_KEPT: usize = 100;
/// Longest document, in bytes.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Bytes of all documents together; beyond them the oldest versions go before their hundredth successor.
const HISTORY_BYTES_MAX: usize = 8 << 20;

/// One version of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigVersion {
    /// Counts from 1.
    pub version: u64,
    /// SHA-256 of the document.
    pub digest: [u8; 32],
    /// Who put it in force, and why.
    pub note: ChangeNote,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Index of the entry that did it.
    pub index: u64,
    /// The version whose document this is once more.
    pub rolled_back_to: Option<u64>,
}

/// Versions, oldest first, and their documents by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(in crate::machine) versions: VecDeque<ConfigVersion>,
    pub(in crate::machine) documents: BTreeMap<[u8; 32], Bytes>,
}

impl Config {
    /// Versions that are kept, oldest first. The last one is in force.
    pub(crate) fn versions(&self) -> impl ExactSizeIterator<Item = &ConfigVersion> {
        self.versions.iter()
    }

    /// Version in force; 0 when there is none.
    pub(crate) fn version(&self) -> u64 {
        self.versions.back().map_or(0, |last| last.version)
    }

    /// What is in force.
    pub(crate) fn current(&self) -> Option<(&ConfigVersion, &Bytes)> {
        let last = self.versions.back()?;
        Some((last, self.documents.get(&last.digest)?))
    }

    /// Document of a version that is kept.
    pub(crate) fn document(&self, version: u64) -> Option<&Bytes> {
        let found = self.versions.iter().find(|one| one.version == version)?;
        self.documents.get(&found.digest)
    }

    /// Returns whether there is a new version: the document in force again is none.
    pub(super) fn apply(
        &mut self,
        change: ConfigChange,
        document: Bytes,
        stamp: Stamp,
    ) -> Result<bool, Refusal> {
        self.check_apply(&change, &document)?;
        Ok(self.put(change.note, document, None, stamp))
    }

    /// Whether [`Config::apply`] would take it now.
    pub(crate) fn check_apply(
        &self,
        change: &ConfigChange,
        document: &[u8],
    ) -> Result<(), Refusal> {
        self.check(change)?;
        check_length(DOCUMENT, document, DOCUMENT_BYTES_MAX)
    }

    /// As [`Config::apply`] with the document of the version `to`.
    pub(super) fn roll_back(
        &mut self,
        change: ConfigChange,
        to: u64,
        stamp: Stamp,
    ) -> Result<bool, Refusal> {
        self.check(&change)?;
        let document = self.document(to).cloned();
        let document = document.ok_or(Refusal::UnknownVersion { version: to })?;
        Ok(self.put(change.note, document, Some(to), stamp))
    }

    fn check(&self, change: &ConfigChange) -> Result<(), Refusal> {
        check_bound(WHO, change.note.who.as_bytes(), NAME_BYTES_MAX)?;
        check_bound(REASON, change.note.why.as_bytes(), REASON_BYTES_MAX)?;
        let version = self.version();
        if change.expected_version != version {
            return Err(Refusal::StaleConfig { version });
        }
        Ok(())
    }

    fn put(
        &mut self,
        note: ChangeNote,
        document: Bytes,
        rolled_back_to: Option<u64>,
        stamp: Stamp,
    ) -> bool {
        let digest = sha256(&document);
        if self
            .versions
            .back()
            .is_some_and(|last| last.digest == digest)
        {
            return false;
        }
        self.versions.push_back(ConfigVersion {
            version: self.version() + 1,
            digest,
            note,
            at_ms: stamp.at_ms,
            index: stamp.index,
            rolled_back_to,
        });
        self.documents.entry(digest).or_insert(document);
        while self.versions.len() > VERSIONS_KEPT || self.bytes() > HISTORY_BYTES_MAX {
            self.forget_oldest();
        }
        true
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.versions.pop_front() else {
            return;
        };
        let used = self.versions.iter().any(|one| one.digest == oldest.digest);
        if !used {
            self.documents.remove(&oldest.digest);
        }
    }

    fn bytes(&self) -> usize {
        self.documents.values().map(Bytes::len).sum()
    }
}

/// SHA-256 of `bytes`.
pub(in crate::machine) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
