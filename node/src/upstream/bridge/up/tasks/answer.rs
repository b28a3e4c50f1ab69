//! What a stateless server says of a task, as a client of 2025-11-25 reads it.

use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind, Span, Splice, decode_str, encode_str, find, members};
use lockgate_proto::mcp::{code, method};
use serde::{Deserialize, Serialize};

use crate::upstream::bridge::tasks;
use crate::upstream::bridge::up::answer::{SERVER_INFO, message_of};

/// How long to wait before asking again, for a server that names nothing.
const POLL: Duration = Duration::from_secs(1);
/// Shortest such wait, whatever the server names.
const POLL_MIN: Duration = Duration::from_millis(50);
/// Longest.
const POLL_MAX: Duration = Duration::from_secs(30);

/// `CreateTaskResult` of 2025-11-25. `task` is a raw `Task`, `meta` the raw `_meta` of the server's answer.
pub(super) fn created(id: &str, task: &str, meta: Option<&str>) -> Option<Frame> {
    let meta = meta.map(own_meta).filter(|meta| meta != "{}");
    let meta = meta.map_or_else(String::new, |meta| format!(r#","_meta":{meta}"#));
    message_of(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"task":{task}{meta}}}}}"#
    ))
}

/// Without the name that the server gives itself in every result.
fn own_meta(meta: &str) -> String {
    let mut splice = Splice::new(meta);
    splice.remove_member(Span::new(0, meta.len()), SERVER_INFO);
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

/// A result that is a raw `Task`.
pub(super) fn state(id: &str, task: &str) -> Option<Frame> {
    message_of(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{task}}}"#))
}

/// An error in the server's place.
pub(super) fn refusal(id: &str, code: i32, message: &str) -> Option<Frame> {
    message_of(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{}}}}}"#,
        encode_str(message)
    ))
}

/// "Invalid or nonexistent `taskId`: `-32602`".
pub(super) fn unknown(id: &str) -> Option<Frame> {
    refusal(id, code::INVALID_PARAMS, "no such task")
}

/// Id of the task that an answer is about.
pub(super) fn task_id(answer: &Frame) -> Option<String> {
    let at = answer.body_member(&["taskId"])?;
    decode_str(at.of(answer.text())).map(std::borrow::Cow::into_owned)
}

/// State of a task, as `tasks/get` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Status {
    /// It goes on.
    Working,
    /// It waits for its client.
    InputRequired,
    /// It has a result.
    Completed,
    /// It has an error.
    Failed,
    /// It has neither.
    Cancelled,
}

