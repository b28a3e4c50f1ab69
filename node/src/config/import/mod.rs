//! Takes over the MCP servers of a desktop client: `mcpServers` of Claude Desktop, Claude Code and Cursor, `servers` of
//! VS Code. Secrets become references to variables, so that the file can be committed.

mod jsonc;
mod secrets;
mod server;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::server::Importer;

/// A configuration made from a client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Text of a `lockgate.yaml`.
    pub yaml: String,
    /// Variables to set, with what they are for. Their values stand in the client's file.
    pub variables: BTreeMap<String, String>,
    /// What could not be taken over, or needs a look.
    pub notes: Vec<String>,
}

/// Why a client's file cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no JSON.
    #[error("the file is not JSON")]
    Syntax(#[source] serde_json::Error),
    /// It has no servers.
    #[error("the file has neither `mcpServers` nor `servers`")]
    NoServers,
    /// The result cannot be written as YAML.
    #[error("the servers cannot be written as YAML")]
    Yaml(#[source] serde_saphyr::SerializeError),
}

const HEAD: &str = "\
# yaml-language-server: $schema=./lockgate.schema.json
#
# For one person on one machine: callers need no key and may use everything. For a team, replace `anonymous` by
# `api_keys` and write narrower roles (see `lockgate config reference`).

";

/// Reads a client's file: Claude Desktop, Claude Code (`.mcp.json`), Cursor, VS Code (`mcp.json`, or `mcp` in the
/// settings). Comments and trailing commas are fine.
///
/// # Errors
///
/// Fails when the text is no JSON or holds no servers.
pub fn import(text: &str) -> Result<Imported, ImportError> {
    let json: Value = serde_json::from_str(&jsonc::strip(text)).map_err(ImportError::Syntax)?;
    let servers = ["/mcpServers", "/servers", "/mcp/servers", "/mcp/mcpServers"]
        .iter()
        .find_map(|pointer| json.pointer(pointer).and_then(Value::as_object))
        .ok_or(ImportError::NoServers)?;
    let inputs = json.get("inputs").or_else(|| json.pointer("/mcp/inputs"));
    let mut importer = Importer::new(inputs);
    let mut taken = Map::new();
    for (name, server) in servers {
        if let Some((name, server)) = importer.server(name, server, &taken) {
            taken.insert(name, server);
        }
    }
    let file = json!({
        "identity": { "anonymous": ["me"] },
        "roles": { "me": { "allow": ["*"] } },
        "servers": taken,
    });
    let body = serde_saphyr::to_string(&file).map_err(ImportError::Yaml)?;
    let (variables, notes) = importer.finish();
    Ok(Imported {
        yaml: format!("{HEAD}{body}"),
        variables,
        notes,
    })
}

#[cfg(test)]
mod tests;
