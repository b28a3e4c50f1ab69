//! Approvals.

use lockgate_proto::peer::v1;
use lockgate_proto::peer::v1::stored_approval::{Decision, Ending as Wire};

use crate::command::Verdict;
use crate::command::wire::{WireError, need, note_from, note_to, request_from, request_to};
use crate::machine::approvals::{Approval, Approvals, Ending};

pub(super) fn to(approvals: &Approvals) -> v1::ApprovalsPart {
    v1::ApprovalsPart {
        open: approvals.open.values().map(approval_to).collect(),
        ended: approvals.ended.iter().map(approval_to).collect(),
    }
}

pub(super) fn from(part: v1::ApprovalsPart) -> Result<Approvals, WireError> {
    let mut approvals = Approvals::default();
    for approval in part.open {
        let approval = approval_from(approval)?;
        let id = approval.request.id.clone();
        approvals.open.insert(id, approval);
    }
    let ended = part.ended.into_iter().map(approval_from);
    approvals.ended = ended.collect::<Result<_, _>>()?;
    Ok(approvals)
}

fn approval_to(approval: &Approval) -> v1::StoredApproval {
    let ending = approval.ending.as_ref().map(|ending| match ending {
        Ending::Decided {
            verdict,
            note,
            at_ms,
        } => Wire::Decision(Decision {
            allow: *verdict == Verdict::Allow,
            note: Some(note_to(note)),
            at_ms: *at_ms,
        }),
        Ending::Expired { at_ms } => Wire::ExpiredAtMs(*at_ms),
    });
    v1::StoredApproval {
        request: Some(request_to(&approval.request)),
        requested_at_ms: approval.requested_at_ms,
        expires_at_ms: approval.expires_at_ms,
        ending,
    }
}

fn approval_from(stored: v1::StoredApproval) -> Result<Approval, WireError> {
    let ending = stored.ending.map(|ending| match ending {
        Wire::Decision(decision) => Ending::Decided {
            verdict: if decision.allow {
                Verdict::Allow
            } else {
                Verdict::Deny
            },
            note: note_from(decision.note.unwrap_or_default()),
            at_ms: decision.at_ms,
        },
        Wire::ExpiredAtMs(at_ms) => Ending::Expired { at_ms },
    });
    Ok(Approval {
        request: request_from(need("request", stored.request)?)?,
        requested_at_ms: stored.requested_at_ms,
        expires_at_ms: stored.expires_at_ms,
        ending,
    })
}
