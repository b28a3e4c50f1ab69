//! Answers of a session-era server, as a stateless client reads them.

use lockgate_proto::jsonrpc::{Frame, Kind, Splice, elements, encode_str, find, members};
use lockgate_proto::mcp::{code, method};

use super::abilities::Abilities;
use super::asked::Asked;
use super::turn::{SERVER_INFO, Turn};

/// The one who answers, as `_meta` of every result names it: a raw `Implementation`.
pub(super) type ServerInfo<'a> = Option<&'a str>;

/// What was asked, as far as its answer depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    /// `params.uri`, decoded.
    pub(super) uri: Option<&'a str>,
    pub(super) turn: &'a Turn,
}

/// Translates the final response: HTTP status and message.
pub(super) fn translate(
    question: Question<'_>,
    answer: &Frame,
    server: ServerInfo<'_>,
) -> (u16, Frame) {
    let translated = match answer.kind() {
        Kind::Result => result(question, answer, server).map(|frame| (200, frame)),
        _ => error(question, answer, server),
    };
    // Edits of a message that was read before give a message.
    translated.unwrap_or_else(|| (200, answer.with_id(&question.turn.id)))
}

fn result(question: Question<'_>, answer: &Frame, server: ServerInfo<'_>) -> Option<Frame> {
    let text = answer.text();
    let body = answer.body_span()?;
    let mut splice = Splice::new(text);
    splice.replace(answer.id_span()?, &*question.turn.id);
    let (mut has_type, mut has_ttl, mut has_scope, mut has_content) = (false, false, false, false);
    let mut meta = None;
    for member in members(body.of(text)) {
        match &*member.key {
            "resultType" => has_type = true,
            "ttlMs" => has_ttl = true,
            "cacheScope" => has_scope = true,
            "content" => has_content = true,
            "_meta" => meta = Some(member.value_span.shift(body.start)),
            _ => {}
        }
    }
    if !has_type {
        splice.set_member(body, "resultType", "\"complete\"");
    }
    if is_cacheable(question.method) {
        if !has_ttl {
            splice.set_member(body, "ttlMs", "0");
        }
        if !has_scope {
            splice.set_member(body, "cacheScope", "\"private\"");
        }
    }
    if question.method == method::TOOLS_CALL && !has_content {
        splice.set_member(body, "content", "[]");
    }
    if let Some(info) = server {
        match meta {
            Some(meta) if meta.of(text).starts_with('{') => {
                if find(meta.of(text), SERVER_INFO).is_none() {
                    splice.set_member(meta, SERVER_INFO, info);
                }
            }
            _ => {
                splice.set_member(body, "_meta", &server_meta(info));
            }
        }
    }
    Frame::edited(splice).ok()
}

/// Methods whose results say how long they may be kept (2026-07-28, "Caching").
fn is_cacheable(name: &str) -> bool {
    matches!(
        name,
        method::TOOLS_LIST
            | method::PROMPTS_LIST
            | method::RESOURCES_LIST
            | method::TEMPLATES_LIST
            | method::RESOURCES_READ
            | method::SKILLS_LIST
            | method::SKILLS_GET
    )
}

