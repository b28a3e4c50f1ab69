//! `ApprovalsCommand`: calls that wait for a person.

use lockgate_proto::id::{Principal, ServerName, Tenant};

use super::ChangeNote;

/// A change of the approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApprovalsCommand {
    /// Stores a request.
    Request {
        /// What is asked.
        request: ApprovalRequest,
        /// How long it may be decided, in milliseconds.
        lifetime_ms: u64,
    },
    /// Decides a request, once.
    Decide {
        /// Which.
        id: String,
        /// How.
        verdict: Verdict,
        /// Who and why.
        note: ChangeNote,
    },
    /// Ends the requests whose time is over.
    ExpireDue,
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// Names it; drawn by the node that stores it.
    pub id: String,
    /// Who asks.
    pub principal: Principal,
    /// Where that principal belongs.
    pub tenant: Option<Tenant>,
    /// Server of the tool.
    pub server: ServerName,
    /// Tool, as the server calls it.
    pub tool: String,
    /// SHA-256 of the arguments: what was approved is what runs.
    pub arguments_digest: [u8; 32],
    /// Arguments as a person may see them, in JSON.
    pub arguments: String,
    /// Why a person is asked.
    pub reason: String,
}

/// How a request was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The call may run.
    Allow,
    /// It may not.
    Deny,
}
