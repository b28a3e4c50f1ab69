//! Snapshots of the replicated state, for operators to keep elsewhere.

use http::StatusCode;
use lockgate_cluster::SaveError;
use serde_json::json;

use super::acting::Acting;
use super::answer::{self, Answer};
use super::error::ApiError;
use super::parts::Parts;

/// Most bytes of a snapshot in one answer.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// The snapshot that the node has by itself, and how far the log is beyond it.
pub(super) fn status(parts: &Parts) -> Answer {
    let status = parts.cluster.raft_status();
    answer::ok(&json!({
        "node": parts.cluster.view().node(),
        "index": status.snapshot,
        "bytes": status.snapshot_bytes,
        "apply_index": status.applied,
        "purged_index": status.purged,
    }))
}

/// Writes a snapshot of the newest state.
pub(super) async fn save(acting: &Acting<'_>) -> Result<Answer, ApiError> {
    acting.record("snapshot.save", "")?;
    let saved = acting.parts.cluster.save_snapshot().await;
    let saved = saved.map_err(|error| not_saved(&error))?;
    let shown = json!({ "id": saved.id, "index": saved.index, "bytes": saved.bytes });
    Ok(answer::json(StatusCode::CREATED, &shown))
}

/// A piece of a snapshot: as much of it from `offset` on as fits one answer, nothing at its end.
pub(super) async fn piece(
    parts: &Parts,
    id: &str,
    query: Option<&str>,
) -> Result<Answer, ApiError> {
    let offset = match query.map(|query| query.strip_prefix("offset=").unwrap_or_default()) {
        None => Ok(0),
        Some(offset) => offset.parse::<u64>(),
    };
    let offset = offset.map_err(|_| {
        let message = "the query is not `offset=` and a number";
        ApiError::invalid("invalid_offset", message, "leave it out to begin")
    })?;
    let (cluster, id) = (parts.cluster.clone(), id.to_owned());
    let read = move || cluster.read_snapshot(&id, offset, PIECE_BYTES_MAX);
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|_cut_off| {
        ApiError::unavailable("cut_off", "the node is going down", "ask another node")
    })?;
    let piece = read.map_err(|error| not_saved(&error))?;
    Ok(answer::plain(
        StatusCode::OK,
        "application/octet-stream",
        piece,
    ))
}

fn not_saved(error: &SaveError) -> ApiError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let message = format!("{error}{}", cause.unwrap_or_default());
    match error {
        SaveError::Replaced { .. } => {
            ApiError::not_found("unknown_snapshot", message, "save another one")
        }
        _ => ApiError::unavailable("not_saved", message, "see `lockgate cluster health`"),
    }
}