fn error(question: Question<'_>, answer: &Frame, server: ServerInfo<'_>) -> Option<(u16, Frame)> {
    let id = &*question.turn.id;
    let text = answer.text();
    let body = answer.body_span()?;
    let error = body.of(text);
    let code = find(error, "code").and_then(|span| span.of(error).parse::<i32>().ok());
    match code {
        Some(code::RESOURCE_NOT_FOUND) => {
            let mut splice = Splice::new(text);
            splice.replace(answer.id_span()?, id);
            splice.set_member(body, "code", &code::INVALID_PARAMS.to_string());
            let data = find(error, "data").map(|span| span.shift(body.start));
            let is_object = data.filter(|span| span.of(text).starts_with('{'));
            match (is_object, question.uri) {
                (Some(data), Some(uri)) if find(data.of(text), "uri").is_none() => {
                    splice.set_member(data, "uri", &encode_str(uri));
                }
                (None, Some(uri)) => {
                    let data = format!(r#"{{"uri":{}}}"#, encode_str(uri));
                    splice.set_member(body, "data", &data);
                }
                _ => {}
            }
            Some((400, Frame::edited(splice).ok()?))
        }
        Some(code::URL_ELICITATION_REQUIRED) => Some(url_required(question, error, server)),
        code => Some((status(code), answer.with_id(id))),
    }
}

/// HTTP status that 2026-07-28 ties to an error code.
fn status(code: Option<i32>) -> u16 {
    match code {
        Some(code::METHOD_NOT_FOUND) => 404,
        Some(
            code::PARSE_ERROR
            | code::INVALID_REQUEST
            | code::INVALID_PARAMS
            | code::MISSING_CAPABILITY,
        ) => 400,
        _ => 200,
    }
}

/// The user has to visit a URL first: asked as this era asks, without a state, because the retry is a new call.
fn url_required(question: Question<'_>, error: &str, server: ServerInfo<'_>) -> (u16, Frame) {
    let turn = question.turn;
    if !turn.abilities.has(Abilities::URL) {
        let data = r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#;
        let code = code::MISSING_CAPABILITY;
        let message = "the server wants the user to visit a URL";
        return (400, refusal(&turn.id, code, message, Some(data)));
    }
    let raw = lockgate_proto::jsonrpc::find_path(error, &["data", "elicitations"])
        .map_or("[]", |span| span.of(error));
    let asked: Vec<Asked> = elements(raw)
        .enumerate()
        .map(|(at, span)| Asked::url(at + 1, span.of(raw)))
        .collect();
    if asked.is_empty() {
        let message = "the server wants the user to visit a URL, but names none";
        return (200, refusal(&turn.id, code::INTERNAL_ERROR, message, None));
    }
    (200, input_required(&turn.id, &asked, None, server))
}

/// `InputRequiredResult` for these requests.
pub(super) fn input_required(
    id: &str,
    asked: &[Asked],
    state: Option<&str>,
    server: ServerInfo<'_>,
) -> Frame {
    let requests: Vec<String> = asked.iter().map(Asked::member).collect();
    let state = state.map(|state| format!(r#","requestState":{}"#, encode_str(state)));
    let meta = server.map(|info| format!(r#","_meta":{}"#, server_meta(info)));
    own(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","inputRequests":{{{}}}{}{}}}}}"#,
        requests.join(","),
        state.unwrap_or_default(),
        meta.unwrap_or_default(),
    ))
}

/// An error of our own; `data` is raw.
pub(super) fn refusal(id: &str, code: i32, message: &str, data: Option<&str>) -> Frame {
    let data = data.map(|data| format!(r#","data":{data}"#));
    own(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{}{}}}}}"#,
        encode_str(message),
        data.unwrap_or_default(),
    ))
}

/// A message that was put together from raw JSON.
pub(super) fn own(text: &str) -> Frame {
    // Cannot fail: every part was made by us or was read as JSON before, and stands no more than a few levels deeper than
    // there. What servers say ends at the default limits, what clients say at a `limits.depth_max` of 1000, and the limits
    // here at 1024.
    Frame::edited(Splice::new(text)).expect("own messages are messages")
}

fn server_meta(info: &str) -> String {
    format!(r#"{{"{SERVER_INFO}":{info}}}"#)
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    const INFO: &str = r#"{"name":"s"}"#;

    fn check(method: &str, capabilities: &str, answer: &str, expected: &str) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":7,{answer}}}"#);
        let frame = Frame::parse(text.into(), &Limits::default()).unwrap();
        let turn = Turn {
            id: r#""a""#.into(),
            token: None,
            level: None,
            abilities: Abilities::of(capabilities),
        };
        let question = Question {
            method,
            uri: Some("x:1"),
            turn: &turn,
        };
        let (status, frame) = translate(question, &frame, Some(INFO));
        let seen = format!("{status} {}", frame.text());
        let expected = expected.replace('#', r#"{"jsonrpc":"2.0","id":"a","#);
        let expected =
            expected.replace("@", r#""io.modelcontextprotocol/serverInfo":{"name":"s"}"#);
        assert_eq!(seen, expected, "{method} {answer}");
    }

    #[test]
    fn results_gain_what_this_era_wants() {
        check(
            "tools/call",
            "{}",
            r#""result":{"content":[1.0]}"#,
            r#"200 #"result":{"content":[1.0],"resultType":"complete","_meta":{@}}}"#,
        );
        check(
            "tools/call",
            "{}",
            r#""result":{"structuredContent":{}}"#,
            r#"200 #"result":{"structuredContent":{},"resultType":"complete","content":[],"_meta":{@}}}"#,
        );
        check(
            "completion/complete",
            "{}",
            r#""result":{}"#,
            r#"200 #"result":{"resultType":"complete","_meta":{@}}}"#,
        );
        check(
            "tools/list",
            "{}",
            r#""result":{"tools":[],"_meta":{"x":1}}"#,
            r#"200 #"result":{"tools":[],"_meta":{"x":1,@},"resultType":"complete","ttlMs":0,"cacheScope":"private"}}"#,
        );
    }

    #[test]
    fn what_is_there_stays() {
        check(
            "tools/list",
            "{}",
            r#""result":{"resultType":"x","ttlMs":5,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":1}}"#,
            r#"200 #"result":{"resultType":"x","ttlMs":5,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":1}}}"#,
        );
    }

    #[test]
    fn errors_get_this_eras_codes() {
        check(
            "resources/read",
            "{}",
            r#""error":{"code":-32002,"message":"m"}"#,
            r#"400 #"error":{"code":-32602,"message":"m","data":{"uri":"x:1"}}}"#,
        );
        check(
            "resources/read",
            "{}",
            r#""error":{"code":-32002,"message":"m","data":{"k":1}}"#,
            r#"400 #"error":{"code":-32602,"message":"m","data":{"k":1,"uri":"x:1"}}}"#,
        );
        check(
            "a/b",
            "{}",
            r#""error":{"code":-32601,"message":"m"}"#,
            r#"404 #"error":{"code":-32601,"message":"m"}}"#,
        );
        check(
            "tools/call",
            "{}",
            r#""error":{"code":-32602,"message":"m"}"#,
            r#"400 #"error":{"code":-32602,"message":"m"}}"#,
        );
        check(
            "tools/call",
            "{}",
            r#""error":{"code":-32603,"message":"m"}"#,
            r#"200 #"error":{"code":-32603,"message":"m"}}"#,
        );
    }

    #[test]
    fn a_url_to_visit_is_asked_without_a_state() {
        let error = r#""error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://x/","message":"go"}]}}"#;
        check(
            "tools/call",
            r#"{"elicitation":{"url":{}}}"#,
            error,
            r#"200 #"result":{"resultType":"input_required","inputRequests":{"ask-1":{"method":"elicitation/create","params":{"mode":"url","url":"https://x/","message":"go"}}},"_meta":{@}}}"#,
        );
        check(
            "tools/call",
            "{}",
            error,
            r#"400 #"error":{"code":-32021,"message":"the server wants the user to visit a URL","data":{"requiredCapabilities":{"elicitation":{"url":{}}}}}}"#,
        );
    }
}
