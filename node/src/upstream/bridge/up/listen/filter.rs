//! What somebody wants to hear of a stateless server.

use std::collections::BTreeSet;

use lockgate_proto::jsonrpc::{encode_str, find_path};
use lockgate_proto::mcp::method;

/// Kinds of lists: capability, member of the filter, notification.
const LISTS: [(&str, &str, &str); 3] = [
    ("tools", "toolsListChanged", method::TOOLS_CHANGED),
    ("prompts", "promptsListChanged", method::PROMPTS_CHANGED),
    (
        "resources",
        "resourcesListChanged",
        method::RESOURCES_CHANGED,
    ),
];

/// What somebody wants to hear.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// Raw member `notifications` of the request, with its key.
    pub(super) request: String,
    /// What may have been missed while nobody listened, as raw messages.
    pub(super) missed: Vec<String>,
}

impl Filter {
    /// Changes of the lists that the server announces. `None` when it announces none.
    pub(super) fn lists(capabilities: &str) -> Option<Self> {
        let announced = LISTS.iter().filter(|(kind, ..)| {
            find_path(capabilities, &[kind, "listChanged"])
                .is_some_and(|span| span.of(capabilities) == "true")
        });
        let (mut flags, mut missed) = (Vec::new(), Vec::new());
        for (_, flag, changed) in announced {
            flags.push(format!(r#""{flag}":true"#));
            missed.push(format!(r#"{{"jsonrpc":"2.0","method":"{changed}"}}"#));
        }
        (!flags.is_empty()).then(|| Self {
            request: format!(r#""notifications":{{{}}}"#, flags.join(",")),
            missed,
        })
    }

    /// Changes of these resources.
    pub(super) fn resources(uris: &BTreeSet<String>) -> Self {
        let updated = method::RESOURCE_UPDATED;
        let raw: Vec<String> = uris.iter().map(|uri| encode_str(uri)).collect();
        Self {
            request: format!(
                r#""notifications":{{"resourceSubscriptions":[{}]}}"#,
                raw.join(",")
            ),
            missed: raw
                .iter()
                .map(|uri| {
                    format!(r#"{{"jsonrpc":"2.0","method":"{updated}","params":{{"uri":{uri}}}}}"#)
                })
                .collect(),
        }
    }
}