impl Status {
    /// `None` for a state that no revision knows.
    pub(super) fn of(task: &str) -> Option<Self> {
        let at = find(task, "status")?;
        Some(match &*decode_str(at.of(task))? {
            "working" => Self::Working,
            "input_required" => Self::InputRequired,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
    }

    /// Whether nothing follows.
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// When to ask for a task again.
pub(super) fn poll_after(task: &str) -> Duration {
    let named = find(task, "pollIntervalMs").and_then(|at| at.of(task).parse::<f64>().ok());
    let named = named.and_then(|ms| Duration::try_from_secs_f64(ms / 1_000.0).ok());
    named.unwrap_or(POLL).clamp(POLL_MIN, POLL_MAX)
}

/// How the call of a task has ended, as its server would have answered it. `None` while it has not, or where the
/// server does not say what it must.
pub(super) fn ended(id: &str, task: &str) -> Option<Frame> {
    let piece = |key| find(task, key).map(|at| at.of(task));
    match Status::of(task)? {
        Status::Completed => {
            let result = piece("result")?;
            message_of(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
            ))
        }
        Status::Failed => {
            let error = piece("error")?;
            message_of(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
        }
        Status::Cancelled => refusal(id, code::INTERNAL_ERROR, "the task was cancelled"),
        Status::Working | Status::InputRequired => None,
    }
}

/// The result of a task, tied to it: "The `tasks/result` operation MUST include this metadata in its response".
pub(super) fn tied(answer: Frame, task_id: &str) -> Frame {
    if answer.kind() != Kind::Result {
        return answer;
    }
    let Some(body) = answer.body_span() else {
        return answer;
    };
    let mut splice = Splice::new(answer.text());
    tasks::relate(&mut splice, answer.text(), body, &encode_str(task_id));
    // Cannot fail: valid JSON was put between members of valid JSON. Unedited it would lack what the client knows.
    Frame::edited(splice).unwrap_or(answer)
}

/// The questions of a task that are still to be put to its client, as a server that wants input before it begins
/// would put them; tied to the task, where the client knows of it. `None` when there are none.
pub(super) fn questions(
    task: &str,
    tie: Option<&str>,
    is_answered: impl Fn(&str) -> bool,
) -> Option<Frame> {
    let inputs = find(task, "inputRequests").map(|at| at.of(task))?;
    let tie = tie.map(encode_str);
    let open: Vec<String> = members(inputs)
        .filter(|input| !is_answered(&input.key))
        .map(|input| {
            let question = match &tie {
                Some(id) => tied_question(input.value, id),
                None => input.value.to_owned(),
            };
            format!("{}:{question}", encode_str(&input.key))
        })
        .collect();
    if open.is_empty() {
        return None;
    }
    message_of(format!(
        r#"{{"jsonrpc":"2.0","id":0,"result":{{"inputRequests":{{{}}}}}}}"#,
        open.join(",")
    ))
}

/// "The receiver MUST include the related-task metadata in the request".
fn tied_question(input: &str, id: &str) -> String {
    let mut splice = Splice::new(input);
    match find(input, "params") {
        Some(params) => tasks::relate(&mut splice, input, params, id),
        None => {
            let whole = Span::new(0, input.len());
            splice.set_member(whole, "params", &tasks::related("{}", id));
        }
    }
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

/// The news of a state.
pub(super) fn told(task: &str) -> Option<Frame> {
    let (method, task) = (method::TASK_STATUS, tasks::to_session(task));
    message_of(format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{task}}}"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: Option<Frame>) -> String {
        frame.unwrap().text().to_owned()
    }

    #[test]
    fn a_created_task_stands_in_an_envelope() {
        assert_eq!(
            text(created(
                "7",
                r#"{"taskId":"t"}"#,
                Some(r#"{"io.modelcontextprotocol/serverInfo":{}}"#)
            )),
            r#"{"jsonrpc":"2.0","id":7,"result":{"task":{"taskId":"t"}}}"#
        );
        let meta = r#"{"io.modelcontextprotocol/model-immediate-response":"soon","io.modelcontextprotocol/serverInfo":{}}"#;
        assert_eq!(
            text(created("7", "{}", Some(meta))),
            r#"{"jsonrpc":"2.0","id":7,"result":{"task":{},"_meta":{"io.modelcontextprotocol/model-immediate-response":"soon"}}}"#
        );
    }

    #[test]
    fn a_task_ends_as_its_call_would_have_ended() {
        for (task, expected) in [
            (
                r#"{"status":"completed","result":{"content":[],"isError":true}}"#,
                Some(r#""result":{"content":[],"isError":true}"#),
            ),
            (
                r#"{"status":"failed","error":{"code":-32603,"message":"m"}}"#,
                Some(r#""error":{"code":-32603,"message":"m"}"#),
            ),
            (
                r#"{"status":"cancelled"}"#,
                Some(r#""error":{"code":-32603,"message":"the task was cancelled"}"#),
            ),
            (r#"{"status":"completed"}"#, None),
            (r#"{"status":"failed","result":{}}"#, None),
            (r#"{"status":"working","result":{}}"#, None),
            (r#"{"status":"later","result":{}}"#, None),
            ("{}", None),
        ] {
            let seen = ended("7", task).map(|frame| frame.text().to_owned());
            let expected = expected.map(|body| format!(r#"{{"jsonrpc":"2.0","id":7,{body}}}"#));
            assert_eq!(seen, expected, "{task}");
        }
    }

    #[test]
    fn open_questions_are_tied_to_their_task() {
        let task = r#"{"inputRequests":{"a":{"method":"roots/list"},"b":{"method":"elicitation/create","params":{"message":"m","_meta":{"k":1}}}}}"#;
        let asked = |answered: &[&str]| questions(task, Some("t"), |key| answered.contains(&key));
        let related = r#""io.modelcontextprotocol/related-task":{"taskId":"t"}"#;
        let roots = format!(r#""a":{{"method":"roots/list","params":{{"_meta":{{{related}}}}}}}"#);
        let form = format!(
            r#""b":{{"method":"elicitation/create","params":{{"message":"m","_meta":{{"k":1,{related}}}}}}}"#
        );
        let whole = |asked: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":0,"result":{{"inputRequests":{{{asked}}}}}}}"#)
        };
        assert_eq!(text(asked(&[])), whole(&format!("{roots},{form}")));
        assert_eq!(text(asked(&["a"])), whole(&form));
        assert!(asked(&["a", "b"]).is_none());
        assert!(questions("{}", Some("t"), |_| false).is_none());
        let hidden = questions(task, None, |key| key == "b");
        assert_eq!(text(hidden), whole(r#""a":{"method":"roots/list"}"#));
    }

    #[test]
    fn servers_are_asked_neither_all_the_time_nor_never() {
        for (task, ms) in [
            ("{}", 1_000),
            (r#"{"pollIntervalMs":500}"#, 500),
            (r#"{"pollIntervalMs":0}"#, 50),
            (r#"{"pollIntervalMs":-1}"#, 1_000),
            (r#"{"pollIntervalMs":1e300}"#, 1_000),
            (r#"{"pollIntervalMs":3600000}"#, 30_000),
            (r#"{"pollIntervalMs":"soon"}"#, 1_000),
        ] {
            assert_eq!(poll_after(task), Duration::from_millis(ms), "{task}");
        }
    }
}
