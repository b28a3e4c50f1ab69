//! The configuration in force.

use serde_json::json;

use super::acting::Acting;
use super::answer::{self, Answer};
use super::error::ApiError;
use super::parts::Parts;
use super::status::timestamp;
use crate::config::{ReloadError, ReloadHandle};

/// What is in force, without secrets, and how the last reading of the file went.
pub(super) fn show(parts: &Parts) -> Result<Answer, ApiError> {
    let config = file(parts)?;
    let (current, status) = (config.current(), config.status());
    let last_error = status.last_error.as_ref().map(ToString::to_string);
    Ok(answer::ok(&json!({
        "version": current.version,
        "hash": current.hash,
        "reloaded_at": timestamp(current.loaded_at),
        "last_error": last_error,
        "needs_restart": status.needs_restart,
        "config": current.redacted(),
    })))
}

/// Reads the file now. When the answer is sent, what the file says is in force on this node.
pub(super) async fn reload(acting: &Acting<'_>) -> Result<Answer, ApiError> {
    let config = file(acting.parts)?;
    acting.record("config.reload", "")?;
    let current = config.reload().await.map_err(|error| match error {
        ReloadError::Refused(problems) => ApiError::invalid(
            "config_refused",
            problems.to_string(),
            "correct the file; what was in force stays in force",
        ),
        ReloadError::Stopping => ApiError::unavailable("stopping", "the node is going down", ""),
    })?;
    acting.apply().await?;
    Ok(answer::ok(
        &json!({ "version": current.version, "hash": current.hash }),
    ))
}

fn file(parts: &Parts) -> Result<&ReloadHandle, ApiError> {
    parts.config.as_ref().ok_or_else(|| {
        let message = "the configuration of this node is no file";
        ApiError::conflict(
            "no_file",
            message,
            "start the node with `lockgate serve --config FILE`",
        )
    })
}
