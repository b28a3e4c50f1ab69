//! The audit log: its records as this node has them, how it does, and its keys.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use lockgate_cluster::audit::filter::{Filter, is_time, tail};
use lockgate_cluster::audit::leaf::FIELDS;
use lockgate_cluster::audit::segment::{SegmentError, SegmentReader};
use lockgate_cluster::audit::{AuditCommand, KeyRanges, Stats, time};
use lockgate_proto::id::NodeName;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::acting::Acting;
use super::answer::{self, Answer};
use super::error::ApiError;
use super::parts::Parts;
use super::path;
use crate::config::AuditMode;
use crate::telemetry::AuditGauges;

/// Names in a query for records.
const PARAMETERS: &[&str] = &["from", "before", "wait", "limit", "where", "since", "until"];
/// Most records of one answer: 4 MB of them, as one has 4 KiB at most.
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
    range: Wish,
    limit: usize,
    wait: Duration,
    filter: Filter,
}

/// Where to look.
#[derive(Clone, Copy, Debug)]
enum Wish {
    /// From this record on, for the first ones.
    From(u64),
    /// Before this record, for the last ones.
    Before(u64),
}

/// What was found.
#[derive(Debug)]
struct Found {
    /// Where to go on backwards; `None` when nothing is before.
    previous: Option<u64>,
    /// Where to go on.
    next: u64,
    lines: Vec<String>,
}

/// Records that pass a filter (`?where=`, `?since=`, `?until=`): from the record `?from=` on, for which the answer waits
/// up to `?wait=` seconds, otherwise the last ones, or the last ones before `?before=`; `?limit=` of them.
pub(super) async fn records(parts: &Parts, query: Option<&str>) -> Result<Answer, ApiError> {
    let wanted = Wanted::read(query)?;
    let reader = reader(parts)?;
    if let Wish::From(from) = wanted.range {
        let due = Instant::now() + wanted.wait;
        while reader.size() <= from && Instant::now() < due {
            sleep(LOOK_EVERY).await;
        }
    }
    let found = look(move || wanted.find(&reader)).await?;
    let previous = json!(found.previous);
    // Each line is a JSON object, and goes out as it is stored.
    let (next, lines) = (found.next, found.lines.join(","));
    let body = format!("{{\"previous\":{previous},\"next\":{next},\"records\":[{lines}]}}");
    Ok(answer::plain(StatusCode::OK, "application/json", body))
}

/// How much of the log this node has.
pub(super) async fn stats(parts: &Parts, query: Option<&str>) -> Result<Answer, ApiError> {
    refuse_unknown(query, &[])?;
    let reader = reader(parts)?;
    let stats = look(move || Stats::read(&reader)).await?;
    Ok(answer::ok(&stats))
}

fn reader(parts: &Parts) -> Result<SegmentReader, ApiError> {
    parts.cluster.audit_reader().ok_or_else(|| {
        let message = "this node does not have all records yet";
        ApiError::unavailable("no_records", message, "wait, or ask another node")
    })
}

/// Reads files, where that holds up nobody.
async fn look<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, SegmentError> + Send + 'static,
) -> Result<T, ApiError> {
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|_cut_off| {
        ApiError::unavailable("cut_off", "the node is going down", "ask another node")
    })?;
    read.map_err(|error| {
        let mut message = error.to_string();
        if let Some(cause) = error.source() {
            message = format!("{message}: {cause}");
        }
        let remedy = "see the node's log, and `lockgate audit verify`";
        ApiError::unavailable("unreadable", message, remedy)
    })
}

fn refuse_unknown(query: Option<&str>, known: &[&str]) -> Result<(), ApiError> {
    let Some(name) = path::unknown(query, known) else {
        return Ok(());
    };
    let message = format!("there is no parameter `{name}` here");
    let remedy = match known {
        [] => "leave it out".to_owned(),
        known => format!("use {}", known.join(", ")),
    };
    Err(ApiError::invalid("unknown_parameter", message, remedy))
}

