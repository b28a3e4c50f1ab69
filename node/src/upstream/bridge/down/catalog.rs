//! Lists of a session-era server as stateless clients are shown them.

use std::sync::Arc;

use lockgate_proto::jsonrpc::find_path;

use crate::upstream::catalog::{Catalog, List, ServerInfo};

use super::discover;

/// The same items, less the tools that can be called as tasks of 2025-11-25 only, which no stateless client can follow.
pub(in crate::upstream::bridge) fn catalog(from: &Catalog) -> Catalog {
    let needs_task = |raw: &[u8]| {
        let text = std::str::from_utf8(raw).unwrap_or_default();
        find_path(text, &["execution", "taskSupport"])
            .is_some_and(|span| span.of(text) == r#""required""#)
    };
    let items = from.tools.items();
    let tools = if items.iter().any(|tool| needs_task(&tool.raw)) {
        let kept = items.iter().filter(|tool| !needs_task(&tool.raw));
        Arc::new(List::new(kept.cloned().collect()))
    } else {
        Arc::clone(&from.tools)
    };
    let capabilities = from.server.capabilities.as_deref();
    Catalog {
        server: ServerInfo {
            capabilities: capabilities.map(|raw| discover::capabilities(raw).into()),
            versions: None,
            ..from.server.clone()
        },
        tools,
        ..from.clone()
    }
}
