//! Commands on the approvals.

use lockgate_proto::id::{Principal, ServerName, Tenant};
use lockgate_proto::peer::v1;

use super::{WireError, array, bytes, need, note_from, note_to};
use crate::command::{ApprovalRequest, ApprovalsCommand, Verdict};

pub(super) fn command_to(command: &ApprovalsCommand) -> v1::ApprovalsCommand {
    use v1::approvals_command::{Command as Wire, Decide, ExpireDue, Request};
    let command = match command {
        ApprovalsCommand::Request {
            request,
            lifetime_ms,
        } => Wire::Request(Request {
            request: Some(request_to(request)),
            lifetime_ms: *lifetime_ms,
        }),
        ApprovalsCommand::Decide { id, verdict, note } => Wire::Decide(Decide {
            id: id.clone(),
            allow: *verdict == Verdict::Allow,
            note: Some(note_to(note)),
        }),
        ApprovalsCommand::ExpireDue => Wire::ExpireDue(ExpireDue {}),
    };
    v1::ApprovalsCommand {
        command: Some(command),
    }
}

pub(super) fn command_from(message: v1::ApprovalsCommand) -> Result<ApprovalsCommand, WireError> {
    use v1::approvals_command::Command as Wire;
    Ok(match need("approvals command", message.command)? {
        Wire::Request(one) => ApprovalsCommand::Request {
            request: request_from(need("request", one.request)?)?,
            lifetime_ms: one.lifetime_ms,
        },
        Wire::Decide(one) => ApprovalsCommand::Decide {
            id: one.id,
            verdict: if one.allow {
                Verdict::Allow
            } else {
                Verdict::Deny
            },
            note: note_from(one.note.unwrap_or_default()),
        },
        Wire::ExpireDue(_) => ApprovalsCommand::ExpireDue,
    })
}

pub(crate) fn request_to(request: &ApprovalRequest) -> v1::ApprovalRequest {
    v1::ApprovalRequest {
        id: request.id.clone(),
        principal: request.principal.as_str().to_owned(),
        tenant: request.tenant.as_ref().map(|one| one.as_str().to_owned()),
        server: request.server.as_str().to_owned(),
        tool: request.tool.clone(),
        arguments_digest: bytes(&request.arguments_digest),
        arguments: request.arguments.clone(),
        reason: request.reason.clone(),
    }
}

pub(crate) fn request_from(message: v1::ApprovalRequest) -> Result<ApprovalRequest, WireError> {
    Ok(ApprovalRequest {
        id: message.id,
        principal: Principal::new(message.principal),
        tenant: message.tenant.map(Tenant::new),
        server: ServerName::new(message.server),
        tool: message.tool,
        arguments_digest: array("arguments digest", &message.arguments_digest)?,
        arguments: message.arguments,
        reason: message.reason,
    })
}
