//! What readers see: one consistent state, never changed once published.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::keyring::Keyring;
use crate::machine::{ApiKey, DynamicServer, Machine};

/// The replicated state after one entry of the log. Cheap to hold; it never changes.
#[derive(Clone, Debug)]
pub struct View {
    machine: Machine,
    keyring: Arc<Keyring>,
    node: Arc<str>,
    boot: u64,
}

impl View {
    pub(crate) fn new(machine: Machine, keyring: Arc<Keyring>, node: Arc<str>) -> Self {
        let boot = machine.nodes().boots(&node);
        Self {
            machine,
            keyring,
            node,
            boot,
        }
    }

    pub(crate) fn after(&self, machine: Machine) -> Self {
        Self::new(machine, Arc::clone(&self.keyring), Arc::clone(&self.node))
    }

    /// Index of the last entry in it. Grows by one with every command.
    pub fn index(&self) -> u64 {
        self.machine.index()
    }

    /// API keys by id, revoked ones too.
    pub fn keys(&self) -> &BTreeMap<String, ApiKey> {
        self.machine.registry().keys()
    }

    /// Servers that were added at run time, in the order in which they were added.
    pub fn servers(&self) -> &[DynamicServer] {
        self.machine.registry().servers()
    }

    /// Keys that all nodes share.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Name of this node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// How often this node has started. With [`View::node`] it names one life of one process.
    pub fn boot(&self) -> u64 {
        self.boot
    }
}
