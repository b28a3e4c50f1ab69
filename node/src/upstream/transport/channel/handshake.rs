//! The opening of the session era.

use std::sync::Arc;

use lockgate_proto::jsonrpc::{Frame, Kind, Limits, ParseError, decode_str, find_path};
use lockgate_proto::mcp::{Era, Revision, method};

use crate::upstream::link::SessionInit;

/// What the server agreed to.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    /// Raw `InitializeResult`.
    pub(crate) result: Arc<str>,
    pub(crate) revision: Revision,
}

impl Default for Agreement {
    fn default() -> Self {
        Self {
            result: "{}".into(),
            revision: Revision::SESSION_LATEST,
        }
    }
}

/// The `initialize` request.
///
/// # Errors
///
/// Fails when capabilities or client info are not JSON.
pub(crate) fn initialize(init: &SessionInit) -> Result<Frame, ParseError> {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"{}","params":{{"protocolVersion":"{}","capabilities":{},"clientInfo":{}}}}}"#,
        method::INITIALIZE,
        init.revision,
        init.capabilities,
        init.client_info,
    );
    ours(text)
}

/// The `server/discover` request (`MCP.md` A2, A3).
///
/// # Errors
///
/// Never in practice: the text is our own.
pub(crate) fn discover() -> Result<Frame, ParseError> {
    let revision = Revision::V2026_07_28;
    let info = own_client_info();
    ours(format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"{}","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{revision}","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{info}}}}}}}"#,
        method::DISCOVER,
    ))
}

/// A request with raw params.
///
/// # Errors
///
/// Fails when the params are not JSON.
pub(super) fn request(method: &str, params: &str) -> Result<Frame, ParseError> {
    ours(format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#
    ))
}

/// A notification without parameters.
///
/// # Errors
///
/// Never in practice: the text is our own.
pub(super) fn notification(method: &str) -> Result<Frame, ParseError> {
    ours(format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#))
}

/// This gateway as raw `Implementation`.
pub(crate) fn own_client_info() -> Arc<str> {
    let version = env!("CARGO_PKG_VERSION");
    format!(r#"{{"name":"lockgate","version":"{version}"}}"#).into()
}

/// Reads the answer to `initialize`; says what is wrong with it otherwise.
pub(crate) fn agreement(answer: &Frame) -> Result<Agreement, String> {
    let body = answer.body().unwrap_or_default();
    if answer.kind() == Kind::Error {
        let message = find_path(body, &["message"]).map(|span| span.of(body));
        let message = message.and_then(decode_str).unwrap_or_default();
        return Err(format!("`initialize` refused: {message}"));
    }
    let version = find_path(body, &["protocolVersion"]).map(|span| span.of(body));
    let Some(version) = version.and_then(decode_str) else {
        return Err("`initialize` answered without a version".to_owned());
    };
    match Revision::parse(&version) {
        Some(revision) if revision.era() == Era::Session => Ok(Agreement {
            result: body.into(),
            revision,
        }),
        // A version is a date: what is longer is cut.
        _ => Err(format!(
            "`initialize` answered with version `{version:.40}`, which is not known"
        )),
    }
}

/// Whether a `DiscoverResult` offers a revision of the stateless era that we speak. Some servers of the session
/// era answer `server/discover` too, and list only their own (`MCP.md` A8).
pub(crate) fn offers_stateless(result: &str) -> bool {
    let Some(versions) = find_path(result, &["supportedVersions"]) else {
        return false;
    };
    let versions: Vec<String> = serde_json::from_str(versions.of(result)).unwrap_or_default();
    let mut known = versions.iter().filter_map(|text| Revision::parse(text));
    known.any(|revision| revision.era() == Era::Stateless)
}

/// Kinds of lists whose changes the server announces, by the notification that does it.
pub(super) fn announced_lists(initialize_result: &str) -> impl Iterator<Item = &'static str> {
    const KINDS: [(&str, &str); 3] = [
        ("tools", method::TOOLS_CHANGED),
        ("prompts", method::PROMPTS_CHANGED),
        ("resources", method::RESOURCES_CHANGED),
    ];
    let announced = |(kind, _): &(&str, &str)| {
        let path = ["capabilities", kind, "listChanged"];
        let value = find_path(initialize_result, &path);
        value.is_some_and(|span| span.of(initialize_result) == "true")
    };
    KINDS
        .into_iter()
        .filter(announced)
        .map(|(_, method)| method)
}

fn ours(text: String) -> Result<Frame, ParseError> {
    Frame::parse(text.into(), &Limits::default())
}
