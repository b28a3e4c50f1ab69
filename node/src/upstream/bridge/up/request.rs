//! A request of the session era as a stateless server wants it: what the client once declared goes with each.

use http::{HeaderName, HeaderValue};
use lockgate_proto::jsonrpc::{
    Frame, Member, ParseError, Span, Splice, decode_str, find_path, members, reads_as,
};
use lockgate_proto::mcp::{headers, method};

use crate::upstream::catalog::Item;

use super::profile::{META_KEYS, Meta};
use super::strip;

/// Headers of one message.
pub(super) type Headers = Vec<(HeaderName, HeaderValue)>;

/// The request with `meta` in its `_meta` and without what only the session era has. Everything else keeps its bytes.
///
/// # Errors
///
/// Fails when it cannot be written so: params that are an array have no `_meta`. As it stands it must not go on, with what
/// its client wrote under the keys of `meta`.
pub(super) fn translate(frame: &Frame, meta: &Meta) -> Result<Frame, ParseError> {
    let text = frame.text();
    let mut splice = Splice::new(text);
    match frame.params_span() {
        None => {
            let params = format!(r#"{{"_meta":{{{}}}}}"#, meta.joined);
            splice.set_member(frame.object_span(), "params", &params);
        }
        Some(params) => {
            let found: Vec<_> = members(params.of(text)).collect();
            let called = frame.method();
            let means_else = |member: &Member<'_>| means_else(&called, &member.key);
            let kept = if found.iter().any(means_else) {
                strip::remove(&mut splice, params, &found, means_else)
            } else {
                found.len()
            };
            match found.iter().rfind(|member| member.key == "_meta") {
                Some(own) => add_to_meta(&mut splice, params, own, meta),
                None => {
                    let comma = if kept == 0 { "" } else { "," };
                    let added = format!(r#""_meta":{{{}}}{comma}"#, meta.joined);
                    insert(&mut splice, params, added);
                }
            }
        }
    }
    Frame::edited(splice)
}

/// Whether a member of `params` says what its client did not mean: a wish for a task is one of the session era alone,
/// and to a client of that era the names of a retry are names like any other. With them it could go on with a call that
/// is not its own.
///
/// So does one that a server may read as if it were: a door that lets it in is no reason to pass it on.
fn means_else(called: &str, key: &str) -> bool {
    let names: &[&str] = match called {
        method::TOOLS_CALL => &["task", "inputResponses", "requestState"],
        method::PROMPTS_GET | method::RESOURCES_READ => &["inputResponses", "requestState"],
        _ => &[],
    };
    names.iter().any(|name| reads_as(key, name))
}

/// A translated request with another `meta`.
///
/// # Errors
///
/// As [`translate`].
pub(super) fn with_meta(frame: &Frame, meta: &Meta) -> Result<Frame, ParseError> {
    let Some(at) = frame.param(&["_meta"]) else {
        return translate(frame, meta);
    };
    let mut splice = Splice::new(frame.text());
    for (key, value) in &meta.members {
        splice.set_member(at, key, value);
    }
    Frame::edited(splice)
}

/// Puts `text` right behind the bracket that opens `object`.
fn insert(splice: &mut Splice<'_>, object: Span, text: String) {
    let at = object.start + 1;
    splice.replace(Span { start: at, end: at }, text);
}

fn add_to_meta(splice: &mut Splice<'_>, params: Span, own: &Member<'_>, meta: &Meta) {
    let at = own.value_span.shift(params.start);
    if !own.value.starts_with('{') {
        splice.replace(at, format!("{{{}}}", meta.joined));
        return;
    }
    let mut own_keys = members(own.value).map(|member| member.key).peekable();
    let comma = if own_keys.peek().is_some() { "," } else { "" };
    if own_keys.any(|key| META_KEYS.contains(&&*key)) {
        for (key, value) in &meta.members {
            splice.set_member(at, key, value);
        }
    } else {
        insert(splice, at, format!("{}{comma}", meta.joined));
    }
}

/// Routing headers of a translated request (MCP 2026-07-28, "Streamable HTTP"). `tool` is the called tool, where the
/// gateway knows it.
pub(super) fn routing_headers(frame: &Frame, tool: Option<&Item>) -> Headers {
    let called = frame.method();
    let mut made = Headers::new();
    push(&mut made, headers::METHOD, &called);
    let named = match &*called {
        method::TOOLS_CALL | method::PROMPTS_GET => frame.param_str(&["name"]),
        method::RESOURCES_READ => frame.param_str(&["uri"]),
        method::TASKS_GET | method::TASKS_UPDATE | method::TASKS_CANCEL => {
            frame.param_str(&["taskId"])
        }
        _ => None,
    };
    if let Some(name) = named {
        push(&mut made, headers::NAME, &headers::encode_value(&name));
    }
    let Some(tool) = tool.filter(|tool| !tool.param_headers.is_empty()) else {
        return made;
    };
    let Some(arguments) = frame.param(&["arguments"]) else {
        return made;
    };
    let arguments = arguments.of(frame.text());
    for header in &tool.param_headers {
        let path: Vec<&str> = header.path.iter().map(String::as_str).collect();
        let value = find_path(arguments, &path)
            .and_then(|argument| headers::param_value(argument.of(arguments)));
        if let Some(value) = value {
            push(
                &mut made,
                &format!("{}{}", headers::PARAM_PREFIX, header.name),
                &value,
            );
        }
    }
    made
}

/// A name that cannot be a header goes without: the server refuses then, in its own words.
fn push(made: &mut Headers, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        made.push((name, value));
    }
}

/// The retry of `request` after its server asked for input: the same request under another id (MCP 2026-07-28,
/// "Multi Round-Trip Requests"). `responses` is a raw object, `state` the raw string that the server gave.
///
/// # Errors
///
/// Fails when it cannot be written so. As it stands it must not go out again: the server would do all of it twice.
pub(super) fn retry(
    request: &Frame,
    id: &str,
    responses: Option<&str>,
    state: Option<&str>,
) -> Result<Frame, ParseError> {
    let mut splice = Splice::new(request.text());
    if let Some(at) = request.id_span() {
        splice.replace(at, id);
    }
    if let Some(params) = request.params_span() {
        for (key, value) in [("inputResponses", responses), ("requestState", state)] {
            match value {
                Some(value) => splice.set_member(params, key, value),
                None => splice.remove_member(params, key),
            };
        }
    }
    Frame::edited(splice)
}

/// Raw id for round `round` of the call with the raw id `id`; unlike that of every other round.
pub(super) fn round_id(id: &str, round: u32) -> String {
    let inner = decode_str(id).map_or_else(|| id.to_owned(), std::borrow::Cow::into_owned);
    lockgate_proto::jsonrpc::encode_str(&format!("{inner}#{round}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lockgate_proto::jsonrpc::Limits;
    use lockgate_proto::mcp::{Era, Revision};

    use super::*;
    use crate::upstream::bridge::up::profile::{Metas, Profile};
    use crate::upstream::catalog::ListKind;
    use crate::upstream::link::SessionInit;

    fn frame(text: &str) -> Frame {
        Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
    }

    fn meta() -> Meta {
        let init = SessionInit {
            revision: Revision::V2025_11_25,
            capabilities: "{}".into(),
            client_info: "{}".into(),
            now_ms: 0,
        };
        Profile::new(&init).metas(None).plain
    }

    /// `M` stands for the members that every request carries.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let expected = expected.replace('M', &meta().joined);
        assert_eq!(translate(&frame(text), &meta()).unwrap().text(), expected);
    }

    #[test]
    fn what_the_client_declared_goes_with_every_request() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{M}}}"#,
        );
        check(
            r#"{"id":1,"method":"tools/list","params":{},"jsonrpc":"2.0"}"#,
            r#"{"id":1,"method":"tools/list","params":{"_meta":{M}},"jsonrpc":"2.0"}"#,
        );
        check(
            " {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}\n",
            " {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{\"_meta\":{M}}}\n",
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","x":1.0}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{M},"name":"a","x":1.0}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"progressToken":7}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{M,"progressToken":7}}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":null}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{M}}}"#,
        );
    }

    /// Lists within lists, `depth` of them.
    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    /// Of a client that declares `nested(depth)` under a key of its own.
    fn metas_of(depth: usize) -> Metas {
        let init = SessionInit {
            revision: Revision::V2025_11_25,
            capabilities: format!(r#"{{"x":{}}}"#, nested(depth)).into(),
            client_info: "{}".into(),
            now_ms: 0,
        };
        Profile::new(&init).metas(None)
    }

    #[test]
    fn what_cannot_be_written_as_it_must_be_is_not_passed_on_as_it_stands() {
        let list = frame(r#"{"jsonrpc":"2.0","id":1,"method":"vendor/x","params":["a"]}"#);
        assert!(translate(&list, &meta()).is_err());
        let call = frame(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","requestState":"s"}}"#,
        );
        // The message, its params, their `_meta` and the capabilities are four levels around it.
        let deepest = 1024 - 4;
        let translated = translate(&call, &metas_of(deepest).plain).unwrap();
        assert!(translate(&call, &metas_of(deepest + 1).plain).is_err());
        assert!(with_meta(&translated, &metas_of(deepest).tasks).is_ok());
        assert!(with_meta(&translated, &metas_of(deepest + 1).tasks).is_err());
        assert!(retry(&translated, "2", Some(&nested(1024 - 2)), None).is_ok());
        assert!(retry(&translated, "2", Some(&nested(1024 - 1)), None).is_err());
    }

    #[test]
    fn what_a_client_writes_under_a_reserved_key_does_not_stand() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"io.modelcontextprotocol/clientCapabilities":{"sampling":{}}}}}"#;
        let told = translate(&frame(text), &meta()).unwrap();
        let at = told.param(&["_meta", META_KEYS[1]]).unwrap();
        assert_eq!(at.of(told.text()), "{}");
    }

    #[test]
    fn a_wish_for_a_task_is_left_out() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","task":{"ttl":1}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{M},"name":"a"}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"task":{"ttl":1}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{M}}}"#,
        );
    }

    #[test]
    fn no_client_with_a_session_writes_a_retry() {
        for called in ["tools/call", "prompts/get", "resources/read"] {
            check(
                &format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"{called}","params":{{"inputResponses":{{}},"v":1,"requestState":"s"}}}}"#
                ),
                &format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"{called}","params":{{"_meta":{{M}},"v":1}}}}"#
                ),
            );
        }
        // Some servers read these as if they were.
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"RequestState":"s","inputresponses":{},"v":1,"TASK":{}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{M},"v":1}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"vendor/x","params":{"requestState":"s"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"vendor/x","params":{"_meta":{M},"requestState":"s"}}"#,
        );
    }

    #[test]
    fn routing_headers_repeat_method_name_and_annotated_arguments() {
        let tool = r#"{"name":"a","inputSchema":{"type":"object","properties":{"r":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"},"o":{"type":"string","x-mcp-header":"O"}}}}"#;
        let tool = Item::read(ListKind::Tools, Era::Stateless, tool.into()).unwrap();
        let call = frame(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"r":"søh","n":42.0,"o":null}}}"#,
        );
        let made = routing_headers(&call, Some(&tool));
        let made: Vec<_> = made
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            made,
            [
                ("mcp-method", "tools/call"),
                ("mcp-name", "a"),
                ("mcp-param-region", "=?base64?c8O4aA==?="),
                ("mcp-param-n", "42"),
            ]
        );
    }

    #[test]
    fn a_retry_is_the_same_request_under_another_id() {
        let call = frame(
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","arguments":{}}}"#,
        );
        let again = retry(
            &call,
            &round_id("7", 1),
            Some(r#"{"k":{"action":"decline"}}"#),
            Some(r#""a\/b""#),
        );
        let again = again.unwrap();
        assert_eq!(
            again.text(),
            r#"{"jsonrpc":"2.0","id":"7#1","method":"tools/call","params":{"name":"a","arguments":{},"inputResponses":{"k":{"action":"decline"}},"requestState":"a\/b"}}"#
        );
        assert_eq!(round_id(r#""x\"y""#, 2), r#""x\"y#2""#);
    }
}
