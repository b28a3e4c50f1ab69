//! Header and `_meta` rules of 2026-07-28, in the order of the specification's validation ladder. Pure.

use http::{HeaderMap, HeaderName, HeaderValue};
use lockgate_proto::jsonrpc::{Frame, Kind, decode_str, elements};
use lockgate_proto::mcp::param_headers::{self, ParamHeader};
use lockgate_proto::mcp::{Era, Revision, headers, method};

use crate::error::CallError;
use crate::upstream::catalog::Item;
use crate::upstream::subscription::NAMED_MAX;

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
pub(super) const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// Methods that exist in earlier revisions only.
const REMOVED: [&str; 7] = [
    method::INITIALIZE,
    method::PING,
    method::SET_LEVEL,
    method::SUBSCRIBE,
    method::UNSUBSCRIBE,
    method::TASKS_LIST,
    method::TASKS_RESULT,
];

/// Whether a POST belongs to the stateless era: its header or its body says so.
pub fn claims_stateless(version: Option<&str>, frame: &Frame) -> bool {
    let claimed = version.and_then(Revision::parse).map(Revision::era);
    match claimed {
        Some(era) => {
            era == Era::Stateless || (is_envelope(frame) && frame.method() != method::INITIALIZE)
        }
        None => is_envelope(frame),
    }
}

fn is_envelope(frame: &Frame) -> bool {
    frame.param(&["_meta", VERSION_KEY]).is_some()
}

/// Checks everything that does not depend on a server. `Ok(false)`: a notification, nothing to answer.
///
/// # Errors
///
/// Fails with the first rung that does not hold.
pub(super) fn check(
    frame: &Frame,
    sent: Option<&HeaderMap>,
    supported: &[Revision],
) -> Result<bool, CallError> {
    match frame.kind() {
        Kind::Notification => return Ok(false),
        Kind::Request => {}
        Kind::Result | Kind::Error => {
            return Err(CallError::InvalidRequest {
                what: "clients send no responses in 2026-07-28".into(),
            });
        }
    }
    let repeated =
        |name: &&str| sent.is_some_and(|sent| sent.get_all(*name).iter().nth(1).is_some());
    let routing = [headers::PROTOCOL_VERSION, headers::METHOD, headers::NAME];
    if let Some(name) = routing.iter().find(|name| repeated(name)) {
        return Err(mismatch(format!("header `{name}` is repeated")));
    }
    let version = check_meta(frame)?;
    if let Some(sent) = sent {
        check_headers(frame, sent, &version)?;
    }
    if !supported
        .iter()
        .any(|revision| revision.as_str() == version)
        || Revision::parse(&version).is_none_or(|r| r.era() == Era::Session)
    {
        return Err(CallError::UnsupportedVersion {
            requested: version,
            supported: supported.to_vec(),
        });
    }
    let method = frame.method();
    if REMOVED.contains(&&*method) {
        return Err(CallError::MethodNotFound {
            method: method.into_owned(),
        });
    }
    if method == method::LISTEN {
        check_named(frame)?;
    }
    Ok(true)
}

/// Bounds what a listen names, before anything is looked up for it.
fn check_named(frame: &Frame) -> Result<(), CallError> {
    for kind in ["resourceSubscriptions", "taskIds"] {
        let Some(named) = frame.param(&["notifications", kind]) else {
            continue;
        };
        if elements(named.of(frame.text())).nth(NAMED_MAX).is_some() {
            let what = format!("`params.notifications.{kind}` must not name more than {NAMED_MAX}");
            return Err(CallError::InvalidParams { what: what.into() });
        }
    }
    Ok(())
}

/// Both required `_meta` members; returns the claimed version.
fn check_meta(frame: &Frame) -> Result<String, CallError> {
    let missing = |key: &str, what: &str| CallError::InvalidParams {
        what: format!("`params._meta[\"{key}\"]` must be {what}").into(),
    };
    let version = frame
        .param_str(&["_meta", VERSION_KEY])
        .ok_or_else(|| missing(VERSION_KEY, "a string"))?;
    let capabilities = frame.param(&["_meta", CAPABILITIES_KEY]);
    if !capabilities.is_some_and(|span| span.of(frame.text()).starts_with('{')) {
        return Err(missing(CAPABILITIES_KEY, "an object"));
    }
    Ok(version.into_owned())
}

fn check_headers(frame: &Frame, sent: &HeaderMap, version: &str) -> Result<(), CallError> {
    same(sent, headers::PROTOCOL_VERSION, version)?;
    let method = frame.method();
    same(sent, headers::METHOD, &method)?;
    let path = match &*method {
        method::TOOLS_CALL | method::PROMPTS_GET => &["name"],
        method::RESOURCES_READ => &["uri"],
        method::TASKS_GET | method::TASKS_UPDATE | method::TASKS_CANCEL => &["taskId"],
        _ => return Ok(()),
    };
    // A body without the name is a matter of parameters, which the server of the tool judges.
    let Some(name) = frame.param_str(path) else {
        return Ok(());
    };
    same(sent, headers::NAME, &name)
}

