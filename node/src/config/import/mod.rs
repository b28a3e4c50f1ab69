//! Takes over the MCP servers of a desktop client: `mcpServers` of Claude Desktop, Claude Code and Cursor, `servers` of
//! VS Code. Secrets become references to variables, so that the file can be committed.

mod encoding;
mod hide;
mod jsonc;
mod object;
mod place;
mod secrets;
mod server;
mod url;
mod variables;

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
    /// It is no text.
    #[error("the file is neither UTF-8 nor UTF-16")]
    Encoding,
    /// It is no JSON.
    #[error("the file is not JSON")]
    Syntax(#[source] serde_json::Error),
    /// It has no servers.
    #[error("the file has neither `mcpServers` nor `servers`, nor projects that have")]
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

/// Reads a client's file: Claude Desktop, Claude Code (`.mcp.json`, and `~/.claude.json` with the servers of all
/// projects), Cursor, VS Code (`mcp.json`, or `mcp` in the settings). Comments and trailing commas are fine.
///
/// # Errors
///
/// Fails when the bytes are no text, the text is no JSON or holds no servers.
pub fn import(file: &[u8]) -> Result<Imported, ImportError> {
    let text = encoding::decode(file).ok_or(ImportError::Encoding)?;
    let (json, twice) = object::parse(&jsonc::strip(&text)).map_err(ImportError::Syntax)?;
    let servers = servers(&json)?;
    let inputs = json.get("inputs").or_else(|| json.pointer("/mcp/inputs"));
    let all = servers.iter().map(|found| (found.name, found.server));
    let mut importer = Importer::new(inputs, all);
    for name in twice {
        importer.note(format!(
            "`{name}` stands twice in the file: the last is taken"
        ));
    }
    let mut taken = Map::new();
    for found in servers {
        let Some((fit, settings)) = importer.server(found.name, found.server, &taken) else {
            continue;
        };
        if let Some(project) = found.project {
            importer.note(format!(
                "`{fit}` is a server of {project} alone; here it is for all callers, and starts elsewhere without `cwd`"
            ));
        }
        taken.insert(fit, settings);
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

/// A server of the file.
struct Found<'a> {
    name: &'a str,
    server: &'a Value,
    /// Directory whose servers it is one of. `None`: it is everywhere.
    project: Option<&'a str>,
}

/// Servers of the file as a whole, then those of Claude Code's projects.
fn servers(json: &Value) -> Result<Vec<Found<'_>>, ImportError> {
    let whole = ["/mcpServers", "/servers", "/mcp/servers", "/mcp/mcpServers"]
        .iter()
        .find_map(|pointer| json.pointer(pointer).and_then(Value::as_object));
    let mut list: Vec<_> = (whole.into_iter().flatten())
        .map(|(name, server)| Found {
            name,
            server,
            project: None,
        })
        .collect();
    for (project, settings) in json["projects"].as_object().into_iter().flatten() {
        for (name, server) in settings["mcpServers"].as_object().into_iter().flatten() {
            // Many projects have the same one.
            if !list
                .iter()
                .any(|known| known.name == name && known.server == server)
            {
                list.push(Found {
                    name,
                    server,
                    project: Some(project),
                });
            }
        }
    }
    if whole.is_none() && list.is_empty() {
        return Err(ImportError::NoServers);
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
