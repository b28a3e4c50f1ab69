//! The audit log: its records as this node has them, how it does, and its keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use lockgate_cluster::audit::filter::{Filter, tail};
use lockgate_cluster::audit::leaf::{FIELDS, Head};
use lockgate_cluster::audit::segment::{SegmentError, SegmentReader};
use lockgate_cluster::audit::{AuditCommand, KeyRanges, time};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::answer::{self, Answer};
use super::error::ApiError;
use super::parts::Parts;
use super::path;
use super::service::Acting;
use crate::config::AuditMode;
use crate::telemetry::AuditGauges;

/// Most records of one answer.
const RECORDS_MAX: usize = 1000;
/// Records of one answer when it is not said how many.
const RECORDS: usize = 100;
/// Records looked through for one answer.
const SCAN_MAX: u64 = 50_000;
/// An answer waits so long for records at most. Shorter than a node that ends waits for its answers.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// How often it looks for new ones meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Debug)]
struct Wanted {
    /// From this record on; the last ones, if it is not there.
    from: Option<u64>,
    limit: usize,
    wait: Duration,
    filter: Filter,
}

/// What was found.
#[derive(Debug)]
struct Found {
    /// Where to go on.
    next: u64,
    lines: Vec<String>,
}

/// Records that pass a filter (`?where=`, `?since=`, `?until=`): from the record `?from=` on, for which the answer waits
/// up to `?wait=` seconds, otherwise the last ones; `?limit=` of them.
pub(super) async fn records(parts: &Parts, query: Option<&str>) -> Result<Answer, ApiError> {
    let wanted = Wanted::read(query)?;
    let reader = parts.cluster.audit_reader().ok_or_else(|| {
        let message = "this node does not have all records yet";
        ApiError::unavailable("no_records", message, "wait, or ask another node")
    })?;
    if let Some(from) = wanted.from {
        let due = Instant::now() + wanted.wait;
        while reader.size() <= from && Instant::now() < due {
            sleep(LOOK_EVERY).await;
        }
    }
    let found = tokio::task::spawn_blocking(move || wanted.find(&reader)).await;
    let found = found.map_err(|_cut_off| {
        ApiError::unavailable("cut_off", "the node is going down", "ask another node")
    })?;
    let found = found.map_err(|error| {
        let remedy = "see the node's log, and `lockgate audit verify`";
        ApiError::unavailable("unreadable", error.to_string(), remedy)
    })?;
    // Each line is a JSON object, and goes out as it is stored.
    let (next, lines) = (found.next, found.lines.join(","));
    let body = format!("{{\"next\":{next},\"records\":[{lines}]}}");
    Ok(answer::plain(StatusCode::OK, "application/json", body))
}

impl Wanted {
    fn read(query: Option<&str>) -> Result<Self, ApiError> {
        let number = |name: &str| match path::query(query, name).map(|text| text.parse::<u64>()) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => {
                let message = format!("`{name}` is not a whole number");
                Err(ApiError::invalid("invalid_number", message, "use digits"))
            }
        };
        let mut equal = Vec::new();
        for pair in path::queries(query, "where") {
            let Some((field, value)) = pair.split_once('=') else {
                let message = format!("`{pair}` is no field and value");
                let remedy = "write field=value, for example kind=call";
                return Err(ApiError::invalid("invalid_filter", message, remedy));
            };
            if !FIELDS.contains(&field) {
                let message = format!("records have no field `{field}`");
                let remedy = format!("use one of {}", FIELDS.join(", "));
                return Err(ApiError::invalid("invalid_filter", message, remedy));
            }
            equal.push((field.to_owned(), value.to_owned()));
        }
        let limit = number("limit")?.and_then(|limit| usize::try_from(limit).ok());
        let wait = Duration::from_secs(number("wait")?.unwrap_or(0));
        Ok(Self {
            from: number("from")?,
            limit: limit.unwrap_or(RECORDS).min(RECORDS_MAX),
            wait: wait.min(WAIT_MAX),
            filter: Filter {
                equal,
                since: path::query(query, "since"),
                until: path::query(query, "until"),
            },
        })
    }

    /// Reads files.
    fn find(&self, reader: &SegmentReader) -> Result<Found, SegmentError> {
        let size = reader.size();
        let Some(from) = self.from else {
            let from = size.saturating_sub(SCAN_MAX);
            let lines = tail(reader, &self.filter, self.limit, from)?;
            let last = lines.last().and_then(|line| Head::read(line.as_bytes()));
            // More may have come since the size was looked at.
            let next = last.map_or(size, |last| size.max(last.seq + 1));
            return Ok(Found { next, lines });
        };
        let mut found = Found {
            next: from.max(reader.first()?),
            lines: Vec::new(),
        };
        let end = size.min(found.next.saturating_add(SCAN_MAX));
        let mut records = reader.records(found.next, end)?;
        while found.lines.len() < self.limit
            && let Some(record) = records.next()?
        {
            found.next = record.seq + 1;
            let line = String::from_utf8_lossy(record.line);
            if self.filter.matches(&line) {
                found.lines.push(line.into_owned());
            }
        }
        Ok(found)
    }
}

