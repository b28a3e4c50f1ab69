//! The audit log from the machine to the files and back, by way of everything that can happen to them.

mod guard;
mod prove;
mod reopen;
mod speed;
mod tamper;

use std::path::Path;

use lockgate_cluster::Secret;
use lockgate_cluster::audit::segment::{Limits, Position, SegmentReader, SegmentStore};
use lockgate_cluster::audit::verify::{Report, Trust, verify_segments};
use lockgate_cluster::audit::{
    AuditCommand, AuditEffect, AuditLog, AuditReply, Genesis, KeyKind, Kind, MacKey, MacKeys,
    Origin, Record, SignerKey, Signers,
};

/// A log of three nodes, its keys, and everything that came out of it.
pub(crate) struct Fixture {
    pub(crate) log: AuditLog,
    pub(crate) effects: Vec<AuditEffect>,
    next: [u64; 3],
    key: SignerKey,
    voters: [SignerKey; 3],
    at_ms: u64,
}

pub(crate) fn genesis() -> Genesis {
    Genesis {
        log: "c1".to_owned(),
        first_key_id: 1,
        previous: None,
    }
}

pub(crate) fn mac_keys(ids: &[u32]) -> MacKeys {
    let key = |id: &u32| {
        let byte = u8::try_from(*id).unwrap();
        MacKey::new(*id, &Secret::from_bytes([byte; 32]))
    };
    ids.iter().map(key).collect()
}

fn signer(name: &str, kind: KeyKind, seed: u8) -> SignerKey {
    SignerKey::new(name, kind, &Secret::from_bytes([seed; 32])).unwrap()
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let mut fixture = Self {
            log: AuditLog::default(),
            effects: Vec::new(),
            next: [1; 3],
            key: signer("lockgate.audit/c1", KeyKind::Signer, 1),
            voters: [2, 3, 4].map(|seed| signer(&format!("n{seed}"), KeyKind::Cosigner, seed)),
            at_ms: 1_709_210_096_007,
        };
        fixture.apply(AuditCommand::Begin(genesis()));
        let voters = fixture.voters.iter();
        let cosigners = voters.map(|key| key.verifier().to_string()).collect();
        let log = fixture.key.verifier().to_string();
        fixture.apply(AuditCommand::SetSigners { log, cosigners });
        fixture
    }

    pub(crate) fn apply(&mut self, command: AuditCommand) -> AuditReply {
        self.at_ms += 7;
        let applied = self.log.apply(command, self.at_ms, &mut self.effects);
        applied.unwrap()
    }

    /// Appends `n` records of a node.
    pub(crate) fn append(&mut self, node: usize, n: u64) {
        let first_local_seq = self.next[node];
        let name = format!("n{node}");
        let lines = (first_local_seq..first_local_seq + n).map(|local_seq| {
            let origin = Origin {
                node: &name,
                boot: 1,
                local_seq,
            };
            let mut record = Record::new(origin, self.at_ms, Kind::Call);
            record.tenant = Some("acme");
            record.principal = Some("ci-bot");
            record.server = Some("github");
            record.tool = Some("get_repo");
            record.method = Some("tools/call");
            record.status = Some("ok");
            record.latency_us = Some(local_seq * 3);
            record.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736");
            let mut line = Vec::new();
            record.write(&mut line);
            line.into()
        });
        let lines = lines.collect();
        self.next[node] += n;
        self.apply(AuditCommand::Append {
            node: name,
            boot: 1,
            first_local_seq,
            lines,
        });
    }

    /// Loses `n` records of a node.
    pub(crate) fn lose(&mut self, node: usize, n: u64) {
        self.next[node] += n;
    }

    /// Signs the log as it is, with two voters of three.
    pub(crate) fn checkpoint(&mut self) {
        let checkpoint = self.log.candidate().unwrap();
        let note = checkpoint.sign(&self.key).unwrap();
        self.apply(AuditCommand::Checkpoint {
            note: note.to_text().into_bytes(),
        });
        for voter in 0..2 {
            let signature = self.voters[voter].sign(note.text(), self.at_ms / 1000);
            self.apply(AuditCommand::Cosign {
                size: checkpoint.size,
                signature: signature.to_line(),
            });
        }
    }

    /// A log with all that a log can have: about 200 records.
    pub(crate) fn eventful() -> Self {
        let mut log = Self::new();
        for round in 0..10_u64 {
            log.append(usize::try_from(round % 3).unwrap(), 10 + round);
            match round {
                2 | 5 | 8 => log.checkpoint(),
                3 => log.lose(0, 4),
                6 => {
                    log.apply(AuditCommand::RotateKey { key_id: 2 });
                }
                9 => {
                    let node = "n1".to_owned();
                    log.apply(AuditCommand::NodeLost { node, boot: 1 });
                }
                _ => {}
            }
        }
        log
    }

    pub(crate) fn signers(&self) -> Signers {
        self.log.signers().unwrap().clone()
    }

    pub(crate) fn trust(&self, ids: &[u32]) -> Trust {
        Trust {
            genesis: genesis(),
            keys: mac_keys(ids),
            guards: None,
            signers: vec![self.signers()],
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position {
            frontier: self.log.frontier().unwrap().clone(),
            chain: self.log.chain().unwrap(),
        }
    }

    /// Writes all of it to `dir`, in segments of 40 records.
    pub(crate) fn store(&self, dir: &Path) -> SegmentStore {
        let mut store = open(dir, &start()).unwrap();
        for effects in self.effects.chunks(7) {
            store.append(effects).unwrap();
        }
        store.sync().unwrap();
        store
    }
}

pub(crate) fn start() -> Position {
    Position {
        frontier: lockgate_cluster::audit::Frontier::default(),
        chain: genesis().head(),
    }
}

pub(crate) fn open(
    dir: &Path,
    position: &Position,
) -> Result<SegmentStore, lockgate_cluster::audit::segment::SegmentError> {
    let limits = Limits {
        records: 40,
        ..Limits::default()
    };
    SegmentStore::open(dir, &genesis(), position, mac_keys(&[1, 2]), limits)
}

pub(crate) fn verify(dir: &Path, trust: &Trust) -> Report {
    let reader = SegmentReader::open(dir).unwrap();
    verify_segments(&reader, trust, None, |_, _| {}).unwrap()
}
