//! `server/discover` of a session-era server, made of what `initialize` was answered.

use lockgate_proto::jsonrpc::{Span, Splice, find};
use lockgate_proto::mcp::Revision;

use crate::upstream::bridge::tasks::{EXTENSION, offers_tools};

use super::turn::SERVER_INFO;

/// Raw `DiscoverResult`. Its versions are those that the gateway serves; what the server offers may depend on the
/// caller, so nobody else may keep it.
pub(super) fn result(introduction: &str) -> String {
    let piece = |key: &str| find(introduction, key).map(|span| span.of(introduction));
    let versions: Vec<String> = Revision::STREAMABLE_HTTP
        .iter()
        .map(|revision| format!("\"{revision}\""))
        .collect();
    let capabilities = capabilities(piece("capabilities").unwrap_or("{}"));
    let instructions = piece("instructions").map(|raw| format!(r#","instructions":{raw}"#));
    let meta = piece("serverInfo").map(|raw| format!(r#","_meta":{{"{SERVER_INFO}":{raw}}}"#));
    format!(
        r#"{{"resultType":"complete","supportedVersions":[{}],"capabilities":{capabilities}{},"ttlMs":0,"cacheScope":"private"{}}}"#,
        versions.join(","),
        instructions.unwrap_or_default(),
        meta.unwrap_or_default(),
    )
}

/// Raw `ServerCapabilities` with the tasks of this era, which are other ones than those of 2025-11-25.
pub(super) fn capabilities(raw: &str) -> String {
    let whole = Span::new(0, raw.len());
    let mut splice = Splice::new(raw);
    splice.remove_member(whole, "tasks");
    let extensions = find(raw, "extensions").filter(|at| at.of(raw).starts_with('{'));
    match (extensions, offers_tools(raw)) {
        (Some(extensions), true) => {
            splice.set_member(extensions, EXTENSION, "{}");
        }
        (None, true) => {
            splice.set_member(whole, "extensions", &format!(r#"{{"{EXTENSION}":{{}}}}"#));
        }
        // What the server has for its own stateless clients cannot be reached in a session.
        (Some(extensions), false) => {
            splice.remove_member(extensions, EXTENSION);
        }
        (None, false) => {}
    }
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_server_said() {
        let introduction = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"tasks":{"list":{}},"logging":{}},"serverInfo":{"name":"s","version":"1"},"instructions":"be \"kind\""}"#;
        let expected = r#"{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"],"capabilities":{"tools":{"listChanged":true},"logging":{}},"instructions":"be \"kind\"","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}"#;
        assert_eq!(result(introduction), expected);
        let bare = r#"{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"],"capabilities":{},"ttlMs":0,"cacheScope":"private"}"#;
        assert_eq!(result("{}"), bare);
    }
}
