//! Part of the machine: calls that wait for a person. A request is decided once or runs out; what has ended is kept
//! for a while, so that the node that waits for it and whoever looks for it find how it ended.

use std::collections::{BTreeMap, VecDeque};

use super::limits::{
    ARGUMENTS, ID, NAME, NAME_BYTES_MAX, REASON, REASON_BYTES_MAX, WHO, check_bound, check_length,
};
use super::{Refusal, Stamp};
use crate::command::{ApprovalRequest, ApprovalsCommand, ChangeNote, Verdict};

/// Most requests that wait.
const OPEN_MAX: usize = 1024;
/// Requests that have ended and are kept.
const ENDED_KEPT: usize = 1024;
/// Longest name in a call, in bytes.
const CALL_NAME_BYTES_MAX: usize = 512;
/// Longest shown arguments, in bytes.
const ARGUMENTS_BYTES_MAX: usize = 16 << 10;
/// Longest time that a request waits, in milliseconds: a week.
const LIFETIME_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// One request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// What is asked.
    pub request: ApprovalRequest,
    /// When it was stored, in milliseconds since 1970.
    pub requested_at_ms: u64,
    /// Until when it can be decided.
    pub expires_at_ms: u64,
    /// How it ended; `None` while it waits.
    pub ending: Option<Ending>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Somebody decided.
    Decided {
        /// How.
        verdict: Verdict,
        /// Who and why.
        note: ChangeNote,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
    /// Nobody did in time.
    Expired {
        /// When that was noticed, in milliseconds since 1970.
        at_ms: u64,
    },
}

/// Open requests by id, and ended ones, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Approvals {
    pub(super) open: BTreeMap<String, Approval>,
    pub(super) ended: VecDeque<Approval>,
}

impl Approvals {
    /// Requests that wait, by id.
    pub(crate) fn open(&self) -> &BTreeMap<String, Approval> {
        &self.open
    }

    /// Requests that have ended, oldest first.
    pub(crate) fn ended(&self) -> impl ExactSizeIterator<Item = &Approval> {
        self.ended.iter()
    }

    pub(super) fn apply(&mut self, command: ApprovalsCommand, stamp: Stamp) -> Result<(), Refusal> {
        self.expire_due(stamp.at_ms);
        match command {
            ApprovalsCommand::Request {
                request,
                lifetime_ms,
            } => self.request(request, lifetime_ms.min(LIFETIME_MS_MAX), stamp.at_ms),
            ApprovalsCommand::Decide { id, verdict, note } => {
                self.decide(&id, verdict, note, stamp.at_ms)
            }
            ApprovalsCommand::ExpireDue => Ok(()),
        }
    }

    fn request(
        &mut self,
        request: ApprovalRequest,
        lifetime_ms: u64,
        at_ms: u64,
    ) -> Result<(), Refusal> {
        check_length(ID, request.id.as_bytes(), NAME_BYTES_MAX)?;
        let tenant = request.tenant.as_ref().map_or("", |tenant| tenant.as_str());
        let (principal, server) = (request.principal.as_str(), request.server.as_str());
        for name in [principal, tenant, server, &request.tool] {
            check_bound(NAME, name.as_bytes(), CALL_NAME_BYTES_MAX)?;
        }
        check_bound(ARGUMENTS, request.arguments.as_bytes(), ARGUMENTS_BYTES_MAX)?;
        check_bound(REASON, request.reason.as_bytes(), REASON_BYTES_MAX)?;
        if self.find(&request.id).is_some() {
            return Err(Refusal::ApprovalExists { id: request.id });
        }
        if self.open.len() == OPEN_MAX {
            return Err(Refusal::TooMany { limit: OPEN_MAX });
        }
        let approval = Approval {
            requested_at_ms: at_ms,
            expires_at_ms: at_ms.saturating_add(lifetime_ms),
            ending: None,
            request,
        };
        self.open.insert(approval.request.id.clone(), approval);
        Ok(())
    }

    fn decide(
        &mut self,
        id: &str,
        verdict: Verdict,
        note: ChangeNote,
        at_ms: u64,
    ) -> Result<(), Refusal> {
        check_bound(WHO, note.who.as_bytes(), NAME_BYTES_MAX)?;
        check_bound(REASON, note.why.as_bytes(), REASON_BYTES_MAX)?;
        let Some(approval) = self.open.remove(id) else {
            let id = id.to_owned();
            return Err(match self.find(&id) {
                Some(_) => Refusal::ApprovalEnded { id },
                None => Refusal::UnknownApproval { id },
            });
        };
        let ending = Ending::Decided {
            verdict,
            note,
            at_ms,
        };
        self.end(approval, ending);
        Ok(())
    }

    fn expire_due(&mut self, at_ms: u64) {
        let due = self
            .open
            .extract_if(.., |_, one| one.expires_at_ms <= at_ms);
        let due: Vec<_> = due.map(|(_, approval)| approval).collect();
        for approval in due {
            self.end(approval, Ending::Expired { at_ms });
        }
    }

    fn end(&mut self, mut approval: Approval, ending: Ending) {
        approval.ending = Some(ending);
        if self.ended.len() == ENDED_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(approval);
    }

    fn find(&self, id: &str) -> Option<&Approval> {
        let ended = || self.ended.iter().find(|one| one.request.id == id);
        self.open.get(id).or_else(ended)
    }
}
