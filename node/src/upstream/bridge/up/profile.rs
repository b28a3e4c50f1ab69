//! What a session's client declared, as a stateless server is told with every request.

use lockgate_proto::jsonrpc::{Span, Splice, find, find_path};
use lockgate_proto::mcp::Revision;
use serde::{Deserialize, Serialize};

use crate::upstream::bridge::tasks::EXTENSION;
use crate::upstream::link::SessionInit;

/// Keys of `_meta` that the gateway sets itself, in the order in which they are written.
pub(super) const META_KEYS: [&str; 4] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
];

/// Severities of RFC 5424 as `logging/setLevel` names them, from the least to the most severe.
const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// Position of a severity; `None` when there is none of that name.
pub(super) fn severity(level: &str) -> Option<usize> {
    LEVELS.iter().position(|known| *known == level)
}

/// What was agreed at `initialize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Profile {
    /// Revision of the session.
    pub(super) revision: Revision,
    /// Raw `ClientCapabilities` of 2026-07-28.
    capabilities: String,
    /// Raw `Implementation` of the client.
    client_info: String,
}

/// Something that a server may ask of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ability {
    /// `elicitation/create` with a form.
    Form,
    /// `elicitation/create` with a URL.
    Url,
    /// `sampling/createMessage`.
    Sampling,
    /// `sampling/createMessage` with tools.
    SamplingTools,
    /// `roots/list`.
    Roots,
}

impl Profile {
    /// Of a client that opens a session. It may speak any revision of the session era.
    pub(super) fn new(init: &SessionInit) -> Self {
        let revision = init.revision.min(Revision::SESSION_LATEST);
        Self {
            revision,
            capabilities: stateless_capabilities(&init.capabilities, revision),
            client_info: init.client_info.to_string(),
        }
    }

    /// What goes with every request; `log_level` is the client's, if it ever set one.
    pub(super) fn metas(&self, log_level: Option<&str>) -> Metas {
        Metas {
            plain: self.meta(log_level, self.capabilities.clone()),
            tasks: self.meta(log_level, with_tasks(&self.capabilities)),
        }
    }

    /// Raw values of [`META_KEYS`].
    fn meta(&self, log_level: Option<&str>, capabilities: String) -> Meta {
        let version = format!("\"{}\"", Revision::V2026_07_28);
        let mut values = vec![
            version,
            capabilities,
            // `name` and `version` are required there, and `clientInfo` itself is not.
            if find(&self.client_info, "name").is_some() {
                self.client_info.clone()
            } else {
                String::new()
            },
        ];
        values.extend(log_level.map(|level| format!("\"{level}\"")));
        Meta::new(values)
    }

    /// Whether the client may be asked for it.
    pub(super) fn declares(&self, ability: Ability) -> bool {
        let has = |path: &[&str]| {
            find_path(&self.capabilities, path)
                .is_some_and(|span| !matches!(span.of(&self.capabilities), "null" | "false"))
        };
        match ability {
            Ability::Roots => has(&["roots"]),
            Ability::Sampling => has(&["sampling"]),
            Ability::SamplingTools => has(&["sampling", "tools"]),
            Ability::Url => has(&["elicitation", "url"]),
            // `{}` means forms.
            Ability::Form => {
                has(&["elicitation", "form"])
                    || (has(&["elicitation"]) && !has(&["elicitation", "url"]))
            }
        }
    }
}

/// What goes with requests.
#[derive(Debug)]
pub(super) struct Metas {
    /// With most.
    pub(super) plain: Meta,
    /// With those that may become tasks, or are about one.
    pub(super) tasks: Meta,
}

