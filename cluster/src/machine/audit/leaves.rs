//! The one way into the log: lines get their place in it, and become leaves of its tree.

use bytes::Bytes;

use super::command::{AuditEffect, Chained};
use super::state::Begun;
use crate::audit::chain;
use crate::audit::hash::{Hash, LEAF_TAG};
use crate::audit::leaf::{self, Place};
use crate::audit::time::{STAMP_BYTES, stamp_bytes};
use crate::audit::tree::Frontier;

/// Leaves of one command, one behind the other in one text, each after the tag with which it is hashed.
pub(super) struct Leaves {
    text: Vec<u8>,
    /// All but their lines, and where those end.
    placed: Vec<(Chained, usize)>,
    ts_ms: u64,
    ts: [u8; STAMP_BYTES],
}

impl Leaves {
    /// Room for these lines. The command comes at `at_ms` by the clock of the leader.
    pub(super) fn new(log: &Begun, at_ms: u64, lines: &[impl AsRef<[u8]>]) -> Self {
        let added = 1 + Place::added_bytes(&log.genesis.log);
        let bytes = lines.iter().map(|line| line.as_ref().len() + added).sum();
        let ts_ms = log.ts_ms.max(at_ms);
        Self {
            text: Vec::with_capacity(bytes),
            placed: Vec::with_capacity(lines.len()),
            ts_ms,
            ts: stamp_bytes(ts_ms),
        }
    }

    /// Gives a line its place: the next one.
    pub(super) fn place(&mut self, log: &mut Begun, line: &[u8]) {
        log.ts_ms = self.ts_ms;
        let seq = log.frontier.size();
        let place = Place {
            log: &log.genesis.log,
            seq,
            ts: &self.ts,
            prev: log.chain,
        };
        let start = self.text.len();
        self.text.push(LEAF_TAG);
        leaf::splice(&mut self.text, line, &place);
        let leaf = Hash::of(&self.text[start..]);
        log.chain = chain::link(&log.chain, seq, &leaf);
        let mut nodes = Vec::new();
        log.frontier.append_with(leaf, |level, _, node| {
            if level > 0 && level % Frontier::TILE_LEVELS == 0 {
                nodes.push(*node);
            }
        });
        let chained = Chained {
            seq,
            key_id: log.ranges.at(seq),
            leaf,
            chain: log.chain,
            nodes,
            line: Bytes::new(),
        };
        self.placed.push((chained, self.text.len()));
    }

    /// Adds the records to `effects`.
    pub(super) fn give_out(self, effects: &mut Vec<AuditEffect>) {
        let text = Bytes::from(self.text);
        let mut start = 0;
        effects.extend(self.placed.into_iter().map(|(mut chained, end)| {
            chained.line = text.slice(start + 1..end);
            start = end;
            AuditEffect::Record(chained)
        }));
    }
}
