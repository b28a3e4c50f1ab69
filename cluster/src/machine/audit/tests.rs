mod guard;

use bytes::Bytes;
use lockgate_proto::peer::v1;
use proptest::prelude::*;

use super::*;
use crate::audit::chain;
use crate::audit::hash::{Hash, leaf_hash};
use crate::audit::leaf::{Head, LineFault};
use crate::audit::note::Note;
use crate::audit::{KeyKind, SignerKey};
use crate::secret::Secret;

fn lines(node: &str, boot: u64, seqs: std::ops::Range<u64>) -> Vec<Bytes> {
    seqs.map(|local_seq| {
        let origin = Origin {
            node,
            boot,
            local_seq,
        };
        let mut line = Vec::new();
        Record::new(origin, 5, Kind::Call).write(&mut line);
        line.into()
    })
    .collect()
}

fn append(node: &str, boot: u64, seqs: std::ops::Range<u64>) -> AuditCommand {
    AuditCommand::Append {
        node: node.to_owned(),
        boot,
        first_local_seq: seqs.start,
        lines: lines(node, boot, seqs),
    }
}

fn genesis() -> Genesis {
    Genesis {
        log: "c1".to_owned(),
        first_key_id: 1,
        previous: None,
    }
}

/// A log, and all lines that came out of it.
struct Harness {
    log: AuditLog,
    out: Vec<AuditEffect>,
}

impl Harness {
    fn new() -> Self {
        let mut harness = Self {
            log: AuditLog::default(),
            out: Vec::new(),
        };
        harness.ok(AuditCommand::Begin(genesis()));
        harness
    }

    fn apply(&mut self, command: AuditCommand) -> Result<AuditReply, AuditRefusal> {
        self.log.apply(command, 1000, &mut self.out)
    }

    #[track_caller]
    fn ok(&mut self, command: AuditCommand) -> AuditReply {
        self.apply(command).unwrap()
    }

    fn records(&self) -> Vec<&Chained> {
        let records = self.out.iter().filter_map(|effect| match effect {
            AuditEffect::Record(record) => Some(record),
            AuditEffect::Checkpoint { .. } => None,
        });
        records.collect()
    }

    fn line(&self, seq: usize) -> String {
        String::from_utf8(self.records()[seq].line.to_vec()).unwrap()
    }
}

#[track_caller]
fn check_appended(
    got: &AuditReply,
    seqs: std::ops::Range<u64>,
    n_duplicates: u64,
    gap: Option<std::ops::Range<u64>>,
) {
    let want = Appended {
        seqs,
        n_duplicates,
        gap,
    };
    assert_eq!(*got, AuditReply::Appended(want));
}

#[test]
fn nothing_goes_into_a_log_that_has_not_begun() {
    let mut log = AuditLog::default();
    let got = log.apply(append("n1", 1, 1..2), 0, &mut Vec::new());
    assert_eq!(got, Err(AuditRefusal::NotBegun));
    let mut begun = Harness::new();
    let again = begun.apply(AuditCommand::Begin(genesis()));
    assert_eq!(again, Err(AuditRefusal::Begun));
}

#[test]
fn every_record_names_the_chain_before_it() {
    let mut log = Harness::new();
    log.ok(append("n1", 1, 1..4));
    log.ok(append("n2", 5, 1..3));
    let mut chain = genesis().head();
    for (seq, record) in (0..).zip(log.records()) {
        let head = Head::read(&record.line).unwrap();
        assert_eq!((head.seq, head.prev, head.log), (seq, chain, "c1"));
        assert_eq!(head.ts, "1970-01-01T00:00:01.000Z");
        assert_eq!(record.leaf, leaf_hash(&record.line));
        chain = chain::link(&chain, seq, &record.leaf);
        assert_eq!(record.chain, chain);
    }
    assert_eq!(log.log.chain(), Some(chain));
    assert_eq!(log.log.size(), 5);
}

#[test]
fn a_batch_that_is_sent_again_changes_nothing() {
    let mut log = Harness::new();
    check_appended(&log.ok(append("n1", 1, 1..4)), 0..3, 0, None);
    let before = log.log.clone();
    check_appended(&log.ok(append("n1", 1, 1..4)), 3..3, 3, None);
    check_appended(&log.ok(append("n1", 1, 2..3)), 3..3, 1, None);
    assert_eq!(log.log, before);
    check_appended(&log.ok(append("n1", 1, 3..6)), 3..5, 1, None);
    assert_eq!(log.log.last_local_seq("n1", 1), 5);
}