fn same(sent: &HeaderMap, name: &'static str, body: &str) -> Result<(), CallError> {
    let Some(value) = sent.get(name) else {
        return Err(mismatch(format!("header `{name}` is missing")));
    };
    let text = value
        .to_str()
        .map_err(|_| mismatch(format!("header `{name}` is not visible ASCII")))?;
    let decoded = if name == headers::NAME {
        headers::decode_value(text.trim())
    } else {
        Some(text.trim().into())
    };
    match decoded {
        None => Err(mismatch(format!(
            "header `{name}` is not valid base64 of UTF-8"
        ))),
        Some(decoded) if decoded == body => Ok(()),
        Some(_) => Err(mismatch(format!("header `{name}` differs from the body"))),
    }
}

/// Checks `Mcp-Param-*` of a tool whose schema is known.
///
/// # Errors
///
/// Fails when a header is missing, malformed or unlike the argument.
pub(super) fn check_params(frame: &Frame, sent: &HeaderMap, tool: &Item) -> Result<(), CallError> {
    for annotated in annotations(tool) {
        let name = header_name(&annotated);
        let argument = argument(frame, &annotated);
        let mut values = sent.get_all(&name).iter();
        let value = values.next();
        if values.next().is_some() {
            return Err(mismatch(format!("header `{name}` is repeated")));
        }
        match (argument, value) {
            (None, None) => {}
            (None, Some(_)) => return Err(mismatch(format!("header `{name}` has no argument"))),
            (Some(_), None) => return Err(mismatch(format!("header `{name}` is missing"))),
            (Some(raw), Some(value)) => {
                let decoded = value
                    .to_str()
                    .ok()
                    .and_then(|text| headers::decode_value(text.trim()));
                if !decoded.is_some_and(|decoded| headers::matches_param(&decoded, raw)) {
                    return Err(mismatch(format!(
                        "header `{name}` differs from the argument"
                    )));
                }
            }
        }
    }
    Ok(())
}

fn header_name(annotated: &ParamHeader) -> String {
    let name = annotated.name.to_ascii_lowercase();
    format!("{}{name}", headers::PARAM_PREFIX)
}

/// The raw argument that goes into a header; `null` counts as absent.
fn argument<'a>(frame: &'a Frame, annotated: &ParamHeader) -> Option<&'a str> {
    let mut path = vec!["arguments"];
    path.extend(annotated.path.iter().map(String::as_str));
    let span = frame.param(&path)?;
    Some(span.of(frame.text())).filter(|raw| *raw != "null")
}

/// The headers that a call stands for whose transport has none.
pub(super) fn params_of(frame: &Frame, tool: &Item) -> Vec<(HeaderName, HeaderValue)> {
    let annotated = annotations(tool);
    let headers = annotated.iter().filter_map(|annotated| {
        let value = headers::param_value(argument(frame, annotated)?)?;
        let name = HeaderName::try_from(header_name(annotated)).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    });
    headers.collect()
}

/// Header annotations of a tool. A tool whose annotations are invalid is not offered, so none are left to check.
fn annotations(tool: &Item) -> Vec<ParamHeader> {
    if memchr::memmem::find(&tool.raw, b"x-mcp-header").is_none() {
        return Vec::new();
    }
    let text = std::str::from_utf8(&tool.raw).unwrap_or_default();
    let schema = lockgate_proto::jsonrpc::find(text, "inputSchema");
    schema
        .and_then(|span| param_headers::annotations(span.of(text)).ok())
        .unwrap_or_default()
}

