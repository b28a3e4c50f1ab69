//! A stateless server's answer as a client of the session era reads it.

use bytes::Bytes;
use lockgate_proto::jsonrpc::{
    Frame, Kind, Limits, Member, Span, Splice, decode_str, elements, encode_str, find, find_path,
    members,
};
use lockgate_proto::mcp::param_headers::annotations;
use lockgate_proto::mcp::{Revision, code, method};
use serde::{Deserialize, Serialize};

use crate::upstream::bridge::tasks;

use super::tasks::Wish;
use super::{catalog, content, strip};

/// Name that the server gives itself in every result.
pub(super) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// Members that say how long and to whom a cacheable result may be shown.
const CACHE_HINTS: [&str; 2] = ["ttlMs", "cacheScope"];

/// What an answer means.
#[derive(Debug)]
pub(super) enum Answered {
    /// The answer for the client.
    Done(Frame),
    /// The server wants input first; the frame is as the server wrote it.
    Wants(Frame),
    /// The server has made a task of the call.
    Task(Frame),
    /// The server cannot answer this call but by a task, which it was not allowed to make. The error for a client that
    /// cannot be helped.
    NeedsTask(Frame),
    /// The server takes what the gateway has added to the request for wrong. The client has no part in that.
    Misfit {
        /// Error code.
        code: i32,
        /// What the server says.
        message: String,
    },
    /// Not an answer of that revision.
    Garbage(String),
}

/// What the gateway has to know of a request to read its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Method.
    pub(super) method: Box<str>,
    /// The called tool as its server lists it, where the gateway knows it.
    pub(super) tool: Option<Bytes>,
    /// Whether the server may make tasks of calls.
    pub(super) may_be_tasks: bool,
    /// What the client wants of a task.
    pub(super) wish: Option<Wish>,
    /// Revision of the client.
    pub(super) revision: Revision,
}

impl Asked {
    /// Whether the tool's output schema is shown as that of an object, which it is not; `None` for an unknown tool.
    fn wraps(&self) -> Option<bool> {
        let tool = std::str::from_utf8(self.tool.as_deref()?).ok()?;
        Some(catalog::output_schema(tool).is_some())
    }
}

/// Reads an answer and translates it.
pub(super) fn translate(asked: &Asked, frame: Frame) -> Answered {
    match frame.kind() {
        Kind::Result => result(asked, frame),
        _ => error(asked, frame),
    }
}

fn result(asked: &Asked, frame: Frame) -> Answered {
    let text = frame.text();
    let Some(body) = frame.body_span() else {
        return Answered::Done(frame);
    };
    let found: Vec<_> = members(body.of(text)).collect();
    let kind = found.iter().rfind(|member| member.key == "resultType");
    match kind.map(|kind| kind.value) {
        None | Some("\"complete\"") => {}
        Some("\"input_required\"") => return Answered::Wants(frame),
        Some("\"task\"") if asked.may_be_tasks && *asked.method == *method::TOOLS_CALL => {
            return Answered::Task(frame);
        }
        Some(other) => {
            return Answered::Garbage(format!("a result of the unknown type {other}"));
        }
    }
    let mut splice = Splice::new(text);
    let cacheable = is_cacheable(&asked.method);
    let kept = strip::remove(&mut splice, body, &found, |member| {
        member.key == "resultType"
            || (cacheable && CACHE_HINTS.contains(&&*member.key))
            || (member.key == "_meta" && names_server_only(member))
    });
    let meta = found.iter().rfind(|member| member.key == "_meta");
    if let Some(meta) = meta.filter(|meta| !names_server_only(meta)) {
        splice.remove_member(meta.value_span.shift(body.start), SERVER_INFO);
    }
    match &*asked.method {
        method::TOOLS_CALL => {
            let mut object = Object {
                splice: &mut splice,
                text,
                body,
                found: &found,
                kept,
            };
            object.tool_result(asked);
        }
        method::PROMPTS_GET if !content::knows_links(asked.revision) => {
            if let Some(messages) = found.iter().rfind(|member| member.key == "messages") {
                let list = messages.value_span.shift(body.start);
                content::links_in_messages(&mut splice, text, list);
            }
        }
        method::TOOLS_LIST => {
            if let Some(tools) = found.iter().rfind(|member| member.key == "tools") {
                let list = tools.value_span.shift(body.start);
                tools_page(&mut splice, text, list, asked.may_be_tasks);
            }
        }
        _ => {}
    }
    if splice.is_empty() {
        return Answered::Done(frame);
    }
    match Frame::edited(splice) {
        Ok(frame) => Answered::Done(frame),
        Err(error) => Answered::Garbage(error.to_string()),
    }
}

