//! The keys that all nodes share.

use std::time::UNIX_EPOCH;

use lockgate_cluster::{Keyring, RotateError};
use serde_json::{Value, json};

use super::acting::Acting;
use super::answer::{self, Answer};
use super::error::ApiError;
use super::status::timestamp_ms;

/// Has another key seal ids, cursors and states from now on.
pub(super) async fn rotate(acting: &Acting<'_>) -> Result<Answer, ApiError> {
    let parts = acting.parts;
    acting.record("keyring.rotate", "")?;
    let now = (parts.clock)().duration_since(UNIX_EPOCH);
    let now_ms = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    let rotated = parts.cluster.rotate_keyring(now_ms, parts.sealed_age_max);
    match rotated.await {
        Ok(keyring) => Ok(answer::ok(&shown(&keyring))),
        Err(RotateError::Propose(error)) => Err(error.into()),
        Err(RotateError::Keyring(error)) => Err(ApiError::conflict(
            "not_rotated",
            error.to_string(),
            "wait until what older keys have sealed has ended",
        )),
        Err(error) => Err(ApiError::unavailable(
            "not_rotated",
            error.to_string(),
            "see `lockgate cluster health`",
        )),
    }
}

/// The keys by number, never themselves.
fn shown(keyring: &Keyring) -> Value {
    let keys = keyring.seal_keys().iter().enumerate();
    let keys = keys.map(|(place, key)| {
        let role = match place {
            0 => "seals",
            1 => "waits",
            _ => "opens",
        };
        json!({ "id": key.id, "role": role, "retired_at": key.retired_at_ms.map(timestamp_ms) })
    });
    let keys: Vec<Value> = keys.collect();
    json!({ "keys": keys })
}
