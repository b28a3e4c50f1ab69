//! Lists of a stateless server as session-era clients are shown them.

use std::sync::Arc;

use bytes::Bytes;
use lockgate_proto::jsonrpc::{Span, Splice, find, members};
use lockgate_proto::mcp::Era;

use crate::upstream::bridge::tasks::{EXTENSION, offers_extension};
use crate::upstream::catalog::{Catalog, Item, List, ListKind, ServerInfo};

use super::schema;

/// What a server with the extension can do for clients of 2025-11-25, by translation. It has no list.
const TASKS: &str = r#"{"cancel":{},"requests":{"tools":{"call":{}}}}"#;
/// Any tool may be called as a task, or not: the server decides on each call.
const EXECUTION: &str = r#"{"taskSupport":"optional"}"#;

/// The same items, with output schemas that clients of the session era know how to read; what only the stateless era
/// has is left out.
pub(in crate::upstream::bridge) fn catalog(from: &Catalog) -> Catalog {
    Catalog {
        server: introduction(&from.server),
        tools: tools(&from.tools, offers_extension(from.capabilities())),
        ttl: None,
        public: false,
        ..from.clone()
    }
}

/// What the server says of itself. Its extensions are named where the session era names them, too (MCP Apps
/// 2026-01-26, "Capability Negotiation"; `ServerCapabilities` is an open set): a client that declares one at
/// `initialize` declares it with every request. Tasks are those of 2025-11-25 there.
pub(super) fn introduction(from: &ServerInfo) -> ServerInfo {
    let capabilities = from
        .capabilities
        .as_deref()
        .map(|raw| capabilities(raw).into());
    ServerInfo {
        versions: None,
        capabilities,
        ..from.clone()
    }
}

fn capabilities(raw: &str) -> String {
    let whole = Span::new(0, raw.len());
    let mut splice = Splice::new(raw);
    splice.remove_member(whole, "tasks");
    if let Some(at) = find(raw, "extensions") {
        let mut others = members(at.of(raw)).filter(|extension| extension.key != EXTENSION);
        if others.next().is_some() {
            splice.remove_member(at, EXTENSION);
        } else {
            splice.remove_member(whole, "extensions");
        }
    }
    if offers_extension(raw) {
        splice.set_member(whole, "tasks", TASKS);
    }
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

fn tools(from: &Arc<List>, may_be_tasks: bool) -> Arc<List> {
    let items = from.items();
    if !may_be_tasks
        && items
            .iter()
            .all(|item| output_schema(text_of(item)).is_none())
    {
        return Arc::clone(from);
    }
    let shown = items.iter().map(|tool| shown(tool, may_be_tasks));
    Arc::new(from.with_items(shown.collect()))
}

fn text_of(item: &Item) -> &str {
    std::str::from_utf8(&item.raw).unwrap_or_default()
}

fn shown(tool: &Item, may_be_task: bool) -> Item {
    let text = text_of(tool);
    let mut splice = Splice::new(text);
    show(&mut splice, text, 0, may_be_task);
    if splice.is_empty() {
        return tool.clone();
    }
    let raw: Bytes = splice.finish();
    // Its name stands where it stood, or further behind: it is read again.
    match Item::read(ListKind::Tools, Era::Session, raw) {
        Ok(item) => Item {
            param_headers: tool.param_headers.clone(),
            ..item
        },
        Err(_) => tool.clone(),
    }
}

/// Edits the raw `tool`, which stands at `offset` of the spliced text.
pub(super) fn show(splice: &mut Splice<'_>, tool: &str, offset: u32, may_be_task: bool) {
    if let Some(output) = output_schema(tool) {
        splice.replace(output.shift(offset), schema::wrapped(output.of(tool)));
    }
    if may_be_task {
        let whole = Span::new(0, tool.len()).shift(offset);
        splice.set_member(whole, "execution", EXECUTION);
    }
}

/// Where the output schema of a raw tool stands, when clients of the session era cannot take it as it is.
pub(super) fn output_schema(tool: &str) -> Option<Span> {
    find(tool, "outputSchema").filter(|span| !schema::is_object(span.of(tool)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tools: &[&'static str]) -> Catalog {
        let items = tools.iter().map(|raw| {
            Item::read(
                ListKind::Tools,
                Era::Stateless,
                Bytes::from_static(raw.as_bytes()),
            )
            .unwrap()
        });
        Catalog {
            server: ServerInfo {
                capabilities: Some(r#"{"tools":{},"extensions":{"x":{}}}"#.into()),
                versions: Some(r#"["2026-07-28"]"#.into()),
                ..ServerInfo::default()
            },
            tools: Arc::new(List::new(items.collect())),
            prompts: Arc::default(),
            resources: Arc::default(),
            templates: Arc::default(),
            skills: Arc::default(),
            ttl: None,
            public: true,
        }
    }

    #[test]
    fn what_only_the_stateless_era_has_is_left_out() {
        assert_eq!(catalog(&of(&[])).server.versions, None);
    }

    #[test]
    fn extensions_are_named_but_tasks_are_those_of_the_session_era() {
        const MAY: &str = r#""tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}"#;
        for (raw, expected) in [
            (
                r#"{"tools":{},"extensions":{"x":{}}}"#,
                r#"{"tools":{},"extensions":{"x":{}}}"#.to_owned(),
            ),
            (
                r#"{"tasks":{"list":{}},"tools":{}}"#,
                r#"{"tools":{}}"#.to_owned(),
            ),
            (
                r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"x":{}}}"#,
                format!(r#"{{"extensions":{{"x":{{}}}},{MAY}}}"#),
            ),
            (
                r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
                format!(r#"{{"tools":{{}},{MAY}}}"#),
            ),
        ] {
            assert_eq!(capabilities(raw), expected, "{raw}");
        }
    }

    #[test]
    fn every_tool_of_a_server_that_makes_tasks_may_become_one() {
        let mut from = of(&[
            r#"{"name":"a"}"#,
            r#"{"name":"b","execution":{"taskSupport":"required"},"outputSchema":true}"#,
        ]);
        from.server.capabilities =
            Some(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#.into());
        let shown = catalog(&from);
        let raw: Vec<_> = shown.tools.items().iter().map(text_of).collect();
        assert_eq!(
            raw,
            [
                r#"{"name":"a","execution":{"taskSupport":"optional"}}"#,
                r#"{"name":"b","execution":{"taskSupport":"optional"},"outputSchema":{"type":"object","properties":{"result":true},"required":["result"]}}"#,
            ]
        );
    }

    #[test]
    fn lists_that_fit_are_shared() {
        let from = of(&[
            r#"{"name":"a","outputSchema":{"type":"object"}}"#,
            r#"{"name":"b"}"#,
        ]);
        assert!(Arc::ptr_eq(&catalog(&from).tools, &from.tools));
    }

    #[test]
    fn a_schema_of_anything_is_shown_as_that_of_an_object() {
        let from = of(&[r#"{"outputSchema":{"type":"string"},"name":"a","z":1}"#]);
        let shown = catalog(&from);
        let tool = shown.tools.get("a").unwrap();
        assert_eq!(
            tool.raw,
            r#"{"outputSchema":{"type":"object","properties":{"result":{"type":"string"}},"required":["result"]},"name":"a","z":1}"#
        );
        let text = std::str::from_utf8(&tool.raw).unwrap();
        assert_eq!(tool.key_span.of(text), "\"a\"");
    }
}
