//! How much of the log is in a directory.

use serde::Serialize;

use super::segment::{SegmentError, SegmentReader};
use super::{Checkpoint, Note};

/// What a directory has of a log.
///
/// ```json
/// {"log":"01K…","records":1200,"first":0,"sealed_segments":0,"checkpoints":7,"checkpoint_size":1200,"checkpoint_root":"9f…"}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Name of the log.
    pub log: String,
    /// Number of records, pruned ones too.
    pub records: u64,
    /// First record that was not pruned.
    pub first: u64,
    /// Segments that take no more records, pruned ones too.
    pub sealed_segments: usize,
    /// Good checkpoints.
    pub checkpoints: u64,
    /// Records that the last checkpoint covers; `null` before there is one.
    pub checkpoint_size: Option<u64>,
    /// Root of the tree over those.
    pub checkpoint_root: Option<String>,
}

impl Stats {
    /// Reads what is beside the records: checkpoints and manifests.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn read(reader: &SegmentReader) -> Result<Self, SegmentError> {
        let genesis = reader.genesis()?;
        // Before the number of records: beside a writer the last checkpoint would cover more than that otherwise.
        let (checkpoints, last) = reader.last_checkpoint()?;
        let last = last.and_then(|note| Note::parse(&note).ok());
        let last = last.and_then(|note| Checkpoint::parse(note.text()).ok());
        Ok(Self {
            log: genesis.log,
            records: reader.size(),
            first: reader.first()?,
            sealed_segments: reader.manifests()?.len(),
            checkpoints,
            checkpoint_size: last.as_ref().map(|last| last.size),
            checkpoint_root: last.map(|last| last.root.to_string()),
        })
    }
}
