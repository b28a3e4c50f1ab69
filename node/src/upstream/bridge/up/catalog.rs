//! Lists of a stateless server as session-era clients are shown them.

use std::sync::Arc;

use bytes::Bytes;
use lockgate_proto::jsonrpc::{Span, Splice, find};
use lockgate_proto::mcp::Era;

use crate::upstream::catalog::{Catalog, Item, List, ListKind, ServerInfo};

use super::schema;

/// The same items, with output schemas that clients of the session era know how to read; what only the stateless era
/// has is left out.
pub(in crate::upstream::bridge) fn catalog(from: &Catalog) -> Catalog {
    Catalog {
        server: introduction(&from.server),
        tools: tools(&from.tools),
        ttl: None,
        public: false,
        ..from.clone()
    }
}

/// What the server says of itself. Extensions are agreed on with every request, which the session era has no words
/// for.
pub(super) fn introduction(from: &ServerInfo) -> ServerInfo {
    let capabilities = from.capabilities.as_deref().map(|raw| {
        let mut splice = Splice::new(raw);
        splice.remove_member(Span::new(0, raw.len()), "extensions");
        Arc::from(&*String::from_utf8_lossy(&splice.finish()))
    });
    ServerInfo {
        versions: None,
        capabilities,
        ..from.clone()
    }
}

fn tools(from: &Arc<List>) -> Arc<List> {
    let fits = |item: &Item| {
        let text = std::str::from_utf8(&item.raw).unwrap_or_default();
        output_schema(text).is_none()
    };
    if from.items().iter().all(fits) {
        return Arc::clone(from);
    }
    Arc::new(from.with_items(from.items().iter().map(shown).collect()))
}

fn shown(tool: &Item) -> Item {
    let text = std::str::from_utf8(&tool.raw).unwrap_or_default();
    let Some(schema) = output_schema(text) else {
        return tool.clone();
    };
    let mut splice = Splice::new(text);
    splice.replace(schema, schema::wrapped(schema.of(text)));
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
            ttl: None,
            public: true,
        }
    }

    #[test]
    fn what_only_the_stateless_era_has_is_left_out() {
        let shown = catalog(&of(&[]));
        assert_eq!(
            shown.server.capabilities.as_deref(),
            Some(r#"{"tools":{}}"#)
        );
        assert_eq!(shown.server.versions, None);
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
