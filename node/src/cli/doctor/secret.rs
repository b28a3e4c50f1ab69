//! Whether the secret of the operator guards the audit log.

use serde_json::Value;

use super::super::audit::awaited;
use super::super::client::Client;
use super::{Check, Verdict};
use crate::config::Config;

const NAME: &str = "audit.hmac_key_env";

/// `runs`: whether a gateway of this configuration does. Nothing where no secret is named.
pub(super) async fn guards(config: &Config, client: &Client, runs: bool) -> Option<Check> {
    if config.node.guards.is_empty() {
        return None;
    }
    if !runs {
        return Some(Check::good(NAME, "the variable holds a secret"));
    }
    Some(match client.get("audit/keys").await {
        Ok(keys) => judge(&keys, config.node.cluster.is_some()),
        Err(failure) => Check::new(NAME, Verdict::Unchecked, failure.message, failure.remedy),
    })
}

/// `keys`: what the running gateway says of them.
fn judge(keys: &Value, has_others: bool) -> Check {
    let warning = |detail: &str, remedy: &str| Check::new(NAME, Verdict::Warning, detail, remedy);
    if keys["secret"].is_null() {
        let detail = "the running gateway was started without the secret";
        return warning(detail, "restart it with the variable in its environment");
    }
    if let Some(awaited) = awaited(&keys["secret"]) {
        let detail = format!("the secret is not in force, it waits for {awaited}");
        let remedy = "give all nodes the same secret in front, and restart one after the other";
        return warning(&detail, remedy);
    }
    let detail = "the secret is in force: records on disks, in copies and in exports are not forged without it";
    match has_others {
        true => Check::good(NAME, detail),
        false => Check::good(
            NAME,
            format!(
                "{detail}; a lone node makes the newest ones anew from its replicated log, which it does not guard"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(secret: &Value, has_others: bool, result: Verdict, detail: &str) {
        let check = judge(&json!({ "keys": [], "secret": secret }), has_others);
        assert_eq!(check.result, result, "{check:?}");
        assert!(check.detail.contains(detail), "{check:?}");
        assert_eq!(check.remedy.is_empty(), result == Verdict::Good);
    }

    #[test]
    fn a_secret_is_in_force_or_waits_or_is_not_there() {
        let secret = |in_force, awaits: &[&str]| json!({ "in_force": in_force, "awaits": awaits });
        check(&Value::Null, true, Verdict::Warning, "without the secret");
        let waits = "waits for n2, n3";
        check(&secret(false, &["n2", "n3"]), true, Verdict::Warning, waits);
        check(
            &secret(false, &[]),
            false,
            Verdict::Warning,
            "waits for the leader",
        );
        check(&secret(true, &[]), true, Verdict::Good, "is in force");
        check(&secret(true, &["n2"]), true, Verdict::Good, "is in force");
        check(&secret(true, &[]), false, Verdict::Good, "a lone node");
    }
}
