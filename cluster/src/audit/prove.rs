//! Proof that a record is in the log, for somebody who has nothing but the log's public key.
//!
//! ```json
//! {"v":1,"seq":1041,"size":2048,"leaf":"{\"v\":1,…}","path":["BASE64",…],"checkpoint":"lockgate.audit/…"}
//! ```
//!
//! `path` goes from the leaf up (RFC 6962, section 2.1.1); `checkpoint` is a C2SP signed note of `size` records.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::checkpoint::Checkpoint;
use super::proof;
use super::segment::{SegmentError, SegmentReader};
use super::text;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The log could not be read.
    #[error("cannot read the audit log")]
    Segment(#[from] SegmentError),
    /// There is no such record.
    #[error("there is no audit record {seq}")]
    NoRecord {
        /// Which.
        seq: u64,
    },
    /// No checkpoint covers it yet; one comes every second.
    #[error("no checkpoint covers audit record {seq} yet")]
    NoCheckpoint {
        /// Which.
        seq: u64,
    },
}

/// Proves that the record `seq` is in the log, by the first good checkpoint that covers it: one line of JSON.
///
/// # Errors
/// When the record or a checkpoint of it is not there, or files can't be read.
pub fn prove(reader: &SegmentReader, seq: u64) -> Result<String, ProveError> {
    let covering = reader.checkpoints()?.into_iter().find_map(|note| {
        let note = String::from_utf8(note).ok()?;
        let checkpoint = Checkpoint::parse(&note).ok()?;
        (checkpoint.size > seq).then_some((checkpoint.size, note))
    });
    let mut records = reader.records(seq, seq.saturating_add(1))?;
    let record = records.next()?.ok_or(ProveError::NoRecord { seq })?;
    let (size, note) = covering.ok_or(ProveError::NoCheckpoint { seq })?;
    let path = proof::inclusion(&reader.tiles()?, seq, size)?;
    let mut out = b"{\"v\":1".to_vec();
    text::number(&mut out, "seq", seq);
    text::number(&mut out, "size", size);
    text::string(
        &mut out,
        "leaf",
        &String::from_utf8_lossy(record.line),
        usize::MAX,
    );
    text::raw(&mut out, "path", "[");
    for (at, node) in path.unwrap_or_default().iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text::quoted(&mut out, &BASE64.encode(node.0), usize::MAX);
    }
    out.push(b']');
    text::string(&mut out, "checkpoint", &note, usize::MAX);
    out.push(b'}');
    Ok(String::from_utf8_lossy(&out).into_owned())
}
