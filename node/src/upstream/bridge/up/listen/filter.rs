//! What somebody wants to hear of a stateless server.

use std::collections::BTreeSet;

use lockgate_proto::jsonrpc::encode_str;
use lockgate_proto::mcp::method;

/// Kinds of lists: capability, member of the filter, notification.
pub(super) const LISTS: [(&str, &str, &str); 3] = [
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
    /// Changes of these of the [`LISTS`]. `None` when it is none of them.
    pub(super) fn lists(wanted: [bool; LISTS.len()]) -> Option<Self> {
        let wanted = LISTS.iter().zip(wanted).filter(|(_, wanted)| *wanted);
        let (mut flags, mut missed) = (Vec::new(), Vec::new());
        for ((_, flag, changed), _) in wanted {
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
