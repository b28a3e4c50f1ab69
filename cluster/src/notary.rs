//! Has checkpoints of the audit log signed: by the leader for the log, by every voter for itself.
//!
//! A voter's key never leaves its data directory; what verifies it stands in a register under its name, from which the
//! leader tells the log who may cosign.

use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use tracing::{debug, warn};

use crate::audit::{AuditCommand, KeyKind, SignerKey, Signers, VerifierKey, derive};
use crate::command::{Command, Expected, RegisterWrite};
use crate::error::OpenError;
use crate::handle::Cluster;
use crate::raft::RaftRole;
use crate::view::View;
use crate::{Clock, store};

/// Name of the register of a voter's vkey, before its name.
const REGISTER: &str = "audit/cosigner/";

/// Signs and cosigns for one node.
#[derive(Debug)]
pub struct Notary {
    cluster: Cluster,
    own: SignerKey,
    clock: Clock,
}

impl Notary {
    /// Takes the key of this node out of `data_dir`, or draws one.
    ///
    /// # Errors
    ///
    /// The key can't be read or written, or others can read it.
    pub fn open(cluster: Cluster, data_dir: &Path, clock: Clock) -> Result<Self, OpenError> {
        let dir = data_dir.join("cluster").join("cosigner");
        store::create_private_dir(&dir)?;
        let seed = store::read_or_create_key(&dir)?;
        let view = cluster.view();
        let own = SignerKey::new(view.node(), KeyKind::Cosigner, &seed);
        Ok(Self {
            own: own.map_err(OpenError::engine)?,
            cluster,
            clock,
        })
    }

    /// Does what is due now: call it every second. What fails is due again the next time.
    pub async fn tick(&self) {
        let view = self.cluster.view();
        for command in self.due(&view) {
            // Another may have been quicker, or the leader another by now.
            if let Err(cause) = self.cluster.propose(command).await {
                debug!(%cause, "checkpoint not signed");
            }
        }
    }

    fn due(&self, view: &View) -> Vec<Command> {
        let mut due = Vec::new();
        let vkey = self.own.verifier().to_string();
        let register = format!("{REGISTER}{}", view.node());
        let told = view.registers().get(&register);
        if told.is_none_or(|told| *told.value != *vkey.as_bytes()) {
            let write = RegisterWrite {
                key: register,
                expected: Expected::Any,
                value: Some(Bytes::from(vkey)),
            };
            due.push(write.into());
        }
        let log = view.audit();
        let status = self.cluster.raft_status();
        if status.role == RaftRole::Leader {
            let voters = status.seats.iter().filter(|seat| seat.votes);
            due.extend(self.lead(view, voters.map(|seat| seat.name.as_str())));
        }
        let secs = (self.clock)().duration_since(UNIX_EPOCH);
        let secs = secs.unwrap_or_default().as_secs();
        let is_cosigner = log
            .signers()
            .is_some_and(|signers| signers.cosigners().contains(self.own.verifier()));
        for (checkpoint, note) in log.pending().filter(|_| is_cosigner) {
            // What is pending was compared with this node's own root when it was applied.
            if note.is_signed_by(self.own.verifier()) == Ok(false) {
                let signature = self.own.sign(note.text(), secs);
                let size = checkpoint.size;
                let signature = signature.to_line();
                due.push(AuditCommand::Cosign { size, signature }.into());
            }
        }
        due
    }

    /// What the leader owes: who signs, and the next checkpoint.
    fn lead<'a>(&self, view: &View, voters: impl Iterator<Item = &'a str>) -> Option<Command> {
        let log = view.audit();
        let signer = derive::log_signer(view.keyring(), log.genesis()?);
        let signer = signer
            .inspect_err(|cause| warn!(%cause, "the audit log has a name that nobody can sign for"))
            .ok()?;
        let registers = view.registers();
        let cosigners: Vec<VerifierKey> = voters
            .filter_map(|name| registers.get(&format!("{REGISTER}{name}")))
            .filter_map(|told| VerifierKey::parse(std::str::from_utf8(&told.value).ok()?).ok())
            .collect();
        let wanted = Signers::new(signer.verifier().clone(), cosigners).ok()?;
        if wanted.cosigners().is_empty() {
            // The voters have not told their keys yet.
            return None;
        }
        if log.signers() != Some(&wanted) {
            return Some(
                AuditCommand::SetSigners {
                    log: wanted.log().to_string(),
                    cosigners: wanted.cosigners().iter().map(ToString::to_string).collect(),
                }
                .into(),
            );
        }
        let note = log.candidate()?.sign(&signer).ok()?;
        let note = note.to_text().into_bytes();
        Some(AuditCommand::Checkpoint { note }.into())
    }
}
