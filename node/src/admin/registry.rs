//! The registry that several nodes share: changed as a whole, on the version that its author saw.

use std::sync::Arc;

use bytes::Bytes;
use lockgate_cluster::{ChangeNote, ConfigChange, ConfigVersion, RegistryCommand, Reply, View};
use lockgate_proto::id::ServerName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::acting::Acting;
use super::answer::{self, Answer};
use super::body;
use super::cluster::hex;
use super::error::ApiError;
use super::parts::Parts;
use super::status::timestamp_ms;
use crate::config;

/// What helps against a document that is wrong.
const REMEDY: &str = "correct the file; `lockgate config reference` explains the keys";

/// Body of an application.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Application {
    /// What a file says; keys that belong to one node are left out.
    document: Value,
    /// Version that its author saw. Without it: the one in force.
    expected_version: Option<u64>,
    /// Only says what would change.
    #[serde(default)]
    dry_run: bool,
    /// Also ends keys and servers that were added beside the document.
    #[serde(default)]
    prune: bool,
    #[serde(default)]
    why: String,
}

/// Body of a rollback.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    to: u64,
    expected_version: Option<u64>,
    #[serde(default)]
    why: String,
}

/// Puts a registry in force on all nodes. When the answer is sent, no node grants what it took away.
pub(super) async fn apply(acting: &Acting<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let wanted: Application = body::parse(body)?;
    let view = shared(acting.parts).await?;
    config::check_written(&wanted.document).map_err(|problems| refused(&problems))?;
    let document = config::document(&wanted.document);
    let lacking = check(acting.parts, &document)?;
    let before = current(&view, version_of(&view))?;
    let (mut changes, mut at) = (Vec::new(), Vec::new());
    differences(&before, &document, &mut at, &mut changes);
    let beside = match wanted.prune {
        true => Beside::of(&view),
        false => Beside::default(),
    };
    let bytes = serde_json::to_vec(&document).map_err(|error| {
        ApiError::invalid("invalid_document", error.to_string(), "correct the file")
    })?;
    let expected = wanted.expected_version.unwrap_or_else(|| version_of(&view));
    let change = change(acting, expected, wanted.why);
    let mut answer = if wanted.dry_run {
        view.check_config(&change, &bytes)?;
        json!({
            "version": version_of(&view), "changed": !changes.is_empty(), "dry_run": true,
            "keys_pruned": beside.keys.len(), "servers_pruned": beside.servers.len(),
        })
    } else {
        let prunes = if wanted.prune { ", prune" } else { "" };
        acting.record("config.apply", &format!("on version {expected}{prunes}"))?;
        for id in &beside.keys {
            acting.record("keys.revoke", id)?;
        }
        for name in &beside.servers {
            acting.record("servers.remove", name.as_str())?;
        }
        let command = RegistryCommand::ApplyConfig {
            change,
            document: Bytes::from(bytes),
            prune: wanted.prune,
        };
        put_in_force(acting, command).await?
    };
    answer["changes"] = json!(changes);
    answer["pruned"] = json!(beside);
    answer["warnings"] = json!(lacking);
    Ok(answer::ok(&answer))
}

/// What was added beside the document, by name: a prune ends it.
#[derive(Debug, Default, Serialize)]
struct Beside {
    keys: Vec<String>,
    servers: Vec<ServerName>,
}

impl Beside {
    fn of(view: &View) -> Self {
        let live = view.keys().iter();
        let live = live.filter(|(_, key)| key.revoked_at_ms.is_none());
        let servers = view.servers().iter();
        Self {
            keys: live.map(|(id, _)| id.clone()).collect(),
            servers: servers.map(|server| server.name.clone()).collect(),
        }
    }
}

/// Puts an older registry in force again.
pub(super) async fn roll_back(acting: &Acting<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let wanted: Rollback = body::parse(body)?;
    let view = shared(acting.parts).await?;
    let parts = acting.parts;
    let document = current(&view, wanted.to)?;
    // It was in force before.
    let dir = std::path::Path::new(".");
    let parsed = config::parse_document_in_force(&document, dir, &parts.server_options);
    let (registry, _tolerated) = parsed.map_err(|problems| refused(&problems))?;
    lacking(&registry)?;
    let expected = wanted.expected_version.unwrap_or_else(|| version_of(&view));
    acting.record("config.rollback", &format!("to version {}", wanted.to))?;
    let command = RegistryCommand::RollBackConfig {
        change: change(acting, expected, wanted.why),
        to: wanted.to,
    };
    Ok(answer::ok(&put_in_force(acting, command).await?))
}

