//! Keys that follow from secrets of the operator.

use super::*;

#[test]
fn a_secret_guards_until_another_one_does() {
    let mut log = Harness::new();
    let set = |key_id, byte| AuditCommand::SetGuard {
        key_id,
        guard: Mark([byte; 32]),
    };
    log.ok(set(2, 0xab));
    log.ok(AuditCommand::RotateKey { key_id: 3 });
    log.ok(set(4, 0xcd));
    for (at, args) in [
        format!("{{\"old\":1,\"new\":2,\"guard\":\"{}\"}}", "ab".repeat(32)),
        format!("{{\"old\":2,\"new\":3,\"guard\":\"{}\"}}", "ab".repeat(32)),
        format!("{{\"old\":3,\"new\":4,\"guard\":\"{}\"}}", "cd".repeat(32)),
    ]
    .iter()
    .enumerate()
    {
        let args = format!("\"method\":\"audit/rotate_key\",\"args\":{args}");
        assert!(log.line(at).contains(&args), "{}", log.line(at));
    }
    let ids: Vec<_> = log.records().iter().map(|record| record.key_id).collect();
    assert_eq!(ids, [1, 2, 3]);
    let (key_id, current) = (4, 4);
    let refusal = AuditRefusal::KeyId { key_id, current };
    assert_eq!(log.apply(set(4, 0xab)), Err(refusal));
    let state = v1::AuditState::from(&log.log);
    assert_eq!(AuditLog::try_from(state.clone()), Ok(log.log));
    let mut damaged = state;
    damaged.key_ranges[1].guard = Bytes::from_static(b"short");
    assert!(AuditLog::try_from(damaged).is_err());
}
