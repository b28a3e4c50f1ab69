//! Commands about the audit log, and a log that a secret guards.

use crate::audit::{AuditCommand as C, Genesis, Mark};
use crate::command::Command;

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let guard = Mark([0xd1; 32]);
    let set = C::SetGuard { key_id: 2, guard };
    vec![
        ("audit_rotate_key", C::RotateKey { key_id: 3 }.into()),
        ("audit_set_guard", set.into()),
    ]
}

/// Has a secret guard the log, and then another key of it.
pub(super) fn guarded() -> Vec<Command> {
    let begin = C::Begin(Genesis::of_cluster([0xc1; 16], None));
    let commands = commands().into_iter().rev().map(|(_, command)| command);
    [begin.into()].into_iter().chain(commands).collect()
}
