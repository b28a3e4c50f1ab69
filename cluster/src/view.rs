//! What readers see: one consistent state, never changed once published.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lockgate_proto::id::{NodeId, NodeName, ShardId};
use lockgate_proto::peer::compat::Formats;

use crate::audit::verify::Trust;
use crate::audit::{Guards, derive};
use crate::command::ConfigChange;
use crate::guarding::{self, GuardStatus};
use crate::keyring::Keyring;
use crate::machine::audit::AuditLog;
use crate::machine::quota::Quota;
use crate::machine::{
    ApiKey, Approval, ConfigVersion, DynamicServer, Member, Parts, Refusal, Register, Shard,
    StateHash, Token,
};

/// The replicated state after one entry of the log. Cheap to hold; it never changes.
#[derive(Clone, Debug)]
pub struct View {
    parts: Parts,
    keyring: Arc<Keyring>,
    guards: Guards,
    node: Arc<str>,
    boot: u64,
}

impl View {
    pub(crate) fn new(
        parts: Parts,
        (keyring, guards): (Arc<Keyring>, Guards),
        node: Arc<str>,
    ) -> Self {
        let name = NodeName::new(Arc::clone(&node));
        let boot = parts.nodes().named(&name).map_or(0, |member| member.boot);
        Self {
            parts,
            keyring,
            guards,
            node,
            boot,
        }
    }

    /// The state itself.
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Secrets of the operator that guard the audit log, as this node was given them.
    pub(crate) fn guards(&self) -> &Guards {
        &self.guards
    }

    /// Index of the last entry in it. Grows with every command.
    pub fn index(&self) -> u64 {
        self.parts.position().index
    }

    /// API keys by id, revoked ones too. They stand beside those of the configuration.
    pub fn keys(&self) -> &BTreeMap<String, ApiKey> {
        self.parts.registry().keys.by_id()
    }

    /// Servers that were added at run time, in the order in which they were added.
    pub fn servers(&self) -> &[DynamicServer] {
        self.parts.registry().servers.in_order()
    }

    /// Whether keys, servers, configuration and keyring are the same in both. A cheap look, which may say no for equal
    /// ones.
    pub fn has_same_registry(&self, other: &Self) -> bool {
        self.parts.shares_registry(&other.parts) && Arc::ptr_eq(&self.keyring, &other.keyring)
    }

    /// Whether it differs from `earlier` in audit records alone.
    pub(crate) fn adds_only_records(&self, earlier: &Self) -> bool {
        self.parts.adds_only_records(&earlier.parts) && Arc::ptr_eq(&self.keyring, &earlier.keyring)
    }

    /// The configuration in force and its document, canonical JSON. `None` when none was ever applied.
    pub fn config(&self) -> Option<(&ConfigVersion, &Bytes)> {
        self.parts.registry().config.current()
    }

    /// Versions of the configuration that are kept, oldest first. The last one is in force.
    pub fn config_history(&self) -> impl ExactSizeIterator<Item = &ConfigVersion> {
        self.parts.registry().config.versions()
    }

    /// Document of a version that is kept.
    pub fn config_document(&self, version: u64) -> Option<&Bytes> {
        self.parts.registry().config.document(version)
    }

    /// Whether a change of the configuration to `document` would be taken now.
    ///
    /// # Errors
    ///
    /// The refusal that [`crate::RegistryCommand::ApplyConfig`] would meet.
    pub fn check_config(&self, change: &ConfigChange, document: &[u8]) -> Result<(), Refusal> {
        self.parts.registry().config.check_apply(change, document)
    }

    /// Registers by name.
    pub fn registers(&self) -> &BTreeMap<String, Register> {
        self.parts.registers().by_key()
    }

    /// Name of the cluster for ever, drawn when it was founded.
    pub fn cluster_id(&self) -> Option<[u8; 16]> {
        self.parts.nodes().cluster()
    }

    /// Members by number, removed ones too.
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        self.parts.nodes().members()
    }

    /// The live member of that name.
    pub fn member(&self, name: &NodeName) -> Option<&Member> {
        self.parts.nodes().named(name)
    }

    /// Join tokens that wait for their use, by their public half. One that is over its time may still be here.
    pub fn join_tokens(&self) -> &BTreeMap<String, Token> {
        self.parts.nodes().tokens()
    }

    /// Formats that every voter can read. Nothing newer may be proposed.
    pub fn formats(&self) -> Formats {
        self.parts.nodes().formats()
    }

    /// All shards, each at the place of its number.
    pub fn shards(&self) -> &[Shard] {
        self.parts.shards().map()
    }

    /// Whether that node owns a shard or has a copy of one.
    pub fn holds_shards(&self, node: NodeId) -> bool {
        self.parts.shards().names(node)
    }

    /// One shard.
    pub fn shard(&self, shard: ShardId) -> Shard {
        let map = self.parts.shards().map();
        // The map has all shards; a shard that nobody owns is what a missing one would be.
        map.get(usize::from(shard.number()))
            .copied()
            .unwrap_or_default()
    }

    /// Requests that wait for a person, by id.
    pub fn approvals(&self) -> &BTreeMap<String, Approval> {
        self.parts.approvals().open()
    }

    /// Requests that were decided or ran out, oldest first; the last thousand or so.
    pub fn ended_approvals(&self) -> impl ExactSizeIterator<Item = &Approval> {
        self.parts.approvals().ended()
    }

    /// Quotas: limits in force, and who has used what.
    pub fn quota(&self) -> &Arc<Quota> {
        self.parts.quota()
    }

    /// The audit log: its head, and who has come how far.
    pub fn audit(&self) -> &Arc<AuditLog> {
        self.parts.audit()
    }

    /// What verification of the audit log rests on: its genesis, its MAC keys, and who signs checkpoints now. `None`
    /// before it has begun.
    pub fn audit_trust(&self) -> Option<Trust> {
        let log = self.audit();
        Some(Trust {
            genesis: log.genesis()?.clone(),
            keys: derive::mac_keys(
                &self.keyring,
                &self.guards,
                log.genesis()?,
                log.key_ranges()?,
            ),
            guards: Some(self.guards.clone()),
            signers: log.signers().cloned().into_iter().collect(),
        })
    }

    /// How it stands with the secret of the operator that is to guard the audit log. `None` when this node was given none.
    pub fn audit_guard(&self) -> Option<GuardStatus> {
        guarding::status(&self.parts, &self.guards, &self.node)
    }

    /// Hashes of the state after certain entries, oldest first. Two nodes that have one for the same entry must have
    /// the same.
    pub fn state_hashes(&self) -> impl ExactSizeIterator<Item = &StateHash> {
        self.parts.hashes().kept()
    }

    /// Keys that all nodes share.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Index of the entry that wrote the keyring: what its successor must name.
    pub fn keyring_revision(&self) -> u64 {
        self.parts.secrets().keyring_revision()
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