/// Has another MAC key guard the records behind the one that says so.
pub(super) async fn rotate_key(acting: &Acting<'_>) -> Result<Answer, ApiError> {
    let cluster = &acting.parts.cluster;
    let view = cluster.read().await?;
    let current = view.audit().key_ranges().map(KeyRanges::current);
    let next = current.and_then(|current| current.checked_add(1));
    let key_id = next.ok_or_else(|| {
        let message = "the audit log has not begun, or has no key left";
        ApiError::conflict("no_audit_key", message, "see `lockgate cluster health`")
    })?;
    acting.record("audit.rotate_key", &key_id.to_string())?;
    let rotation = AuditCommand::RotateKey { key_id };
    // Of two rotations at once one is refused: each names the key that it knows to be next.
    cluster.propose(rotation.into()).await?;
    let view = cluster.read().await?;
    let starts = view.audit().key_ranges().map(KeyRanges::starts);
    Ok(answer::ok(
        &json!({ "keys": shown(starts.unwrap_or_default()) }),
    ))
}

/// The keys by number, never themselves.
fn shown(starts: &[(u64, u32)]) -> Value {
    let ends = starts.iter().skip(1).map(|(start, _)| Some(start - 1));
    let keys = starts.iter().zip(ends.chain([None]));
    let keys = keys.map(|((first, id), last)| {
        let role = if last.is_some() { "verifies" } else { "guards" };
        json!({ "id": id, "role": role, "first": first, "last": last })
    });
    keys.collect()
}

/// How the log does, for whoever measures it; [`files`] adds what is on the disk.
pub(super) fn gauges(parts: &Parts) -> AuditGauges {
    let (view, audit) = (parts.cluster.view(), &parts.pipeline.audit);
    let (log, now) = (view.audit(), (parts.clock)());
    let signed = log.checkpoint().map_or(0, |(last, _)| last.size);
    let mut gauges = AuditGauges {
        records: log.size(),
        unsigned: log.size().saturating_sub(signed),
        is_healthy: audit.is_healthy(),
        ..AuditGauges::default()
    };
    if gauges.unsigned > 0
        && let (Some((_, note)), Some(signers)) = (log.checkpoint(), log.signers())
        && let Some(at) = signers.cosigned_at(note)
    {
        gauges.checkpoint_age_ms = age_ms(now, at.saturating_mul(1000));
    }
    if let Some(ledger) = audit.ledger() {
        let status = ledger.status();
        gauges.queue = status.last.saturating_sub(status.committed);
        gauges.queue_bytes = status.waiting_bytes as u64;
        gauges.open_calls = status.open as u64;
        gauges.lost = status.lost;
        let oldest = ledger.oldest_at();
        let oldest = oldest.as_deref().and_then(time::parse);
        gauges.lag_ms = oldest.map_or(0, |at| age_ms(now, at));
        gauges.is_degraded = ledger.mode() == AuditMode::Memory;
    }
    gauges
}

/// Adds what `reader` sees on the disk. Lists a directory.
pub(super) fn files(gauges: &mut AuditGauges, reader: Option<&SegmentReader>) {
    let usage = reader.and_then(|reader| reader.usage().ok());
    if let Some((segments, bytes)) = usage {
        gauges.segments = segments;
        gauges.segment_bytes = bytes;
        gauges.is_complete = true;
    }
}

fn age_ms(now: SystemTime, at_ms: u64) -> u64 {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    now.saturating_sub(at_ms)
}