fn is_cacheable(called: &str) -> bool {
    matches!(
        called,
        method::TOOLS_LIST
            | method::PROMPTS_LIST
            | method::RESOURCES_LIST
            | method::TEMPLATES_LIST
            | method::RESOURCES_READ
            | method::SKILLS_LIST
            | method::SKILLS_GET
    )
}

/// Whether nothing would be left of this `_meta` without the server's name.
fn names_server_only(meta: &Member<'_>) -> bool {
    let mut keys = members(meta.value).map(|member| member.key);
    keys.next().is_some_and(|key| key == SERVER_INFO) && keys.all(|key| key == SERVER_INFO)
}

/// The result of a tool, on its way through.
struct Object<'a, 'b> {
    splice: &'a mut Splice<'b>,
    text: &'b str,
    body: Span,
    found: &'a [Member<'b>],
    kept: usize,
}

impl<'a, 'b> Object<'a, 'b> {
    /// Puts structured content that is no object into one, with its text beside it for those who read only that.
    /// The output schema is shown that way, too.
    fn tool_result(&mut self, asked: &Asked) {
        let structured = self.member("structuredContent");
        let text = structured.and_then(|structured| {
            let is_object = structured.value.starts_with('{');
            (!is_object || asked.wraps() == Some(true)).then(|| {
                let at = structured.value_span.shift(self.body.start);
                self.splice
                    .replace(at, format!(r#"{{"result":{}}}"#, structured.value));
                structured.value
            })
        });
        let block = text.map(|json| format!(r#"{{"type":"text","text":{}}}"#, encode_str(json)));
        let Some(content) = self.member("content") else {
            // Required up to 2025-11-25.
            let comma = if self.kept == 0 { "" } else { "," };
            let added = format!(r#""content":[{}]{comma}"#, block.unwrap_or_default());
            let at = self.body.start + 1;
            self.splice.replace(Span { start: at, end: at }, added);
            return;
        };
        let is_empty = elements(content.value).next().is_none();
        let at = content.value_span.shift(self.body.start);
        if let Some(block) = block.filter(|_| is_empty) {
            self.splice.replace(at, format!("[{block}]"));
        } else if !content::knows_links(asked.revision) {
            content::links_as_text(self.splice, self.text, at);
        }
    }

    fn member(&self, key: &str) -> Option<&'a Member<'b>> {
        self.found.iter().rfind(|member| member.key == key)
    }
}

/// One page of `tools/list` that the client fetches itself: without tools that no client over HTTP may use, and with
/// output schemas as the gateway's own lists show them.
fn tools_page(splice: &mut Splice<'_>, text: &str, list: Span, may_be_tasks: bool) {
    let tools: Vec<Span> = elements(list.of(text))
        .map(|span| span.shift(list.start))
        .collect();
    let fits = |tool: &Span| {
        let tool = tool.of(text);
        find(tool, "inputSchema").is_none_or(|schema| annotations(schema.of(tool)).is_ok())
    };
    if !tools.iter().all(fits) {
        let shown: Vec<String> = tools
            .iter()
            .filter(|tool| fits(tool))
            .map(|tool| {
                let tool = tool.of(text);
                let mut own = Splice::new(tool);
                catalog::show(&mut own, tool, 0, may_be_tasks);
                String::from_utf8_lossy(&own.finish()).into_owned()
            })
            .collect();
        splice.replace(list, format!("[{}]", shown.join(",")));
        return;
    }
    for tool in tools {
        catalog::show(splice, tool.of(text), tool.start, may_be_tasks);
    }
}

fn error(asked: &Asked, frame: Frame) -> Answered {
    let text = frame.text();
    let Some(body) = frame.body_span() else {
        return Answered::Done(frame);
    };
    let error = body.of(text);
    let Some(at) = find(error, "code") else {
        return Answered::Done(frame);
    };
    let translated = match at.of(error).parse::<i32>() {
        Ok(code @ (code::HEADER_MISMATCH | code::UNSUPPORTED_VERSION)) => {
            let message = find(error, "message").and_then(|at| decode_str(at.of(error)));
            return Answered::Misfit {
                code,
                message: message.unwrap_or_default().into_owned(),
            };
        }
        Ok(code::INVALID_PARAMS)
            if *asked.method == *method::RESOURCES_READ
                && find_path(error, &["data", "uri"]).is_some() =>
        {
            code::RESOURCE_NOT_FOUND
        }
        // The session era has no word for it; its servers say it by the code of bad parameters.
        Ok(code::MISSING_CAPABILITY) => code::INVALID_PARAMS,
        _ => return Answered::Done(frame),
    };
    let needs_task = translated == code::INVALID_PARAMS && needs_task(asked, error);
    let mut splice = Splice::new(text);
    splice.replace(at.shift(body.start), translated.to_string());
    match Frame::edited(splice) {
        Ok(frame) if needs_task => Answered::NeedsTask(frame),
        Ok(frame) => Answered::Done(frame),
        Err(error) => Answered::Garbage(error.to_string()),
    }
}

/// Whether a tool cannot be called but as a task.
fn needs_task(asked: &Asked, error: &str) -> bool {
    let needed = ["data", "requiredCapabilities"];
    *asked.method == *method::TOOLS_CALL
        && asked.may_be_tasks
        && find_path(error, &needed).is_some_and(|at| tasks::declares(at.of(error)))
}

/// How a call ends that the client or the gateway could not see through: for a tool as its own error, which a model
/// can read, for everything else as an error of the protocol. `id` is raw.
pub(super) fn failure(called: &str, id: &str, message: &str) -> Option<Frame> {
    let message = encode_str(message);
    let body = if called == method::TOOLS_CALL {
        format!(r#""result":{{"content":[{{"type":"text","text":{message}}}],"isError":true}}"#)
    } else {
        let code = code::INTERNAL_ERROR;
        format!(r#""error":{{"code":{code},"message":{message}}}"#)
    };
    message_of(format!(r#"{{"jsonrpc":"2.0","id":{id},{body}}}"#))
}

/// A message that the gateway writes itself. `None` cannot come out of texts that were messages, or parts of them.
pub(super) fn message_of(text: String) -> Option<Frame> {
    Frame::parse(text.into(), &WIDE).ok()
}

/// Bounds that nothing passes which came in through the bounds of a transport.
pub(super) const WIDE: Limits = Limits {
    body_bytes_max: u32::MAX as usize,
    depth_max: 1024,
    batch_max: 1,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// `wraps`: whether the tool's output schema is that of a string; `None` for an unknown tool.
    fn read(called: &str, wraps: Option<bool>, body: &str) -> Answered {
        let tool = wraps.map(|wraps| {
            let kind = if wraps { "string" } else { "object" };
            Bytes::from(format!(
                r#"{{"name":"a","outputSchema":{{"type":"{kind}"}}}}"#
            ))
        });
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#);
        let asked = Asked {
            method: called.into(),
            tool,
            may_be_tasks: false,
            wish: None,
            revision: Revision::V2025_11_25,
        };
        translate(&asked, Frame::parse(text.into(), &WIDE).unwrap())
    }

    #[track_caller]
    fn check(called: &str, wraps: Option<bool>, body: &str, expected: &str) {
        let Answered::Done(frame) = read(called, wraps, body) else {
            panic!("{body} is not an answer");
        };
        let expected = format!(r#"{{"jsonrpc":"2.0","id":1,{expected}}}"#);
        assert_eq!(frame.text(), expected);
    }

    #[test]
    fn what_only_the_stateless_era_says_is_left_out() {
        check(
            "tools/list",
            None,
            r#""result":{"resultType":"complete","tools":[],"ttlMs":5,"x":1.0,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#,
            r#""result":{"tools":[],"x":1.0}"#,
        );
        check(
            "completion/complete",
            None,
            r#""result":{"completion":{},"ttlMs":5,"_meta":{"io.modelcontextprotocol/serverInfo":{},"v":1}}"#,
            r#""result":{"completion":{},"ttlMs":5,"_meta":{"v":1}}"#,
        );
        check(
            "ext/x",
            None,
            r#""result":{"resultType":"complete"}"#,
            r#""result":{}"#,
        );
        check("ext/x", None, r#""result":{"a":1}"#, r#""result":{"a":1}"#);
    }

    #[test]
    fn structured_content_becomes_an_object_with_its_text() {
        check(
            "tools/call",
            None,
            r#""result":{"resultType":"complete","content":[],"structuredContent":[1,"a"]}"#,
            r#""result":{"content":[{"type":"text","text":"[1,\"a\"]"}],"structuredContent":{"result":[1,"a"]}}"#,
        );
        check(
            "tools/call",
            Some(true),
            r#""result":{"structuredContent":{"a":1}}"#,
            r#""result":{"content":[{"type":"text","text":"{\"a\":1}"}],"structuredContent":{"result":{"a":1}}}"#,
        );
        let kept =
            r#""result":{"content":[{"type":"text","text":"own"}],"structuredContent":{"a":1}}"#;
        check("tools/call", Some(false), kept, kept);
        check(
            "tools/call",
            Some(true),
            r#""result":{"content":[{"type":"text","text":"own"}],"structuredContent":null}"#,
            r#""result":{"content":[{"type":"text","text":"own"}],"structuredContent":{"result":null}}"#,
        );
    }

    #[test]
    fn content_is_never_missing() {
        check(
            "tools/call",
            None,
            r#""result":{"resultType":"complete"}"#,
            r#""result":{"content":[]}"#,
        );
        check(
            "tools/call",
            None,
            r#""result":{"resultType":"complete","isError":true}"#,
            r#""result":{"content":[],"isError":true}"#,
        );
    }

    #[test]
    fn pages_of_tools_look_like_the_gateways_own_lists() {
        check(
            "tools/list",
            None,
            r#""result":{"tools":[{"name":"a","outputSchema":true},{"name":"b"}]}"#,
            r#""result":{"tools":[{"name":"a","outputSchema":{"type":"object","properties":{"result":true},"required":["result"]}},{"name":"b"}]}"#,
        );
        check(
            "tools/list",
            None,
            r#""result":{"tools":[{"name":"a","outputSchema":true},{"name":"b","inputSchema":{"properties":{"p":{"type":"string","x-mcp-header":""}}}}]}"#,
            r#""result":{"tools":[{"name":"a","outputSchema":{"type":"object","properties":{"result":true},"required":["result"]}}]}"#,
        );
    }

    #[test]
    fn error_codes_are_those_of_the_session_era() {
        let error =
            |code: i32, data: &str| format!(r#""error":{{"code":{code},"message":"m"{data}}}"#);
        let uri = r#","data":{"uri":"a:b"}"#;
        check(
            "resources/read",
            None,
            &error(-32602, uri),
            &error(-32002, uri),
        );
        check(
            "resources/read",
            None,
            &error(-32602, ""),
            &error(-32602, ""),
        );
        check("tools/call", None, &error(-32602, uri), &error(-32602, uri));
        check("tools/call", None, &error(-32021, ""), &error(-32602, ""));
        check("x/y", None, &error(-32601, ""), &error(-32601, ""));
        for code in [-32020, -32022] {
            assert!(matches!(
                read("tools/call", None, &error(code, "")),
                Answered::Misfit { message, .. } if message == "m"
            ));
        }
    }

    #[test]
    fn a_result_of_an_unknown_type_is_none() {
        let read = read(
            "tools/call",
            None,
            r#""result":{"resultType":"task","taskId":"1"}"#,
        );
        assert!(matches!(read, Answered::Garbage(_)));
    }

    #[test]
    fn a_tool_fails_in_band_and_everything_else_by_an_error() {
        assert_eq!(
            failure("tools/call", "7", "no \"way\"").unwrap().text(),
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"no \"way\""}],"isError":true}}"#
        );
        assert_eq!(
            failure("prompts/get", "7", "no").unwrap().text(),
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"no"}}"#
        );
    }
}