/// `Mcp-Param-*` headers, which an intermediary passes on even when it does not know them.
pub(super) fn sent_params(sent: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let ours = sent
        .iter()
        .filter(|(name, _)| name.as_str().starts_with(headers::PARAM_PREFIX));
    ours.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// URIs of a listen request.
pub(super) fn subscriptions(frame: &Frame) -> Vec<String> {
    let Some(span) = frame.param(&["notifications", "resourceSubscriptions"]) else {
        return Vec::new();
    };
    let raw = span.of(frame.text());
    elements(raw)
        .filter_map(|span| Some(decode_str(span.of(raw))?.into_owned()))
        .collect()
}

/// Whether a listen request asks for the news of tasks.
pub(super) fn follows_tasks(frame: &Frame) -> bool {
    let wanted = frame.param(&["notifications", "taskIds"]);
    wanted.is_some_and(|span| !matches!(span.of(frame.text()), "null" | "[]"))
}

fn mismatch(what: String) -> CallError {
    CallError::HeaderMismatch { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn frame(text: &str) -> Frame {
        Frame::parse(
            text.to_owned().into(),
            &lockgate_proto::jsonrpc::Limits::default(),
        )
        .unwrap()
    }

    fn call(params: &str) -> Frame {
        frame(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#
        ))
    }

    fn sent(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[track_caller]
    fn refused(frame: &Frame, pairs: &[(&'static str, &str)], code: i32) {
        let error = check(frame, Some(&sent(pairs)), &Revision::ALL).unwrap_err();
        assert_eq!(error.wire().code, code, "{error}");
    }

    const GOOD: [(&str, &str); 3] = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ];

    #[test]
    fn a_complete_request_passes() {
        let frame = call(&format!(r#"{{"name":"echo",{META}}}"#));
        assert!(check(&frame, Some(&sent(&GOOD)), &Revision::ALL).unwrap());
        // A transport without headers has nothing to compare.
        assert!(check(&frame, None, &Revision::ALL).unwrap());
    }

    #[test]
    fn missing_meta_comes_before_missing_headers() {
        refused(&call(r#"{"name":"echo"}"#), &[], -32602);
        refused(&call(&format!(r#"{{"name":"echo",{META}}}"#)), &[], -32020);
    }

    #[test]
    fn headers_are_compared_with_the_body() {
        let frame = call(&format!(r#"{{"name":"echo",{META}}}"#));
        refused(&frame, &[GOOD[0], GOOD[1], ("mcp-name", "other")], -32020);
        refused(
            &frame,
            &[GOOD[0], ("mcp-method", "TOOLS/CALL"), GOOD[2]],
            -32020,
        );
        refused(&frame, &[GOOD[0], GOOD[1], GOOD[2], GOOD[2]], -32020);
        refused(
            &frame,
            &[GOOD[0], GOOD[1], ("mcp-name", "=?base64?!?=")],
            -32020,
        );
    }

    #[test]
    fn an_unknown_version_is_named_with_what_is_served() {
        let text = META.replace("2026-07-28", "2099-01-01");
        let frame = call(&format!(r#"{{"name":"echo",{text}}}"#));
        refused(
            &frame,
            &[("mcp-protocol-version", "2099-01-01"), GOOD[1], GOOD[2]],
            -32022,
        );
    }

    #[test]
    fn removed_methods_are_not_found() {
        let frame = frame(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{{META}}}}}"#
        ));
        refused(&frame, &[GOOD[0], ("mcp-method", "ping")], -32601);
    }

    #[test]
    fn what_a_listen_names_is_bounded() {
        let listen = |kind: &str, n: usize| {
            let named = vec![r#""u:1""#; n].join(",");
            frame(&format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{{META},"notifications":{{"{kind}":[{named}]}}}}}}"#
            ))
        };
        let pairs = [GOOD[0], ("mcp-method", "subscriptions/listen")];
        for kind in ["resourceSubscriptions", "taskIds"] {
            let most = listen(kind, NAMED_MAX);
            assert!(check(&most, Some(&sent(&pairs)), &Revision::ALL).unwrap());
            refused(&listen(kind, NAMED_MAX + 1), &pairs, -32602);
        }
    }

    #[test]
    fn the_claim_is_in_the_header_or_in_the_body() {
        let bare = frame(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
        let enveloped = frame(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{META}}}}}"#
        ));
        assert!(claims_stateless(Some("2026-07-28"), &bare));
        assert!(!claims_stateless(Some("2025-11-25"), &bare));
        assert!(!claims_stateless(None, &bare));
        assert!(claims_stateless(None, &enveloped));
        assert!(claims_stateless(Some("2099-01-01"), &enveloped));
    }

    #[test]
    fn a_call_without_headers_gets_those_that_its_tool_wants() {
        let raw = r#"{"name":"t","inputSchema":{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"Size"},"b":{"type":"boolean","x-mcp-header":"Dry"}}}}"#;
        let tool = Item {
            key: "t".into(),
            raw: raw.into(),
            key_span: lockgate_proto::jsonrpc::find(raw, "name").unwrap(),
            retry_safe: false,
            param_headers: Box::default(),
        };
        let frame = call(&format!(
            r#"{{"name":"t","arguments":{{"a":"söuth","n":7,"b":null}},{META}}}"#
        ));
        let params = params_of(&frame, &tool);
        let sent: HeaderMap = params.into_iter().collect();
        assert_eq!(sent.len(), 2);
        assert_eq!(sent["mcp-param-size"], "7");
        // Whoever reads them finds them right.
        assert!(check_params(&frame, &sent, &tool).is_ok());
        assert!(check_params(&frame, &HeaderMap::new(), &tool).is_err());
    }
}