/// Versions that are kept, oldest first.
pub(super) fn history(parts: &Parts) -> Result<Answer, ApiError> {
    refuse_alone(parts)?;
    let view = parts.cluster.view();
    let shown = |version: &ConfigVersion| {
        json!({
            "version": version.version,
            "sha256": hex(&version.digest),
            "who": version.note.who,
            "why": version.note.why,
            "at": timestamp_ms(version.at_ms),
            "rolled_back_to": version.rolled_back_to,
        })
    };
    let versions: Vec<Value> = view.config_history().map(shown).collect();
    Ok(answer::ok(&json!({ "versions": versions })))
}

fn refuse_alone(parts: &Parts) -> Result<(), ApiError> {
    if parts.has_others() {
        return Ok(());
    }
    let message = "this node is a cluster of one, whose registry is its configuration file";
    Err(ApiError::conflict(
        "file_is_source",
        message,
        "change the file; it is read again at once",
    ))
}

/// The newest state, of a cluster of several.
async fn shared(parts: &Parts) -> Result<Arc<View>, ApiError> {
    refuse_alone(parts)?;
    Ok(parts.cluster.read().await?)
}

fn version_of(view: &View) -> u64 {
    view.config().map_or(0, |(version, _)| version.version)
}

/// The document of a version; an empty one for the time before there was any.
fn current(view: &View, version: u64) -> Result<Value, ApiError> {
    if version == 0 {
        return Ok(json!({}));
    }
    let document = view
        .config_document(version)
        .and_then(|document| serde_json::from_slice(document).ok());
    document.ok_or_else(|| {
        let message = format!("version {version} is not in the history");
        ApiError::not_found("unknown_version", message, "see `lockgate config history`")
    })
}

/// Refuses what is wrong on every node, and lists what only this node lacks.
fn check(parts: &Parts, document: &Value) -> Result<Vec<String>, ApiError> {
    let dir = std::path::Path::new(".");
    let registry = config::parse_document(document, dir, &parts.server_options)
        .map_err(|problems| refused(&problems))?;
    lacking(&registry)
}

/// What servers lack on this node alone. One that is wrong is so everywhere.
fn lacking(registry: &config::Registry) -> Result<Vec<String>, ApiError> {
    let mut lacking = Vec::new();
    for server in &registry.unusable {
        if server.lacks.is_empty() {
            let message = format!("server `{}`: {}", server.name, server.why);
            return Err(ApiError::invalid("config_refused", message, REMEDY));
        }
        let variables = server.lacks.join(", ");
        lacking.push(format!(
            "server `{}` cannot be used on this node, which lacks {variables}",
            server.name
        ));
    }
    Ok(lacking)
}

fn refused(problems: &config::Problems) -> ApiError {
    ApiError::invalid("config_refused", problems.to_string(), REMEDY)
}

fn change(acting: &Acting<'_>, expected_version: u64, why: String) -> ConfigChange {
    ConfigChange {
        expected_version,
        note: ChangeNote {
            who: acting.operator.to_string(),
            why,
        },
    }
}

async fn put_in_force(acting: &Acting<'_>, command: RegistryCommand) -> Result<Value, ApiError> {
    let reply = acting.parts.cluster.propose(command.into()).await?;
    acting.apply().await?;
    let Reply::Configured {
        version,
        changed,
        keys_pruned,
        servers_pruned,
        index,
    } = reply
    else {
        let message = "the cluster gave another answer than a change of the registry has";
        return Err(ApiError::unavailable(
            "unexpected_reply",
            message,
            "see `lockgate config history`",
        ));
    };
    acting.settle(index).await?;
    Ok(json!({
        "version": version, "changed": changed,
        "keys_pruned": keys_pruned, "servers_pruned": servers_pruned,
    }))
}

/// Where two documents differ, by path. Values stay out: they may be secrets.
fn differences<'a>(old: &'a Value, new: &'a Value, at: &mut Vec<&'a str>, found: &mut Vec<Value>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let names = old
                .keys()
                .chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names {
                at.push(name);
                match (old.get(name), new.get(name)) {
                    (Some(old), Some(new)) => differences(old, new, at, found),
                    (None, _) => found.push(json!({ "path": at.join("."), "what": "added" })),
                    (_, None) => found.push(json!({ "path": at.join("."), "what": "removed" })),
                }
                at.pop();
            }
        }
        (old, new) if old != new => {
            found.push(json!({ "path": at.join("."), "what": "changed" }));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_paths_and_no_values() {
        let old = json!({"roles": {"a": {"allow": ["x"]}, "b": {}}, "separator": "_"});
        let new = json!({"roles": {"a": {"allow": ["y"]}, "c": {}}, "separator": "_"});
        let mut found = Vec::new();
        differences(&old, &new, &mut Vec::new(), &mut found);
        assert_eq!(
            Value::from(found),
            json!([
                {"path": "roles.a.allow", "what": "changed"},
                {"path": "roles.b", "what": "removed"},
                {"path": "roles.c", "what": "added"},
            ])
        );
    }
}
