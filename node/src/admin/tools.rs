//! Tools by the names that clients see.

use lockgate_proto::jsonrpc::{decode_lossy, find};
use lockgate_proto::mcp::Era;
use serde::Serialize;
use serde_json::json;

use super::answer::{self, Answer};
use super::error::ApiError;
use super::parts::Parts;
use super::path;
use crate::route::Table;
use crate::upstream::catalog::{Item, ListKind};

/// One tool.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    server: String,
    description: Option<String>,
}

/// A server of which nobody knows what it offers.
#[derive(Debug, Serialize)]
struct Missing {
    server: String,
    /// What went wrong last; null while it is asked for the first time.
    error: Option<String>,
}

/// All tools that can be called, of all servers or of one (`?server=`), and the servers that have not told theirs. A
/// server shows what it has for clients of the session era, or of the stateless era if it speaks that alone.
pub(super) fn list(parts: &Parts, query: Option<&str>) -> Result<Answer, ApiError> {
    let wanted = path::query(query, "server");
    if let Some(name) = wanted
        .as_deref()
        .filter(|name| parts.upstreams.get(name).is_none())
    {
        let message = format!("no server `{name}` runs");
        let remedy = "see `lockgate servers list`";
        return Err(ApiError::not_found("unknown_server", message, remedy));
    }
    let router = &parts.pipeline.router;
    let (session, stateless) = (router.table(Era::Session), router.table(Era::Stateless));
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let mut tools = Vec::new();
    for (at, entry) in session.servers.iter().enumerate() {
        let name = entry.settings.name.as_str();
        if !is_wanted(name) {
            continue;
        }
        match (&entry.catalog, stateless.server(name)) {
            (None, Some(at)) => add(&mut tools, &stateless, at),
            _ => add(&mut tools, &session, at),
        }
    }
    let servers = parts.upstreams.all();
    let statuses = servers.iter().map(|server| server.status());
    let missing: Vec<Missing> = statuses
        .filter(|status| is_wanted(status.name.as_str()))
        .filter(|status| status.session_catalog.is_none() && status.stateless_catalog.is_none())
        .map(|status| Missing {
            server: status.name.to_string(),
            error: status.last_error.clone(),
        })
        .collect();
    Ok(answer::ok(&json!({ "tools": tools, "missing": missing })))
}

/// Adds the tools of one server; those that another server's hide cannot be called, so they are left out.
fn add(tools: &mut Vec<Shown>, table: &Table, at: usize) {
    let Some(entry) = table.servers.get(at) else {
        return;
    };
    for item in entry.items(ListKind::Tools) {
        let name = entry.shown(ListKind::Tools, &item.key);
        if table.tool(&name).is_some_and(|target| target.server == at) {
            tools.push(Shown {
                name,
                server: entry.settings.name.to_string(),
                description: description(item),
            });
        }
    }
}

fn description(item: &Item) -> Option<String> {
    let text = std::str::from_utf8(&item.raw).ok()?;
    let span = find(text, "description")?;
    Some(decode_lossy(span.of(text))?.into_owned())
}
