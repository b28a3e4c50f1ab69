//! Sessions as operators see them: by short name, never by the id that opens them.

use serde_json::json;

use super::acting::Acting;
use super::answer::{self, Answer};
use super::error::ApiError;
use super::parts::Parts;
use crate::session::Summary;

/// All sessions.
pub(super) async fn list(parts: &Parts) -> Result<Answer, ApiError> {
    let sessions = summaries(parts).await?;
    Ok(answer::ok(&json!({ "sessions": sessions })))
}

/// One session.
pub(super) async fn show(parts: &Parts, id: &str) -> Result<Answer, ApiError> {
    let sessions = summaries(parts).await?;
    let found = sessions.iter().find(|session| session.id == id);
    found.map(answer::ok).ok_or_else(|| unknown(id))
}

/// Ends one session; its calls in flight are cancelled.
pub(super) async fn end(acting: &Acting<'_>, id: &str) -> Result<Answer, ApiError> {
    acting.record("sessions.end", id)?;
    if acting.parts.sessions.end_by_name(id).await {
        Ok(answer::done())
    } else {
        Err(unknown(id))
    }
}

/// Reads the state of every session, sleeping ones too, on a thread where it holds up no call.
async fn summaries(parts: &Parts) -> Result<Vec<Summary>, ApiError> {
    let sessions = parts.sessions.clone();
    let read = tokio::task::spawn_blocking(move || sessions.list()).await;
    read.map_err(|_cut_off| ApiError::unavailable("cut_off", "the node is going down", ""))
}

fn unknown(id: &str) -> ApiError {
    let message = format!("there is no session `{id}`");
    ApiError::not_found("unknown_session", message, "see `lockgate sessions list`")
}
