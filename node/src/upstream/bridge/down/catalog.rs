//! Lists of a session-era server as stateless clients are shown them.

use std::sync::Arc;

use crate::upstream::bridge::tasks::{Support, offers_tools, support};
use crate::upstream::catalog::{Catalog, Item, List, ServerInfo};

use super::discover;

/// The same items. Tools that can be called as tasks only are left out where the server does not run any: "clients MUST
/// NOT attempt to use task augmentation on that server's tools, regardless of the `execution.taskSupport` value".
pub(in crate::upstream::bridge) fn catalog(from: &Catalog) -> Catalog {
    let needs_task = |tool: &Item| {
        let text = std::str::from_utf8(&tool.raw).unwrap_or_default();
        support(text) == Support::Required
    };
    let items = from.tools.items();
    let tools = if !offers_tools(from.capabilities()) && items.iter().any(needs_task) {
        let kept = items.iter().filter(|tool| !needs_task(tool));
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
