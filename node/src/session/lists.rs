//! What the gateway itself tells listening sessions about merged lists.

use crate::route::{Table, changed_method, changes};

use super::cell::Cell;
use super::door::Inner;

impl Inner {
    /// Tells listening sessions which merged lists changed. A session that is connected to the server that
    /// changed hears it from the server itself.
    pub(super) fn announce(&self, old: &Table, new: &Table) {
        let changed: Vec<_> = changes(old, new);
        if changed.is_empty() {
            return;
        }
        for cell in self.directory.cells() {
            if !cell.is_listening() || cell.is_scoped() {
                continue;
            }
            let bound = cell.bound();
            let mut told: Vec<&str> = Vec::new();
            for (server, capability) in &changed {
                if told.contains(capability)
                    || bound.iter().any(|(name, _)| name.as_str() == *server)
                {
                    continue;
                }
                told.push(capability);
                tell_changed(&cell, capability);
            }
        }
    }
}

/// Tells one session that lists of a capability have changed.
pub(super) fn tell_changed(cell: &Cell, capability: &str) {
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"{}"}}"#,
        changed_method(capability)
    );
    cell.get_stream().push_lossy(bytes::Bytes::from(text));
}
