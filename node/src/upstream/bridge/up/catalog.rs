//! Lists of a stateless server as session-era clients are shown them.

use crate::upstream::catalog::{Catalog, ServerInfo};

/// The same items; what only the stateless era has is left out.
pub(in crate::upstream::bridge) fn catalog(from: &Catalog) -> Catalog {
    Catalog {
        server: ServerInfo {
            versions: None,
            ..from.server.clone()
        },
        ..from.clone()
    }
}
