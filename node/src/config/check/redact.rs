//! `audit.args` and `audit.redact`.

use std::sync::Arc;

use super::Findings;
use crate::config::Redact;
use crate::config::raw;
use crate::config::redact::{Place, WrongRule};
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
                refuse(&wrong, &fields, &patterns, &at, found);
            }
            None
        }
    }
}

fn refuse(
    wrong: &WrongRule,
    fields: &[String],
    patterns: &[String],
    at: &KeyPath,
    found: &mut Findings,
) {
    let quoted = |list: &[String], index: usize| {
        let text = list.get(index).map_or("", String::as_str);
        format!("{text:?}")
    };
    let (at, what, remedy) = match wrong.place {
        Place::Fields => (
            at.key("fields"),
            "the list".to_owned(),
            "write fewer keys, or shorter ones",
        ),
        Place::Field(index) => (
            at.key("fields").index(index),
            quoted(fields, index),
            "write a key, or a path of keys with dots",
        ),
        Place::Pattern(index) => (
            at.key("patterns").index(index),
            quoted(patterns, index),
            "write what it should match",
        ),
    };
    found.refuse(&at, format!("{what} can't be used: {}", wrong.why), remedy);
}