#[test]
fn what_is_missing_becomes_a_record() {
    let mut log = Harness::new();
    log.ok(append("n1", 1, 1..3));
    check_appended(&log.ok(append("n1", 1, 6..8)), 3..5, 0, Some(3..6));
    let gap = log.line(2);
    assert!(
        gap.contains("\"node\":\"@cluster\",\"boot\":0,\"local_seq\":1,\"kind\":\"node\""),
        "{gap}"
    );
    let args =
        "\"method\":\"audit/gap\",\"args\":{\"node\":\"n1\",\"boot\":1,\"first\":3,\"last\":5}";
    assert!(gap.contains(args), "{gap}");
    check_appended(&log.ok(append("n1", 1, 3..6)), 5..5, 3, None);
}

#[test]
fn time_never_goes_back() {
    let mut log = Harness::new();
    let mut out = Vec::new();
    log.log
        .apply(append("n1", 1, 1..2), 9000, &mut out)
        .unwrap();
    log.log
        .apply(append("n1", 1, 2..3), 4000, &mut out)
        .unwrap();
    assert_eq!(log.log.ts_ms(), Some(9000));
}

#[test]
fn a_line_that_is_no_record_refuses_its_batch() {
    let mut log = Harness::new();
    let mut lines = lines("n1", 1, 1..3);
    lines[1] = [&lines[1][..], b" "].concat().into();
    let before = log.log.clone();
    let got = log.apply(AuditCommand::Append {
        node: "n1".to_owned(),
        boot: 1,
        first_local_seq: 1,
        lines,
    });
    let fault = LineFault::Fields;
    assert_eq!(
        got,
        Err(AuditRefusal::Line {
            local_seq: 2,
            fault
        })
    );
    assert_eq!(log.log, before);
    assert!(log.out.is_empty());
    for (first, n) in [(0, 1), (1, 0), (u64::MAX, 1), (1, LINES_MAX as u64 + 1)] {
        let got = log.apply(AuditCommand::Append {
            node: "n1".to_owned(),
            boot: 1,
            first_local_seq: first,
            lines: vec![Bytes::new(); usize::try_from(n).unwrap()],
        });
        assert_eq!(got, Err(AuditRefusal::BadBatch { limit: LINES_MAX }));
    }
}

#[test]
fn a_lost_node_leaves_a_record_and_appends_no_more() {
    let mut log = Harness::new();
    log.ok(append("n1", 3, 1..4));
    let lost = AuditCommand::NodeLost {
        node: "n1".to_owned(),
        boot: 4,
    };
    log.ok(lost.clone());
    assert!(
        log.line(3)
            .contains("\"args\":{\"node\":\"n1\",\"boot\":3,\"last_local_seq\":3}")
    );
    assert!(
        log.line(4)
            .contains("\"args\":{\"node\":\"n1\",\"boot\":4,\"last_local_seq\":0}")
    );
    for boot in [3, 4] {
        let node = "n1".to_owned();
        let got = log.apply(append("n1", boot, 4..5));
        assert_eq!(got, Err(AuditRefusal::Closed { node, boot }));
    }
    log.ok(lost);
    assert_eq!(log.log.size(), 5);
    check_appended(&log.ok(append("n1", 5, 1..2)), 5..6, 0, None);
}

#[test]
fn an_earlier_life_is_drained_beside_the_one_that_runs() {
    let mut log = Harness::new();
    log.ok(append("n1", 1, 1..3));
    log.ok(append("n1", 2, 1..2));
    check_appended(&log.ok(append("n1", 1, 3..4)), 3..4, 0, None);
    for boot in 3..=5 {
        log.ok(append("n1", boot, 1..2));
    }
    let node = "n1".to_owned();
    let got = log.apply(append("n1", 1, 4..5));
    assert_eq!(got, Err(AuditRefusal::Closed { node, boot: 1 }));
}

#[test]
fn a_new_key_guards_what_comes_behind_its_rotation() {
    let mut log = Harness::new();
    log.ok(append("n1", 1, 1..3));
    log.ok(AuditCommand::RotateKey { key_id: 7 });
    log.ok(append("n1", 1, 3..4));
    let ids: Vec<_> = log.records().iter().map(|record| record.key_id).collect();
    assert_eq!(ids, [1, 1, 1, 7]);
    assert!(
        log.line(2)
            .contains("\"method\":\"audit/rotate_key\",\"args\":{\"old\":1,\"new\":7}")
    );
    let got = log.apply(AuditCommand::RotateKey { key_id: 7 });
    let refusal = AuditRefusal::KeyId {
        key_id: 7,
        current: 7,
    };
    assert_eq!(got, Err(refusal));
}

fn signer(name: &str, kind: KeyKind, seed: u8) -> SignerKey {
    SignerKey::new(name, kind, &Secret::from_bytes([seed; 32])).unwrap()
}

