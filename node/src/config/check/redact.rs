//! `audit.args` and `audit.redact`.

use std::sync::Arc;

use super::Findings;
use crate::config::Redact;
use crate::config::raw;
use crate::config::tree::KeyPath;

pub(super) fn redact(audit: &raw::Audit, found: &mut Findings) -> Option<Arc<Redact>> {
    let is_on = audit.args == Some(raw::AuditArgs::Redacted);
    if !is_on && audit.redact.is_none() {
        return None;
    }
    let at = KeyPath::root().key("audit").key("redact");
    if !is_on {
        found.warn(
            &at,
            "nothing is hidden, since arguments are not recorded",
            "add `args: redacted` to `audit`, or remove it",
        );
    }
    let none = raw::Redact::default();
    let rules = audit.redact.as_ref().unwrap_or(&none);
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (fields, patterns) = (list(&rules.fields), list(&rules.patterns));
    match Redact::new(&fields, &patterns) {
        Ok(rules) => is_on.then(|| Arc::new(rules)),
        Err(wrong) => {
            for wrong in wrong {
                let (key, list, remedy) = match wrong.is_pattern {
                    true => ("patterns", &patterns, "write what it should match"),
                    false => (
                        "fields",
                        &fields,
                        "write a key, or a path of keys with dots",
                    ),
                };
                let text = list.get(wrong.index).map_or("", String::as_str);
                let what = format!("{text:?} can't be used: {}", wrong.why);
                found.refuse(&at.key(key).index(wrong.index), what, remedy);
            }
            None
        }
    }
}
