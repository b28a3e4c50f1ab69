//! Checkpoints: signed by the leader, cosigned by voters, good with a majority.

use super::command::{AuditEffect, AuditRefusal, AuditReply};
use super::state::Begun;
use super::{METHOD_SIGNERS, text};
use crate::audit::checkpoint::{Checkpoint, Signers};
use crate::audit::key::VerifierKey;
use crate::audit::note::{Note, Signature};

/// Most voters. Keeps the record that names their keys within a line.
const COSIGNERS_MAX: usize = 9;
/// Longest vkey, in bytes.
const VKEY_BYTES_MAX: usize = 192;
/// Checkpoints that may wait for cosignatures at a time.
const PENDING_MAX: usize = 4;

impl Begun {
    pub(super) fn set_signers(
        &mut self,
        log: &str,
        cosigners: &[String],
        at_ms: u64,
        effects: &mut Vec<AuditEffect>,
    ) -> Result<AuditReply, AuditRefusal> {
        let signers = parse_signers(log, cosigners);
        let signers = signers.ok_or(AuditRefusal::Signers {
            limit: COSIGNERS_MAX,
        })?;
        let mut args = b"{\"log\":".to_vec();
        text::quoted(&mut args, &signers.log().to_string(), usize::MAX);
        text::raw(&mut args, "cosigners", "[");
        for (at, key) in signers.cosigners().iter().enumerate() {
            if at > 0 {
                args.push(b',');
            }
            text::quoted(&mut args, &key.to_string(), usize::MAX);
        }
        args.push(b']');
        self.write_own(METHOD_SIGNERS, args, at_ms, effects);
        // What waits was signed by, and waits for, keys that count no more.
        self.pending.clear();
        self.signers = Some(signers);
        Ok(AuditReply::Done)
    }

    pub(super) fn checkpoint(
        &mut self,
        note: &[u8],
        effects: &mut Vec<AuditEffect>,
    ) -> Result<AuditReply, AuditRefusal> {
        let signers = self.signers.as_ref().ok_or(AuditRefusal::NoSigners)?;
        let note = Note::parse(note).map_err(|_| AuditRefusal::WrongNote)?;
        let (checkpoint, cosigned) = signers
            .open(&self.genesis.origin(), &note)
            .map_err(|_| AuditRefusal::WrongNote)?;
        let size = checkpoint.size;
        let newest = self.pending.back().or(self.good.as_ref());
        let is_new = newest.is_none_or(|(newest, _)| newest.size < size);
        let mark = self.marks.iter().rev().find(|(marked, _)| *marked == size);
        match mark {
            Some((_, root)) if is_new && *root != checkpoint.root => {
                return Err(AuditRefusal::WrongRoot { size });
            }
            Some(_) if is_new => {}
            _ => return Err(AuditRefusal::Stale { size }),
        }
        if self.pending.len() == PENDING_MAX {
            self.pending.pop_front();
        }
        let is_good = cosigned >= signers.majority();
        self.pending.push_back((checkpoint, note));
        Ok(self.settle(size, is_good, effects))
    }

    pub(super) fn cosign(
        &mut self,
        size: u64,
        signature: &str,
        effects: &mut Vec<AuditEffect>,
    ) -> Result<AuditReply, AuditRefusal> {
        let signers = self.signers.as_ref().ok_or(AuditRefusal::NoSigners)?;
        let signature = Signature::parse(signature).map_err(|_| AuditRefusal::WrongNote)?;
        let pending = self.pending.iter_mut();
        let Some((_, note)) = pending.into_iter().find(|(waits, _)| waits.size == size) else {
            return Err(AuditRefusal::Stale { size });
        };
        let known = signers.cosigners().iter();
        let key = known.into_iter().find(|key| key.is_named_in(&signature));
        if !key.is_some_and(|key| key.verify(note.text(), &signature)) {
            return Err(AuditRefusal::WrongNote);
        }
        note.add(signature);
        // All of them were verified when they came, by this same rule: what waits goes when the signers change.
        let is_good = signers.named_in(note) >= signers.majority();
        Ok(self.settle(size, is_good, effects))
    }

    /// Ends the wait of the checkpoint of `size` if it is good, and of what it makes needless.
    fn settle(&mut self, size: u64, is_good: bool, effects: &mut Vec<AuditEffect>) -> AuditReply {
        let waits = |(waits, _): &(Checkpoint, Note)| waits.size == size;
        let Some(at) = self.pending.iter().position(waits).filter(|_| is_good) else {
            return AuditReply::Done;
        };
        let last: Option<(Checkpoint, Note)> = self.pending.drain(..=at).next_back();
        if let Some((_, note)) = &last {
            effects.push(AuditEffect::Checkpoint {
                size,
                note: note.to_text().into_bytes(),
            });
        }
        self.good = last;
        self.marks.retain(|(marked, _)| *marked > size);
        AuditReply::CheckpointGood
    }
}

/// `None` when a key is none, of the wrong kind, or there are too many.
pub(super) fn parse_signers(log: &str, cosigners: &[String]) -> Option<Signers> {
    let long = |key: &str| key.len() > VKEY_BYTES_MAX;
    if cosigners.len() > COSIGNERS_MAX || long(log) || cosigners.iter().any(|key| long(key)) {
        return None;
    }
    let parsed: Result<Vec<_>, _> = cosigners
        .iter()
        .map(|key| VerifierKey::parse(key))
        .collect();
    Signers::new(VerifierKey::parse(log).ok()?, parsed.ok()?).ok()
}