/// `capabilities` of a client for whom the gateway follows tasks.
fn with_tasks(capabilities: &str) -> String {
    let mut splice = Splice::new(capabilities);
    match find(capabilities, "extensions") {
        Some(own) if own.of(capabilities).starts_with('{') => {
            splice.set_member(own, EXTENSION, "{}");
        }
        _ => {
            let whole = Span::new(0, capabilities.len());
            splice.set_member(whole, "extensions", &format!(r#"{{"{EXTENSION}":{{}}}}"#));
        }
    }
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

/// Members that every request carries in its `_meta`.
#[derive(Debug)]
pub(super) struct Meta {
    /// Key and raw value.
    pub(super) members: Vec<(&'static str, String)>,
    /// The same as text, without braces.
    pub(super) joined: String,
}

impl Meta {
    fn new(values: Vec<String>) -> Self {
        let members: Vec<_> = META_KEYS
            .into_iter()
            .zip(values)
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let written: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        Self {
            joined: written.join(","),
            members,
        }
    }
}

/// What a client of the session era declares, in the words of 2026-07-28. What its revision did not know yet is left
/// out, so that no server asks for it.
fn stateless_capabilities(raw: &str, revision: Revision) -> String {
    let mut splice = Splice::new(raw);
    let whole = Span::new(0, raw.len());
    splice.remove_member(whole, "tasks");
    if let Some(roots) = find(raw, "roots") {
        splice.remove_member(roots, "listChanged");
    }
    if let Some(extensions) = find(raw, "extensions") {
        splice.remove_member(extensions, EXTENSION);
    }
    if revision < Revision::V2025_06_18 {
        splice.remove_member(whole, "elicitation");
    }
    if revision < Revision::V2025_11_25 {
        if let Some(sampling) = find(raw, "sampling") {
            splice.remove_member(sampling, "tools");
        }
        if let Some(elicitation) =
            find(raw, "elicitation").filter(|_| revision >= Revision::V2025_06_18)
        {
            splice.remove_member(elicitation, "url");
        }
    }
    let bytes = splice.finish();
    // A splice of text is text.
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(revision: Revision, capabilities: &str) -> Profile {
        Profile::new(&SessionInit {
            revision,
            capabilities: capabilities.into(),
            client_info: r#"{"name":"c","version":"1"}"#.into(),
            now_ms: 0,
        })
    }

    #[track_caller]
    fn check(revision: Revision, declared: &str, told: &str) {
        assert_eq!(profile(revision, declared).capabilities, told);
    }

    #[test]
    fn a_server_is_told_what_the_client_declared() {
        let latest = Revision::V2025_11_25;
        check(latest, "{}", "{}");
        check(
            latest,
            r#"{"roots":{"listChanged":true},"tasks":{"list":{}},"experimental":{"a":1}}"#,
            r#"{"roots":{},"experimental":{"a":1}}"#,
        );
        let url = r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}}}"#;
        check(latest, url, url);
        check(
            Revision::V2025_06_18,
            url,
            r#"{"elicitation":{"form":{}},"sampling":{}}"#,
        );
        check(Revision::V2025_03_26, url, r#"{"sampling":{}}"#);
    }

    #[test]
    fn forms_are_what_an_empty_elicitation_means() {
        let may =
            |declared: &str, ability| profile(Revision::V2025_11_25, declared).declares(ability);
        assert!(may(r#"{"elicitation":{}}"#, Ability::Form));
        assert!(!may(r#"{"elicitation":{}}"#, Ability::Url));
        assert!(!may(r#"{"elicitation":{"url":{}}}"#, Ability::Form));
        assert!(may(r#"{"sampling":{}}"#, Ability::Sampling));
        assert!(!may(r#"{"sampling":{}}"#, Ability::SamplingTools));
        assert!(!may("{}", Ability::Roots));
        assert!(!may(r#"{"roots":null}"#, Ability::Roots));
    }

    #[test]
    fn every_request_carries_version_capabilities_and_name() {
        let profile = profile(Revision::V2025_11_25, "{}");
        assert_eq!(
            profile.metas(Some("info")).plain.joined,
            concat!(
                r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
                r#""io.modelcontextprotocol/clientCapabilities":{},"#,
                r#""io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"#,
                r#""io.modelcontextprotocol/logLevel":"info""#,
            )
        );
    }
}
