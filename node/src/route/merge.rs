//! What several servers offer together: capabilities and instructions of one endpoint.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lockgate_proto::jsonrpc::{Span, Splice, decode_str, encode_str, find, find_path, members};
use lockgate_proto::mcp::{Era, Revision};

use crate::upstream::catalog::Catalog;

/// Union over the servers of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Raw `ServerCapabilities`.
    pub capabilities: String,
    /// Instructions of all servers, one paragraph each.
    pub instructions: Option<String>,
}

impl Merged {
    /// Union of the catalogs, in order.
    pub fn of<'c>(catalogs: impl Iterator<Item = &'c Catalog>) -> Self {
        let mut union = Union::default();
        let mut instructions = String::new();
        for catalog in catalogs {
            union.add(catalog.capabilities());
            if let Some(text) = catalog.server.instructions.as_deref().and_then(decode_str) {
                if !instructions.is_empty() {
                    instructions.push_str("\n\n");
                }
                instructions.push_str(&text);
            }
        }
        Self {
            capabilities: union.render(),
            instructions: (!instructions.is_empty()).then_some(instructions),
        }
    }
}

/// Capabilities by name. For those with members, the members are united; the first server's value stays.
#[derive(Debug, Default)]
struct Union(BTreeMap<String, BTreeMap<String, String>>);

impl Union {
    fn add(&mut self, capabilities: &str) {
        for member in members(capabilities) {
            if !member.value.starts_with('{') {
                continue;
            }
            let known = self.0.entry(member.key.into_owned()).or_default();
            for inner in members(member.value) {
                let value = known
                    .entry(inner.key.into_owned())
                    .or_insert_with(|| inner.value.to_owned());
                // One server that can is enough for the endpoint to offer it.
                if value == "false" && inner.value == "true" {
                    "true".clone_into(value);
                }
            }
        }
        // The gateway itself tells clients when its merged lists change.
        for kind in ["tools", "prompts", "resources"] {
            if let Some(known) = self.0.get_mut(kind) {
                known.insert("listChanged".to_owned(), "true".to_owned());
            }
        }
    }

    fn render(&self) -> String {
        let mut out = String::from("{");
        for (name, inner) in &self.0 {
            if out.len() > 1 {
                out.push(',');
            }
            let inner: Vec<String> = inner
                .iter()
                .map(|(key, value)| format!("{}:{value}", encode_str(key)))
                .collect();
            // Writing to a String cannot fail.
            let _infallible = write!(out, "{}:{{{}}}", encode_str(name), inner.join(","));
        }
        out.push('}');
        out
    }
}

/// Raw `InitializeResult` of an aggregated endpoint.
pub fn initialize_result(merged: &Merged, revision: Revision) -> String {
    let capabilities = if merged.capabilities.is_empty() {
        "{}"
    } else {
        &merged.capabilities
    };
    let instructions = instructions_member(merged);
    format!(
        r#"{{"protocolVersion":"{revision}","capabilities":{capabilities},"serverInfo":{}{instructions}}}"#,
        server_info(),
    )
}

/// Raw `InitializeResult` of one server for a client with which `revision` is agreed on.
pub fn initialize_result_of(result: &str, revision: Revision) -> String {
    let mut splice = Splice::new(result);
    let whole = Span::new(0, result.len());
    splice.set_member(whole, "protocolVersion", &format!("\"{revision}\""));
    // A splice of text is text.
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

/// Raw `DiscoverResult` of an aggregated endpoint. Lists differ by caller, so nothing may be cached for others.
pub fn discover_result(merged: &Merged, versions: &[Revision]) -> String {
    let capabilities = if merged.capabilities.is_empty() {
        "{}"
    } else {
        &merged.capabilities
    };
    let instructions = instructions_member(merged);
    format!(
        concat!(
            r#"{{"resultType":"complete","supportedVersions":{},"capabilities":{}{},"#,
            r#""ttlMs":{},"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{}}}}}"#
        ),
        versions_list(versions),
        capabilities,
        instructions,
        super::list::TTL_MS,
        server_info(),
    )
}

/// Raw array of revisions.
pub(super) fn versions_list(versions: &[Revision]) -> String {
    let versions: Vec<String> = versions
        .iter()
        .map(|version| format!("\"{version}\""))
        .collect();
    format!("[{}]", versions.join(","))
}

/// Raw `Implementation` object of the gateway.
pub(crate) fn server_info() -> &'static str {
    concat!(
        r#"{"name":"lockgate","title":"Lockgate","version":""#,
        env!("CARGO_PKG_VERSION"),
        r#""}"#
    )
}

fn instructions_member(merged: &Merged) -> String {
    merged
        .instructions
        .as_ref()
        .map(|text| format!(r#","instructions":{}"#, encode_str(text)))
        .unwrap_or_default()
}

/// Whether `capabilities` (raw) has the member at `path`, and it is neither `false` nor `null`.
pub(super) fn has(capabilities: &str, path: &[&str]) -> bool {
    find_path(capabilities, path)
        .is_some_and(|span| !matches!(span.of(capabilities), "false" | "null"))
}

/// Whether the server with these capabilities can be meant by `method`, which no revision defines:
/// its first segment is a capability, or part of an extension's name (`skills/list` -> `…/skills`).
pub(super) fn may_know(capabilities: &str, method: &str, era: Era) -> bool {
    let Some((segment, _)) = method.split_once('/') else {
        return false;
    };
    if find(capabilities, segment).is_some() {
        return true;
    }
    let containers = if era == Era::Stateless {
        &["extensions"][..]
    } else {
        &["extensions", "experimental"][..]
    };
    containers
        .iter()
        .filter_map(|name| Some(find(capabilities, name)?.of(capabilities)))
        .any(|inner| {
            members(inner).any(|member| {
                member
                    .key
                    .rsplit('/')
                    .next()
                    .is_some_and(|last| last == segment)
            })
        })
}
