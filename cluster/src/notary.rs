//! Has checkpoints of the audit log signed: by the leader for the log, by every voter for itself.
//!
//! A voter's key never leaves its data directory; what verifies it stands in a register under its name, from which the
//! leader tells the log who may cosign.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

use crate::audit::checkpoint::RECORDS_MAX;
use crate::audit::{AuditCommand, KeyKind, SignerKey, Signers, VerifierKey, derive};
use crate::command::{Command, Expected, RegisterWrite};
use crate::error::OpenError;
use crate::guarding;
use crate::handle::Cluster;
use crate::raft::RaftRole;
use crate::view::View;
use crate::{Clock, store};

/// How often checkpoints are signed at least, while records come.
const EVERY: Duration = Duration::from_secs(1);
/// Steps from a log that nobody signs to a good checkpoint of all of it: the keys, the signers, the checkpoint, the
/// cosignature.
const STEPS_MAX: usize = 4;
/// Shortest time between two checkpoints of one leader, which so may cover more than [`RECORDS_MAX`]. Each costs a commit, and another for every other voter: at tens
/// of thousands of records a second those were more commits than the records' own. Until then the tail has its MACs.
const PAUSE: Duration = Duration::from_millis(250);
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

    /// Does what is due, every second and whenever it is urgent, until the cluster takes no changes any more.
    pub async fn run(&self) {
        let mut views = self.cluster.watch();
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            tokio::select! {
                _now = every.tick() => {}
                changed = views.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if !self.is_urgent(&views.borrow_and_update(), last.elapsed()) {
                        continue;
                    }
                }
            }
            self.tick().await;
            last = Instant::now();
        }
    }

    /// Whether a checkpoint waits for this node, or the next one is full. `since_last`: when this node last signed.
    fn is_urgent(&self, view: &View, since_last: Duration) -> bool {
        let log = view.audit();
        let mut pending = log.pending().peekable();
        if pending.peek().is_some() {
            return pending.any(|(_, note)| !note.names(self.own.verifier()));
        }
        let signed = log.checkpoint().map_or(0, |(last, _)| last.size);
        is_full(log.size().saturating_sub(signed), since_last) && self.cluster.leads()
    }

    /// Does all that is due, so that a node which ends leaves nothing unsigned that it could sign.
    pub async fn settle(&self) {
        for _ in 0..STEPS_MAX {
            if !self.tick().await {
                return;
            }
        }
    }

    /// Does what is due now, if something is. What fails is due again the next time.
    async fn tick(&self) -> bool {
        let view = self.cluster.view();
        let due = self.due(&view);
        let was_due = !due.is_empty();
        for command in due {
            // Another may have been quicker, or the leader another by now.
            if let Err(cause) = self.cluster.propose(command).await {
                debug!(%cause, "checkpoint not signed");
            }
        }
        was_due
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
        due.extend(guarding::announcement(
            view.parts(),
            view.guards(),
            view.node(),
        ));
        let log = view.audit();
        let secs = (self.clock)().duration_since(UNIX_EPOCH);
        let secs = secs.unwrap_or_default().as_secs();
        let status = self.cluster.raft_status();
        if status.role == RaftRole::Leader {
            due.extend(guarding::due(view.parts(), view.guards()));
            let voters = status.seats.iter().filter(|seat| seat.votes);
            due.extend(self.lead(view, voters.map(|seat| seat.name.as_str()), secs));
        }
        let is_cosigner = log
            .signers()
            .is_some_and(|signers| signers.cosigners().contains(self.own.verifier()));
        for (checkpoint, note) in log.pending().filter(|_| is_cosigner) {
            // What is pending was compared with this node's own root when it was applied.
            if !note.names(self.own.verifier()) {
                let signature = self.own.sign(note.text(), secs);
                let size = checkpoint.size;
                let signature = signature.to_line();
                due.push(AuditCommand::Cosign { size, signature }.into());
            }
        }
        due
    }

    /// What the leader owes: who signs, and the next checkpoint.
    fn lead<'a>(
        &self,
        view: &View,
        voters: impl Iterator<Item = &'a str>,
        secs: u64,
    ) -> Option<Command> {
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
        let mut note = log.candidate()?.sign(&signer).ok()?;
        // The root is this node's own, so that it can vouch for it at once, and alone needs no second command.
        if wanted.cosigners().contains(self.own.verifier()) {
            note.add(self.own.sign(note.text(), secs));
        }
        let note = note.to_text().into_bytes();
        Some(AuditCommand::Checkpoint { note }.into())
    }
}

fn is_full(n_unsigned: u64, since_last: Duration) -> bool {
    n_unsigned >= RECORDS_MAX && since_last >= PAUSE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_checkpoint_is_made_at_once_but_for_a_pause() {
        let before = PAUSE.saturating_sub(Duration::from_millis(1));
        for (n_unsigned, since_last, made) in [
            (RECORDS_MAX, PAUSE, true),
            (RECORDS_MAX - 1, EVERY, false),
            (RECORDS_MAX, before, false),
            (100 * RECORDS_MAX, before, false),
        ] {
            let is_full = is_full(n_unsigned, since_last);
            assert_eq!(is_full, made, "{n_unsigned} after {since_last:?}");
        }
    }
}