fn with_voters() -> (Harness, SignerKey, [SignerKey; 3]) {
    let mut log = Harness::new();
    let key = signer("lockgate.audit/c1", KeyKind::Signer, 1);
    let voters = [2, 3, 4].map(|seed| signer(&format!("n{seed}"), KeyKind::Cosigner, seed));
    log.ok(AuditCommand::SetSigners {
        log: key.verifier().to_string(),
        cosigners: voters
            .iter()
            .map(|key| key.verifier().to_string())
            .collect(),
    });
    (log, key, voters)
}

fn signed(log: &AuditLog, key: &SignerKey) -> (u64, Note) {
    let checkpoint = log.candidate().unwrap();
    (checkpoint.size, checkpoint.sign(key).unwrap())
}

fn propose(note: &Note) -> AuditCommand {
    AuditCommand::Checkpoint {
        note: note.to_text().into_bytes(),
    }
}

fn cosign(size: u64, note: &Note, key: &SignerKey) -> AuditCommand {
    AuditCommand::Cosign {
        size,
        signature: key.sign(note.text(), 9).to_line(),
    }
}

#[test]
fn a_majority_makes_a_checkpoint_good() {
    let (mut log, key, voters) = with_voters();
    let (size, note) = signed(&log.log, &key);
    log.ok(append("n1", 1, 1..3));
    assert_eq!(log.ok(propose(&note)), AuditReply::Done);
    assert_eq!(log.ok(cosign(size, &note, &voters[2])), AuditReply::Done);
    assert_eq!(log.ok(cosign(size, &note, &voters[2])), AuditReply::Done);
    assert!(log.log.checkpoint().is_none());
    let good = log.ok(cosign(size, &note, &voters[0]));
    assert_eq!(good, AuditReply::CheckpointGood);
    let (checkpoint, kept) = log.log.checkpoint().unwrap();
    assert_eq!((checkpoint.size, kept.signatures().len()), (size, 3));
    assert_eq!(log.log.pending().count(), 0);
    assert!(matches!(
        log.out.last(),
        Some(AuditEffect::Checkpoint { .. })
    ));
    let late = log.apply(cosign(size, &note, &voters[1]));
    assert_eq!(late, Err(AuditRefusal::Stale { size }));
    assert_eq!(log.log.candidate().unwrap().size, size + 2);
}

#[test]
fn a_checkpoint_can_come_with_its_cosignatures() {
    let (mut log, key, voters) = with_voters();
    let (size, mut note) = signed(&log.log, &key);
    note.add(voters[0].sign(note.text(), 9));
    assert_eq!(log.ok(propose(&note)), AuditReply::Done);
    let again = log.ok(cosign(size, &note, &voters[0]));
    assert_eq!(again, AuditReply::Done);
    let good = log.ok(cosign(size, &note, &voters[1]));
    assert_eq!(good, AuditReply::CheckpointGood);

    log.ok(append("n1", 1, 1..3));
    let (_, mut note) = signed(&log.log, &key);
    note.add(voters[0].sign(note.text(), 9));
    note.add(voters[1].sign(note.text(), 9));
    assert_eq!(log.ok(propose(&note)), AuditReply::CheckpointGood);
}

#[test]
fn checkpoints_of_another_tree_or_signer_are_refused() {
    let (mut log, key, voters) = with_voters();
    log.ok(append("n1", 1, 1..3));
    let size = log.log.size();
    let mut wrong = log.log.candidate().unwrap();
    wrong.root = Hash::default();
    let got = log.apply(propose(&wrong.sign(&key).unwrap()));
    assert_eq!(got, Err(AuditRefusal::WrongRoot { size }));
    wrong.size = 99;
    let got = log.apply(propose(&wrong.sign(&key).unwrap()));
    assert_eq!(got, Err(AuditRefusal::Stale { size: 99 }));
    let other = signer("lockgate.audit/c1", KeyKind::Signer, 9);
    let got = log.apply(propose(&signed(&log.log, &other).1));
    assert_eq!(got, Err(AuditRefusal::WrongNote));

    let (size, note) = signed(&log.log, &key);
    log.ok(propose(&note));
    let other = signer("n2", KeyKind::Cosigner, 9);
    let got = log.apply(cosign(size, &note, &other));
    assert_eq!(got, Err(AuditRefusal::WrongNote));
    assert!(log.apply(propose(&note)).is_err());
    let got = log.apply(cosign(77, &note, &voters[0]));
    assert_eq!(got, Err(AuditRefusal::Stale { size: 77 }));
}

