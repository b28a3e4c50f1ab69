//! Servers: how they are, and those that are added at run time.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use lockgate_cluster::{DynamicServer, RegistryCommand};
use lockgate_proto::id::ServerName;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::acting::Acting;
use super::answer::{self, Answer};
use super::body;
use super::error::ApiError;
use super::parts::Parts;
use super::status::timestamp;
use crate::config;
use crate::upstream::{ErasStatus, Status, UpstreamHandle, is_same};

/// The answer to an addition waits so long for the server. Half of what a start gives its servers: most need a second.
const TRIED_MAX: Duration = Duration::from_secs(5);

/// All servers: those that run, then added ones that cannot be used here, with the reason.
pub(super) fn list(parts: &Parts) -> Answer {
    let view = parts.cluster.view();
    let running = parts.upstreams.all();
    let mut servers: Vec<Value> = running
        .iter()
        .map(|server| shown(parts, &server.status(), is_added(parts, server.settings())))
        .collect();
    let resting = view.servers().iter().filter(|server| {
        let name = server.name.as_str();
        parts.upstreams.get(name).is_none()
    });
    servers.extend(resting.map(|server| shown(parts, &unusable(parts, server), true)));
    answer::ok(&json!({ "servers": servers }))
}

fn shown(parts: &Parts, status: &Status, added: bool) -> Value {
    let mut value = json!(status);
    let found = status.eras.found_secs_ago.map(Duration::from_secs);
    let found_at = found.and_then(|ago| (parts.clock)().checked_sub(ago));
    value["eras"]["found_at"] = json!(found_at.map(timestamp));
    let collisions = parts.pipeline.router.collisions();
    let hidden = collisions.iter().filter(|one| one.hidden == status.name);
    // A tool and a prompt of one name are one name.
    let hidden: BTreeSet<&str> = hidden.map(|one| &*one.name).collect();
    value["hidden"] = json!(hidden);
    value["source"] = json!(if added { "registry" } else { "file" });
    value
}

/// An added server that does not run, for example because this node lacks a variable.
fn unusable(parts: &Parts, server: &DynamicServer) -> Status {
    let checked = serde_json::from_str(&server.settings)
        .map_err(|error| error.to_string())
        .and_then(|json| parse(parts, server.name.as_str(), &json).map_err(|error| error.message));
    Status {
        name: server.name.clone(),
        up: false,
        settled: true,
        eras: ErasStatus::UNKNOWN,
        endpoints: Vec::new(),
        in_flight: 0,
        children: 0,
        last_error: Some(checked.err().unwrap_or_else(|| "not started".to_owned())),
        last_error_secs_ago: None,
        last_call_error: None,
        last_call_error_secs_ago: None,
        session_catalog: None,
        stateless_catalog: None,
        flaws: Vec::new(),
    }
}

/// Adds a server. Its settings are checked as those of the file are.
pub(super) async fn add(acting: &Acting<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let mut settings: Map<String, Value> = body::parse(body)?;
    let Some(Value::String(name)) = settings.remove("name") else {
        let message = "`name` is missing or no text";
        return Err(ApiError::invalid(
            "invalid_body",
            message,
            "name the server",
        ));
    };
    let parts = acting.parts;
    let settings = Value::Object(settings);
    let server = parse(parts, &name, &settings)?;
    if is_of_file(parts, &name) {
        let message = format!("server `{name}` {}", parts.written().0);
        return Err(ApiError::conflict(
            "server_exists",
            message,
            "choose another name",
        ));
    }
    acting.record("servers.add", &name)?;
    let command = RegistryCommand::AddServer {
        name: server.name,
        settings: settings.to_string(),
    };
    parts.cluster.propose(command.into()).await?;
    acting.apply().await?;
    // Whoever does not wait for what follows has added it.
    acting.is_done();
    let mut added = json!({ "name": name });
    if let Some(server) = parts.upstreams.get(&name) {
        added["server"] = tried(parts, &server).await;
    }
    Ok(answer::json(StatusCode::CREATED, &added))
}

/// How a server does that was just added, once it was asked what it offers and is offered itself; what takes longer is
/// shown as it is then.
async fn tried(parts: &Parts, server: &UpstreamHandle) -> Value {
    let tried = async {
        server.settled(TRIED_MAX).await;
        if server.status().up {
            parts.pipeline.router.caught_up(server).await;
        }
    };
    let _in_time = timeout(TRIED_MAX, tried).await;
    shown(parts, &server.status(), true)
}

/// Takes an added server away. Calls in flight may finish.
pub(super) async fn remove(acting: &Acting<'_>, name: &str) -> Result<Answer, ApiError> {
    if is_of_file(acting.parts, name) {
        let (stands, remedy) = acting.parts.written();
        let message = format!("server `{name}` {stands}");
        return Err(ApiError::conflict("file_server", message, remedy));
    }
    acting.record("servers.remove", name)?;
    let command = RegistryCommand::RemoveServer {
        name: ServerName::from(name),
    };
    acting.parts.cluster.propose(command.into()).await?;
    acting.apply().await?;
    Ok(answer::done())
}

/// Starts a server anew; its old connections and children go when their calls have ended.
pub(super) async fn restart(acting: &Acting<'_>, name: &str) -> Result<Answer, ApiError> {
    let unknown = || {
        let message = format!("no server `{name}` runs");
        ApiError::not_found("unknown_server", message, "see `lockgate servers list`")
    };
    let upstreams = &acting.parts.upstreams;
    upstreams.get(name).ok_or_else(unknown)?;
    acting.record("servers.restart", name)?;
    let found = upstreams.restart(name).await.map_err(|error| {
        let message = format!("server `{name}` cannot be started anew: {error}");
        ApiError::unavailable(
            "not_started",
            message,
            "the running one stays; see the node's log",
        )
    })?;
    // It may have been removed since it was looked up.
    if !found {
        return Err(unknown());
    }
    Ok(answer::json(StatusCode::ACCEPTED, &json!({ "name": name })))
}

fn parse(parts: &Parts, name: &str, settings: &Value) -> Result<config::Server, ApiError> {
    // Relative paths start where the node was started, as they do when it applies the registry.
    config::parse_server(name, settings, Path::new("."), &parts.server_options).map_err(
        |problems| {
            let remedy = "correct the settings; `lockgate config reference` explains them";
            ApiError::invalid("invalid_server", problems.to_string(), remedy)
        },
    )
}

fn is_of_file(parts: &Parts, name: &str) -> bool {
    let registry = parts.registry.load();
    let mut servers = registry.servers.iter();
    let server = servers.find(|server| server.name.as_str() == name);
    server.is_some_and(|server| !is_added(parts, server))
}

/// Whether these settings were added at run time. Where the file has a server of the name, the added one rests.
fn is_added(parts: &Parts, settings: &config::Server) -> bool {
    let view = parts.cluster.view();
    let mut added = view.servers().iter();
    let Some(added) = added.find(|added| added.name == settings.name) else {
        return false;
    };
    let json = serde_json::from_str(&added.settings).ok();
    let parsed = json.and_then(|json| parse(parts, added.name.as_str(), &json).ok());
    parsed.is_some_and(|parsed| is_same(&parsed, settings))
}