impl Wanted {
    fn read(query: Option<&str>) -> Result<Self, ApiError> {
        refuse_unknown(query, PARAMETERS)?;
        let limit = number(query, "limit")?.and_then(|limit| usize::try_from(limit).ok());
        let wait = Duration::from_secs(number(query, "wait")?.unwrap_or(0));
        let range = match (number(query, "from")?, number(query, "before")?) {
            (Some(from), None) => Wish::From(from),
            (None, before) => Wish::Before(before.unwrap_or(u64::MAX)),
            (Some(_), Some(_)) => {
                let message = "`from` and `before` do not go together";
                let remedy = "leave one of them out";
                return Err(ApiError::invalid("invalid_range", message, remedy));
            }
        };
        Ok(Self {
            range,
            limit: limit.unwrap_or(RECORDS).min(RECORDS_MAX),
            wait: wait.min(WAIT_MAX),
            filter: Filter {
                equal: equal(query)?,
                since: moment(query, "since")?,
                until: moment(query, "until")?,
            },
        })
    }

    /// Reads files.
    fn find(&self, reader: &SegmentReader) -> Result<Found, SegmentError> {
        let (size, first) = (reader.size(), reader.first()?);
        let before = |start: u64| (start > first).then_some(start);
        let from = match self.range {
            Wish::From(from) => from.max(first),
            Wish::Before(end) => {
                let end = end.min(size).max(first);
                let range = end.saturating_sub(SCAN_MAX)..end;
                let tail = tail(reader, &self.filter, self.limit, range)?;
                return Ok(Found {
                    previous: before(tail.start),
                    next: end,
                    lines: tail.lines,
                });
            }
        };
        let mut found = Found {
            previous: before(from),
            next: from,
            lines: Vec::new(),
        };
        let end = size.min(from.saturating_add(SCAN_MAX));
        let mut records = reader.records(from, end)?;
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

fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, ApiError> {
    let number = path::query(query, name).map(|text| text.parse());
    number.transpose().map_err(|_| {
        let message = format!("`{name}` is not a whole number");
        ApiError::invalid("invalid_number", message, "use digits")
    })
}

fn moment(query: Option<&str>, name: &str) -> Result<Option<String>, ApiError> {
    let time = path::query(query, name);
    if time.as_deref().is_none_or(is_time) {
        return Ok(time);
    }
    let message = format!("`{name}` is not a time");
    let remedy = "write it in UTC as 2026-11-21, or 2026-11-21T08:00";
    Err(ApiError::invalid("invalid_filter", message, remedy))
}

/// Fields and what they must be.
fn equal(query: Option<&str>) -> Result<Vec<(String, String)>, ApiError> {
    let pair = |pair: String| {
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
        Ok((field.to_owned(), value.to_owned()))
    };
    path::queries(query, "where").map(pair).collect()
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
    keys(acting.parts).await
}

/// Which keys guard which records, and how it stands with the secret of the operator.
pub(super) async fn keys(parts: &Parts) -> Result<Answer, ApiError> {
    let view = parts.cluster.read().await?;
    let keys = view.audit().key_ranges().map(shown);
    let secret = view.audit_guard().map(|status| {
        let awaited: Vec<&str> = status.awaited.iter().map(NodeName::as_str).collect();
        json!({ "in_force": status.is_in_force, "awaits": awaited })
    });
    Ok(answer::ok(
        &json!({ "keys": keys.unwrap_or_default(), "secret": secret }),
    ))
}

/// The keys by number, never themselves.
fn shown(ranges: &KeyRanges) -> Value {
    let starts = ranges.starts();
    let ends = starts.iter().skip(1).map(|(start, _)| Some(start - 1));
    let keys = starts.iter().zip(ends.chain([None]));
    let keys = keys.map(|((first, id), last)| {
        let role = if last.is_some() { "verifies" } else { "guards" };
        let from = ranges.guard(*id).map_or("keyring", |_| "secret");
        json!({ "id": id, "role": role, "from": from, "first": first, "last": last })
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
