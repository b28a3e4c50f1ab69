//! Refusals: a code, and what it is about. The words stay out of the replicated state, so that a version may mend them.

use lockgate_proto::id::{NodeId, NodeName, ServerName};
use lockgate_proto::peer::v1;

use crate::audit::leaf::LineFault;
use crate::machine::audit::AuditRefusal;
use crate::machine::{Refusal, subject};

pub(super) fn to(refusal: &Refusal) -> v1::Refusal {
    let (code, subject, have) = parts(refusal);
    v1::Refusal {
        code,
        subject: subject.to_owned(),
        have,
    }
}

/// Codes are never used for anything else again.
fn parts(refusal: &Refusal) -> (u32, &str, u64) {
    use Refusal as R;
    match refusal {
        R::KeyExists { id } => (1, id, 0),
        R::KeyValueTaken { id } => (2, id, 0),
        R::UnknownKey { id } => (3, id, 0),
        R::KeyRevoked { id } => (4, id, 0),
        R::ServerExists { name } => (5, name.as_str(), 0),
        R::UnknownServer { name } => (6, name.as_str(), 0),
        R::KeyringInstalled => (7, "", 0),
        R::StaleKeyring { revision } => (8, "", *revision),
        R::BadLength { what, limit } => (9, what, *limit as u64),
        R::TooMany { limit } => (10, "", *limit as u64),
        R::StaleConfig { version } => (11, "", *version),
        R::UnknownVersion { version } => (12, "", *version),
        R::StaleRegister { key, revision } => (13, key, *revision),
        R::Founded => (14, "", 0),
        R::NotFounded => (15, "", 0),
        R::UnknownNode { node } => (16, "", node.0),
        R::UnknownNodeName { name } => (17, name.as_str(), 0),
        R::NodeExists { name } => (18, name.as_str(), 0),
        R::LastVoter => (19, "", 0),
        R::TokenExists { id } => (20, id, 0),
        R::UnknownToken { id } => (21, id, 0),
        R::StaleBoot { boot } => (22, "", *boot),
        R::Settled { serial } => (23, "", *serial),
        R::ApprovalExists { id } => (24, id, 0),
        R::UnknownApproval { id } => (25, id, 0),
        R::ApprovalEnded { id } => (26, id, 0),
        R::HoldsShards { node } => (27, "", node.0),
        R::Audit(refusal) => audit_parts(refusal),
        R::Newer { code } => (*code, "", 0),
    }
}

/// Refusals of the audit log.
fn audit_parts(refusal: &AuditRefusal) -> (u32, &str, u64) {
    use AuditRefusal as A;
    match refusal {
        A::NotBegun => (28, "", 0),
        A::Begun => (29, "", 0),
        A::Name { name } => (30, name, 0),
        A::BadBatch { limit } => (31, "", *limit as u64),
        A::Line { local_seq, fault } => (32, fault.word(), *local_seq),
        A::Closed { node, boot } => (33, node, *boot),
        A::KeyId { key_id, current } => {
            let both = u64::from(*current) << 32 | u64::from(*key_id);
            (34, "", both)
        }
        A::Signers { limit } => (35, "", *limit as u64),
        A::NoSigners => (36, "", 0),
        A::Stale { size } => (37, "", *size),
        A::WrongRoot { size } => (38, "", *size),
        A::WrongNote => (39, "", 0),
    }
}

fn audit_from(code: u32, text: String, have: u64) -> Option<AuditRefusal> {
    use AuditRefusal as A;
    let limit = usize::try_from(have).unwrap_or(usize::MAX);
    Some(match code {
        28 => A::NotBegun,
        29 => A::Begun,
        30 => A::Name { name: text },
        31 => A::BadBatch { limit },
        32 => A::Line {
            local_seq: have,
            fault: LineFault::from_word(&text)?,
        },
        33 => A::Closed {
            node: text,
            boot: have,
        },
        // The two halves of one number.
        34 => A::KeyId {
            key_id: have as u32,
            current: (have >> 32) as u32,
        },
        35 => A::Signers { limit },
        36 => A::NoSigners,
        37 => A::Stale { size: have },
        38 => A::WrongRoot { size: have },
        39 => A::WrongNote,
        _ => return None,
    })
}

pub(super) fn from(message: v1::Refusal) -> Refusal {
    use Refusal as R;
    let v1::Refusal {
        code,
        subject: text,
        have,
    } = message;
    let limit = usize::try_from(have).unwrap_or(usize::MAX);
    match code {
        1 => R::KeyExists { id: text },
        2 => R::KeyValueTaken { id: text },
        3 => R::UnknownKey { id: text },
        4 => R::KeyRevoked { id: text },
        5 => R::ServerExists {
            name: ServerName::new(text),
        },
        6 => R::UnknownServer {
            name: ServerName::new(text),
        },
        7 => R::KeyringInstalled,
        8 => R::StaleKeyring { revision: have },
        9 => match subject(&text) {
            Some(what) => R::BadLength { what, limit },
            None => R::Newer { code },
        },
        10 => R::TooMany { limit },
        11 => R::StaleConfig { version: have },
        12 => R::UnknownVersion { version: have },
        13 => R::StaleRegister {
            key: text,
            revision: have,
        },
        14 => R::Founded,
        15 => R::NotFounded,
        16 => R::UnknownNode { node: NodeId(have) },
        17 => R::UnknownNodeName {
            name: NodeName::new(text),
        },
        18 => R::NodeExists {
            name: NodeName::new(text),
        },
        19 => R::LastVoter,
        20 => R::TokenExists { id: text },
        21 => R::UnknownToken { id: text },
        22 => R::StaleBoot { boot: have },
        23 => R::Settled { serial: have },
        24 => R::ApprovalExists { id: text },
        25 => R::UnknownApproval { id: text },
        26 => R::ApprovalEnded { id: text },
        27 => R::HoldsShards { node: NodeId(have) },
        code => audit_from(code, text, have).map_or(R::Newer { code }, R::Audit),
    }
}
