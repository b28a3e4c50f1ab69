//! Registers: small values under a name, written by compare-and-set.

use bytes::Bytes;
use http::StatusCode;
use lockgate_cluster::{Expected, RegisterWrite, Reply};
use serde::Deserialize;
use serde_json::json;

use super::acting::Acting;
use super::answer::{self, Answer};
use super::body;
use super::error::ApiError;
use super::parts::Parts;
use super::path;

/// Below this nodes tell each other what they hold; whoever writes there could speak for them.
const OWN: &str = "audit/";

/// How a register must be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Wanted {
    Absent,
    Value(String),
    Revision(u64),
}

/// Body of PUT. Without `expected` the write takes effect in any case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Write {
    value: Option<String>,
    expected: Option<Wanted>,
}

/// One register. `?consistency=local` reads this node's copy, which may be old; otherwise the answer is as new as the
/// question.
pub(super) async fn show(
    parts: &Parts,
    key: &str,
    query: Option<&str>,
) -> Result<Answer, ApiError> {
    let view = match path::query(query, "consistency").as_deref() {
        None | Some("linearizable") => parts.cluster.read().await?,
        Some("local") => parts.cluster.view(),
        Some(other) => {
            let message = format!("`{other}` is no consistency");
            return Err(ApiError::invalid(
                "unknown_consistency",
                message,
                "write linearizable or local",
            ));
        }
    };
    let register = view.registers().get(key).ok_or_else(|| {
        let message = format!("there is no register `{key}`");
        ApiError::not_found("unknown_register", message, "write it first")
    })?;
    Ok(answer::ok(&json!({
        "key": key,
        "value": String::from_utf8_lossy(&register.value),
        "revision": register.revision,
    })))
}

/// Writes one register; `"value": null` ends it.
pub(super) async fn write(acting: &Acting<'_>, key: &str, body: &[u8]) -> Result<Answer, ApiError> {
    if key.starts_with(OWN) {
        let message = format!("keys that begin with `{OWN}` are the nodes' own");
        return Err(ApiError::invalid(
            "reserved_key",
            message,
            "choose another one",
        ));
    }
    let write: Write = body::parse(body)?;
    let expected = match write.expected {
        None => Expected::Any,
        Some(Wanted::Absent) => Expected::Absent,
        Some(Wanted::Value(value)) => Expected::Value(Bytes::from(value)),
        Some(Wanted::Revision(revision)) => Expected::Revision(revision),
    };
    acting.record("registers.write", key)?;
    let command = RegisterWrite {
        key: key.to_owned(),
        expected,
        value: write.value.map(Bytes::from),
    };
    let Reply::Written { revision } = acting.parts.cluster.propose(command.into()).await? else {
        let message = "the cluster gave another answer than a write has";
        return Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unexpected_reply",
            message,
            "look before you repeat it",
        ));
    };
    Ok(answer::ok(&json!({ "key": key, "revision": revision })))
}
