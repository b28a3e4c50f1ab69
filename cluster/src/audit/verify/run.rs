//! Verification of segments and of exports.

use std::io::BufRead;

use super::report::{Finding, Reason, Report};
use super::{Start, Trust, Verifier};
use crate::audit::export::{Export, ExportError, Line};
use crate::audit::segment::{Manifest, SegmentError, SegmentReader};

/// Records from one call of the progress function to the next.
const RECORDS_PER_STEP: u64 = 16 << 10;

/// Verifies what a directory of segments holds. `expected` is the number of records that should be there, if somebody
/// knows. `progress` gets how many records were verified, and how many there are.
///
/// # Errors
/// When files can't be read, which says nothing of what is in them. Damage is a finding, not an error.
pub fn verify_segments(
    reader: &SegmentReader,
    trust: &Trust,
    expected: Option<u64>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, SegmentError> {
    let first = reader.first()?;
    let start = if first == 0 {
        Start::of(&trust.genesis)
    } else {
        Start {
            chain: reader.chain_before(first)?,
            frontier: reader.tiles()?.frontier(first)?,
        }
    };
    let mut verifier = Verifier::new(trust, start);
    let path = reader.checkpoints_file();
    if !path.exists() {
        verifier.miss_checkpoints(path);
    }
    verifier.add_checkpoints(&reader.checkpoints()?);
    if let Some((seq, error)) = reader.damaged_checkpoint()? {
        let what = error.to_string();
        verifier.add_fault(Finding {
            seq,
            reason: Reason::LostCheckpoint { what },
        });
    }
    let size = reader.size();
    let sealed = reader.manifests()?.last().map_or(0, Manifest::end);
    let mut records = reader.records(first, size)?;
    loop {
        let found = match records.next() {
            Ok(Some(record)) => verifier.push(&record),
            Ok(None) => break,
            Err(error) => Err(damaged(verifier.next(), error)?),
        };
        if let Err(finding) = found {
            return Ok(verifier.fail(finding));
        }
        if verifier.next().is_multiple_of(RECORDS_PER_STEP) {
            progress(verifier.next() - first, size - first);
        }
    }
    progress(verifier.next() - first, size.max(first) - first);
    if let Some(error @ SegmentError::Damaged { .. }) = reader.torn() {
        let finding = damaged(verifier.next(), error)?;
        return Ok(verifier.fail(finding));
    }
    Ok(verifier.finish(Some(expected.unwrap_or(0).max(sealed))))
}

/// Verifies an export. `progress` gets how many records were verified, and how many the export says that it has.
///
/// # Errors
/// When it can't be read, or is none that can be verified.
pub fn verify_export(
    export: impl BufRead,
    trust: &Trust,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, ExportError> {
    let mut export = Export::open(export)?;
    let header = export.header().clone();
    let start = if header.start.frontier.size() == 0 {
        Start::of(&trust.genesis)
    } else {
        header.start
    };
    let first = start.frontier.size();
    let mut checkpoints = Vec::new();
    let mut line = export.next_line();
    while let Ok(Some(Line::Checkpoint(note))) = line {
        checkpoints.push(note);
        line = export.next_line();
    }
    let mut verifier = Verifier::new(trust, start);
    verifier.add_checkpoints(&checkpoints);
    loop {
        let record = match line {
            Ok(Some(Line::Record(record))) => record,
            Ok(_end) => break,
            Err(ExportError::Line { .. }) => {
                let seq = verifier.next();
                let reason = Reason::NotALeaf;
                return Ok(verifier.fail(Finding { seq, reason }));
            }
            Err(error) => return Err(error),
        };
        if let Err(finding) = verifier.push(&record.stored(verifier.next())) {
            return Ok(verifier.fail(finding));
        }
        if verifier.next().is_multiple_of(RECORDS_PER_STEP) {
            progress(verifier.next() - first, header.end - first);
        }
        line = export.next_line();
    }
    progress(verifier.next() - first, header.end.max(first) - first);
    Ok(verifier.finish(Some(header.end)))
}

/// Damage is what verification looks for; that a file can't be opened is not.
fn damaged(seq: u64, error: SegmentError) -> Result<Finding, SegmentError> {
    if !matches!(error, SegmentError::Damaged { .. }) {
        return Err(error);
    }
    let what = error.to_string();
    let reason = Reason::Damaged { what };
    Ok(Finding { seq, reason })
}