#[test]
fn keys_that_are_none_leave_the_old_ones_in_place() {
    let (mut log, _, _) = with_voters();
    let before = log.log.clone();
    let got = log.apply(AuditCommand::SetSigners {
        log: "x".to_owned(),
        cosigners: Vec::new(),
    });
    assert!(matches!(got, Err(AuditRefusal::Signers { .. })));
    assert_eq!(log.log, before);
}

#[test]
fn commands_come_back_from_the_wire() {
    for command in [
        AuditCommand::Begin(Genesis {
            previous: Some(b"note".to_vec()),
            ..genesis()
        }),
        append("n1", 3, 7..9),
        AuditCommand::SetSigners {
            log: "a".to_owned(),
            cosigners: vec!["b".to_owned()],
        },
        AuditCommand::Checkpoint {
            note: b"note".to_vec(),
        },
        AuditCommand::Cosign {
            size: 4,
            signature: "s".to_owned(),
        },
        AuditCommand::RotateKey { key_id: 3 },
        AuditCommand::SetGuard {
            key_id: 4,
            guard: Mark([5; 32]),
        },
        AuditCommand::NodeLost {
            node: "n1".to_owned(),
            boot: 2,
        },
    ] {
        let wire = v1::AuditCommand::from(command.clone());
        assert_eq!(AuditCommand::try_from(wire), Ok(command));
    }
    assert!(AuditCommand::try_from(v1::AuditCommand::default()).is_err());
    let guard = Bytes::from_static(b"short");
    let set = v1::AuditSetGuard { key_id: 4, guard };
    let set = v1::audit_command::Command::SetGuard(set);
    assert!(AuditCommand::try_from(v1::AuditCommand { command: Some(set) }).is_err());
}

#[test]
fn a_state_comes_back_from_the_wire() {
    let empty = AuditLog::default();
    assert_eq!(AuditLog::try_from(v1::AuditState::from(&empty)), Ok(empty));
    let (mut log, key, voters) = with_voters();
    log.ok(append("n1", 1, 1..30));
    log.ok(AuditCommand::RotateKey { key_id: 2 });
    let (size, note) = signed(&log.log, &key);
    log.ok(propose(&note));
    log.ok(cosign(size, &note, &voters[0]));
    log.ok(cosign(size, &note, &voters[1]));
    log.ok(append("n2", 4, 3..5));
    log.ok(propose(&signed(&log.log, &key).1));
    let state = v1::AuditState::from(&log.log);
    assert_eq!(AuditLog::try_from(state.clone()), Ok(log.log));
    for damaged in [
        v1::AuditState {
            size: 1,
            ..state.clone()
        },
        v1::AuditState {
            chain: Bytes::new(),
            ..state.clone()
        },
        v1::AuditState {
            key_ranges: Vec::new(),
            ..state
        },
    ] {
        assert!(AuditLog::try_from(damaged).is_err());
    }
}

proptest! {
    // A node sends its records in batches, some of them again, some lost: what is in the log is each of them once, in
    // order, or named by a gap.
    #[test]
    fn each_record_is_there_once_or_in_a_gap(batches in prop::collection::vec((0..3_u64, 1..6_u64, any::<bool>()), 1..40)) {
        let mut log = Harness::new();
        let mut sent = [0_u64; 3];
        for (node, n, again) in batches {
            let name = format!("n{node}");
            let at = usize::try_from(node).unwrap();
            let first = if again { sent[at].saturating_sub(2).max(1) } else { sent[at] + n };
            log.ok(append(&name, 1, first..first + n));
            sent[at] = sent[at].max(first + n - 1);
        }
        let mut last = std::collections::HashMap::new();
        for record in log.records() {
            let text = String::from_utf8(record.line.to_vec()).unwrap();
            let head = Head::read(&record.line).unwrap();
            if head.origin.node == LOG_ITSELF {
                let json = |key: &str| {
                    let at = text.find(&format!("\"{key}\":")).unwrap() + key.len() + 3;
                    text[at..].split([',', '}']).next().unwrap().to_owned()
                };
                let at = text.find("\"args\":{\"node\":\"").unwrap() + 16;
                let node = text[at..at + 2].to_owned();
                let first: u64 = json("first").parse().unwrap();
                prop_assert_eq!(first, last.get(&node).copied().unwrap_or(0) + 1);
                last.insert(node, json("last").parse().unwrap());
            } else {
                let last = last.entry(head.origin.node.to_owned()).or_insert(0);
                *last += 1;
                prop_assert_eq!(head.origin.local_seq, *last);
            }
        }
        for (at, sent) in sent.iter().enumerate() {
            prop_assert_eq!(log.log.last_local_seq(&format!("n{at}"), 1), *sent);
        }
    }
}
