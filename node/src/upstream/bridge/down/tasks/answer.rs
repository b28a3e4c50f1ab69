//! Tasks of 2025-11-25 as a client of the extension reads them.

use lockgate_proto::jsonrpc::{Frame, Kind, Span, Splice, decode_str, encode_str, find};
use lockgate_proto::mcp::code;

use crate::upstream::bridge::tasks::{to_stateless, unrelated};

use super::super::answer::own;

/// State of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It goes on, as far as anybody knows.
    Working,
    /// It waits for its client.
    InputRequired,
    /// It has an answer.
    Ended,
    /// It has none.
    Cancelled,
}

impl Status {
    /// Of a raw `Task`.
    pub(super) fn of(task: &str) -> Self {
        let status = find(task, "status").and_then(|at| decode_str(at.of(task)));
        match status.as_deref() {
            Some("input_required") => Self::InputRequired,
            Some("completed" | "failed") => Self::Ended,
            Some("cancelled") => Self::Cancelled,
            _ => Self::Working,
        }
    }
}

/// What is told beside the state.
#[derive(Clone, Copy, Debug)]
pub(super) enum Detail<'a> {
    /// Nothing; the state under another name, where the server's own would promise more.
    Only(&'static str),
    /// Raw `inputRequests`.
    Questions(&'a str),
    /// The answer to the call.
    Answer(&'a Frame),
}

/// Raw `CreateTaskResult` for the id `id`. `result` is that of 2025-11-25.
pub(super) fn created(result: &str, task: &str, id: &str) -> String {
    let state = renamed(task, id, None);
    let meta = find(result, "_meta").map(|at| at.of(result));
    let meta = meta.map_or_else(String::new, |meta| format!(r#","_meta":{meta}"#));
    format!(r#"{{"resultType":"task",{state}{meta}}}"#)
}

/// Raw `GetTaskResult`.
pub(super) fn state(task: &str, id: &str, detail: Detail<'_>) -> String {
    let (status, more) = match detail {
        Detail::Only(status) => (status, String::new()),
        Detail::Questions(raw) => ("input_required", format!(r#","inputRequests":{raw}"#)),
        Detail::Answer(frame) => {
            let body = frame.body().unwrap_or("{}");
            // 2025-11-25 calls a tool's own error a failure, too; here "the `failed` status MUST NOT be used" for it.
            if frame.kind() == Kind::Error {
                ("failed", format!(r#","error":{}"#, error(body)))
            } else {
                ("completed", format!(r#","result":{}"#, result(body)))
            }
        }
    };
    let state = renamed(task, id, Some(status));
    let why = match detail {
        Detail::Answer(frame) if find(task, "statusMessage").is_none() => failure(frame),
        _ => None,
    };
    let why = why.map_or_else(String::new, |why| format!(r#","statusMessage":{why}"#));
    format!(r#"{{"resultType":"complete",{state}{why}{more}}}"#)
}

/// Raw message of the error that a call has failed with: whoever sees the state alone is to know.
fn failure(answer: &Frame) -> Option<&str> {
    let error = answer.body().filter(|_| answer.kind() == Kind::Error)?;
    let message = find(error, "message")?.of(error);
    message.starts_with('"').then_some(message)
}

fn renamed(task: &str, id: &str, status: Option<&str>) -> String {
    let mut splice = Splice::new(task);
    let whole = Span::new(0, task.len());
    splice.set_member(whole, "taskId", &encode_str(id));
    if let Some(status) = status {
        splice.set_member(whole, "status", &encode_str(status));
    }
    to_stateless(&String::from_utf8_lossy(&splice.finish()))
}

/// Result of a tool, which has its state around it and needs no tie to it.
fn result(raw: &str) -> String {
    let untied = unrelated(raw);
    if find(&untied, "content").is_some() {
        return untied;
    }
    let mut splice = Splice::new(&untied);
    splice.set_member(Span::new(0, untied.len()), "content", "[]");
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

/// Error of a call. Codes that "MUST NOT be emitted" in this era go.
fn error(raw: &str) -> String {
    let code = find(raw, "code").and_then(|at| at.of(raw).parse::<i32>().ok());
    let own = match code {
        Some(code::RESOURCE_NOT_FOUND) => code::INVALID_PARAMS,
        Some(code::URL_ELICITATION_REQUIRED) => code::INTERNAL_ERROR,
        _ => return raw.to_owned(),
    };
    let mut splice = Splice::new(raw);
    splice.set_member(Span::new(0, raw.len()), "code", &own.to_string());
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

/// An answer with this raw result.
pub(super) fn with(result: &str) -> Frame {
    own(&format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#))
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    const TASK: &str =
        r#"{"taskId":"s","status":"failed","createdAt":"c","ttl":5,"pollInterval":1}"#;

    fn frame(body: &str) -> Frame {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#);
        Frame::parse(text.into(), &Limits::default()).unwrap()
    }

    #[track_caller]
    fn check(detail: Detail<'_>, status: &str, more: &str) {
        assert_eq!(
            state(TASK, "o", detail),
            format!(
                r#"{{"resultType":"complete","taskId":"o","status":"{status}","createdAt":"c","ttlMs":5,"pollIntervalMs":1{more}}}"#
            )
        );
    }

    #[test]
    fn a_state_comes_with_what_belongs_to_it() {
        check(Detail::Only("working"), "working", "");
        check(
            Detail::Questions("{}"),
            "input_required",
            r#","inputRequests":{}"#,
        );
        let failed = frame(
            r#""result":{"content":[],"isError":true,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"s"}}}"#,
        );
        check(
            Detail::Answer(&failed),
            "completed",
            r#","result":{"content":[],"isError":true}"#,
        );
        let bare = frame(r#""result":{}"#);
        check(
            Detail::Answer(&bare),
            "completed",
            r#","result":{"content":[]}"#,
        );
        for (theirs, ours) in [(-32603, -32603), (-32002, -32602), (-32042, -32603)] {
            let broken = frame(&format!(r#""error":{{"code":{theirs},"message":"m"}}"#));
            let more = format!(r#","statusMessage":"m","error":{{"code":{ours},"message":"m"}}"#);
            check(Detail::Answer(&broken), "failed", &more);
        }
    }

    #[test]
    fn a_created_task_is_flat() {
        let result = r#"{"task":{},"_meta":{"k":1}}"#;
        assert_eq!(
            created(result, TASK, "o"),
            r#"{"resultType":"task","taskId":"o","status":"failed","createdAt":"c","ttlMs":5,"pollIntervalMs":1,"_meta":{"k":1}}"#
        );
    }

    #[test]
    fn a_state_that_nobody_knows_is_work() {
        for (task, status) in [
            (r#"{"status":"working"}"#, Status::Working),
            (r#"{"status":"input_required"}"#, Status::InputRequired),
            (r#"{"status":"completed"}"#, Status::Ended),
            (r#"{"status":"failed"}"#, Status::Ended),
            (r#"{"status":"cancelled"}"#, Status::Cancelled),
            (r#"{"status":"submitted"}"#, Status::Working),
            ("{}", Status::Working),
        ] {
            assert_eq!(Status::of(task), status, "{task}");
        }
    }
}
