//! Part of the machine: nodes and how often each has started.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Nodes by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nodes {
    boots: BTreeMap<String, u64>,
}

impl Nodes {
    /// Counts a start and returns its number. The first is 1.
    pub(super) fn boot(&mut self, node: String) -> u64 {
        let boots = self.boots.entry(node).or_default();
        *boots += 1;
        *boots
    }

    /// How often `node` has started.
    pub(crate) fn boots(&self, node: &str) -> u64 {
        self.boots.get(node).copied().unwrap_or_default()
    }
}
