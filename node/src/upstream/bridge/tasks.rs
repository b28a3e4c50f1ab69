//! Tasks, where the two eras meet. Both have the handle, its states, polling, questions in mid-task and cancellation;
//! they differ in who decides that a call becomes a task, and in how its result is fetched.
//!
//! ```text
//! 2025-11-25                                     extension of 2026-07-28 (io.modelcontextprotocol/tasks)
//! client asks: params.task {ttl}                 server decides, for clients that declare the extension
//! {task: {… ttl, pollInterval}}                  {resultType: "task", … ttlMs, pollIntervalMs}
//! tasks/get: the state                           tasks/get: the state, and the result, error or questions
//! tasks/result: waits; questions on its stream   (none)
//! answers to the questions                       tasks/update
//! tasks/cancel: the cancelled task               tasks/cancel: nothing; the task may go on
//! notifications/tasks/status                     notifications/tasks, of tasks that a listen names
//! tasks/list                                     (none)
//! ```
//!
//! What cannot be translated:
//!
//! - `tasks/list` of a session at a stateless server: the extension has none ("three methods: `tasks/get`,
//!   `tasks/update`, and `tasks/cancel`"). `tasks.list` is not announced and the method is refused: -32601.
//! - `taskIds` in a stateless client's listen at a server with sessions: "Requestors MUST NOT rely on receiving this
//!   notification, as it is optional" (2025-11-25, "Tasks"), so no update can be promised. The acknowledgement leaves
//!   them out, as it may, and the client polls.
//! - Tasks that a client runs for its server (2025-11-25, sampling and elicitation): stateless servers send no
//!   requests, and a stateless client has no method that they could poll. A client's `tasks` are not passed on.

use lockgate_proto::jsonrpc::{Span, Splice, find, find_path, members};

/// Name of the extension.
pub(super) const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// Key in `_meta` that ties a message to a task (2025-11-25).
pub(super) const RELATED: &str = "io.modelcontextprotocol/related-task";

/// Members whose names differ: 2025-11-25, extension.
const NAMES: [(&str, &str); 2] = [("ttl", "ttlMs"), ("pollInterval", "pollIntervalMs")];
/// Members that say more than the state of a task does.
const DETAILS: [&str; 5] = ["resultType", "result", "error", "inputRequests", "_meta"];

/// Whether a client with these raw capabilities can follow a task of the extension.
pub(super) fn declares(capabilities: &str) -> bool {
    is_there(capabilities, &["extensions", EXTENSION])
}

/// Whether a stateless server with these raw capabilities may make tasks.
pub(super) fn offers_extension(capabilities: &str) -> bool {
    declares(capabilities)
}

/// Whether a server of the session era with these raw capabilities runs tools as tasks.
pub(super) fn offers_tools(capabilities: &str) -> bool {
    is_there(capabilities, &["tasks", "requests", "tools", "call"])
}

fn is_there(capabilities: &str, path: &[&str]) -> bool {
    find_path(capabilities, path).is_some_and(|span| span.of(capabilities).starts_with('{'))
}

/// What a tool of the session era says about tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    /// It cannot be called as one.
    Forbidden,
    /// It can.
    Optional,
    /// It cannot be called otherwise.
    Required,
}

/// Reads a raw tool.
pub(super) fn support(tool: &str) -> Support {
    let at = find_path(tool, &["execution", "taskSupport"]);
    match at.map(|span| span.of(tool)) {
        Some(r#""required""#) => Support::Required,
        Some(r#""optional""#) => Support::Optional,
        _ => Support::Forbidden,
    }
}

/// Whether a raw result is that of a tool which has failed.
pub(super) fn is_error(result: &str) -> bool {
    find(result, "isError").is_some_and(|at| at.of(result) == "true")
}

/// Raw `statusMessage` of a tool's own error. Of a task that has failed "the `tasks/get` response SHOULD include a
/// `statusMessage` field with diagnostic information".
pub(super) const TOOL_FAILED: &str = r#""the tool reported an error""#;

/// A raw task of the extension, or a result that is one, as a raw `Task` of 2025-11-25.
pub(super) fn to_session(task: &str) -> String {
    let mut members = state(task, |key| {
        NAMES
            .iter()
            .find(|(_, theirs)| *theirs == key)
            .map(|(ours, _)| *ours)
    });
    if find(task, "ttlMs").is_none() {
        // Required there; nobody has set a limit.
        members.push_str(r#","ttl":null"#);
    }
    let object = format!("{{{members}}}");
    let mut splice = Splice::new(&object);
    let whole = Span::new(0, object.len());
    let is_tool_error = find(task, "result").is_some_and(|result| is_error(result.of(task)));
    if is_tool_error {
        // "If the tool result has `isError` set to `true`, the task should reach `failed` status"; the extension calls
        // it completed.
        splice.set_member(whole, "status", r#""failed""#);
    }
    let why = if is_tool_error {
        Some(TOOL_FAILED)
    } else {
        error_message(task)
    };
    if let Some(why) = why.filter(|_| find(task, "statusMessage").is_none()) {
        splice.set_member(whole, "statusMessage", why);
    }
    if splice.is_empty() {
        return object;
    }
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

/// Raw message of the error that a raw task of the extension has failed with.
fn error_message(task: &str) -> Option<&str> {
    let message = find_path(task, &["error", "message"])?;
    Some(message.of(task)).filter(|raw| raw.starts_with('"'))
}

/// Raw members, without braces, of a raw `Task` of 2025-11-25, or of a result that is one, as the extension has them.
pub(super) fn to_stateless(task: &str) -> String {
    let mut members = state(task, |key| {
        NAMES
            .iter()
            .find(|(ours, _)| *ours == key)
            .map(|(_, theirs)| *theirs)
    });
    if find(task, "ttl").is_none() {
        members.push_str(r#","ttlMs":null"#);
    }
    members
}

fn state(task: &str, renamed: impl Fn(&str) -> Option<&'static str>) -> String {
    let kept = members(task).filter(|member| !DETAILS.contains(&&*member.key));
    let written = kept.map(|member| {
        // The span holds the quotes, and the escapes.
        let own = member.key_span.of(task);
        match renamed(&member.key) {
            Some(key) => format!(r#""{key}":{}"#, member.value),
            None => format!("{own}:{}", member.value),
        }
    });
    written.collect::<Vec<_>>().join(",")
}

/// Ties the object `object` of `text` (the params of a request, or a result) to a task; `id` is a raw string.
pub(super) fn relate(splice: &mut Splice<'_>, text: &str, object: Span, id: &str) {
    let related = format!(r#"{{"taskId":{id}}}"#);
    let meta = find(object.of(text), "_meta").map(|span| span.shift(object.start));
    match meta.filter(|meta| meta.of(text).starts_with('{')) {
        Some(meta) => splice.set_member(meta, RELATED, &related),
        None => splice.set_member(object, "_meta", &format!(r#"{{"{RELATED}":{related}}}"#)),
    };
}

/// [`relate`] for a raw object of its own.
pub(super) fn related(object: &str, id: &str) -> String {
    let mut splice = Splice::new(object);
    relate(&mut splice, object, Span::new(0, object.len()), id);
    // A splice of text is text.
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

/// A raw object without its tie to a task.
pub(super) fn unrelated(object: &str) -> String {
    let mut splice = Splice::new(object);
    if let Some(meta) = find(object, "_meta") {
        let mut others = members(meta.of(object)).filter(|member| member.key != RELATED);
        if others.next().is_some() {
            splice.remove_member(meta, RELATED);
        } else {
            splice.remove_member(Span::new(0, object.len()), "_meta");
        }
    }
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SESSION: &str = r#"{"taskId":"a","status":"working","statusMessage":"s","createdAt":"c","lastUpdatedAt":"l","ttl":60000,"pollInterval":500,"x":1.0}"#;
    const STATELESS: &str = r#""taskId":"a","status":"working","statusMessage":"s","createdAt":"c","lastUpdatedAt":"l","ttlMs":60000,"pollIntervalMs":500,"x":1.0"#;

    #[test]
    fn a_task_has_the_names_of_its_reader() {
        assert_eq!(to_stateless(SESSION), STATELESS);
        let detailed = format!(
            r#"{{"resultType":"complete",{STATELESS},"result":{{}},"error":{{}},"inputRequests":{{}},"_meta":{{}}}}"#
        );
        assert_eq!(to_session(&detailed), SESSION);
    }

    #[test]
    fn a_tool_that_failed_is_a_failed_task_in_a_session_and_says_why() {
        let failed = r#""status":"failed","ttl":1,"statusMessage":"the tool reported an error""#;
        for (end, expected) in [
            (r#""result":{"content":[],"isError":true}"#, failed),
            (
                r#""statusMessage":"s","result":{"isError":true}"#,
                r#""status":"failed","ttl":1,"statusMessage":"s""#,
            ),
            (
                r#""result":{"content":[],"isError":false}"#,
                r#""status":"completed","ttl":1"#,
            ),
            (r#""result":{}"#, r#""status":"completed","ttl":1"#),
        ] {
            let task = format!(r#"{{"taskId":"a","status":"completed","ttlMs":1,{end}}}"#);
            let expected = format!(r#"{{"taskId":"a",{expected}}}"#);
            assert_eq!(to_session(&task), expected);
        }
        let broken =
            r#"{"taskId":"a","status":"failed","ttlMs":1,"error":{"code":-32603,"message":"m"}}"#;
        assert_eq!(
            to_session(broken),
            r#"{"taskId":"a","status":"failed","ttl":1,"statusMessage":"m"}"#
        );
    }

    #[test]
    fn a_lifetime_that_nobody_has_limited_is_null() {
        assert_eq!(
            to_session(r#"{"taskId":"a"}"#),
            r#"{"taskId":"a","ttl":null}"#
        );
        assert_eq!(
            to_stateless(r#"{"taskId":"a"}"#),
            r#""taskId":"a","ttlMs":null"#
        );
    }

    #[test]
    fn support_is_what_the_tool_says() {
        for (tool, expected) in [
            (
                r#"{"execution":{"taskSupport":"required"}}"#,
                Support::Required,
            ),
            (
                r#"{"execution":{"taskSupport":"optional"}}"#,
                Support::Optional,
            ),
            (
                r#"{"execution":{"taskSupport":"forbidden"}}"#,
                Support::Forbidden,
            ),
            (
                r#"{"execution":{"taskSupport":"later"}}"#,
                Support::Forbidden,
            ),
            (r#"{"execution":{}}"#, Support::Forbidden),
            ("{}", Support::Forbidden),
        ] {
            assert_eq!(support(tool), expected, "{tool}");
        }
    }

    #[test]
    fn capabilities_are_read_where_they_stand() {
        assert!(declares(
            r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#
        ));
        assert!(!declares(r#"{"tasks":{"list":{}},"extensions":{}}"#));
        assert!(offers_tools(
            r#"{"tasks":{"requests":{"tools":{"call":{}}}}}"#
        ));
        assert!(!offers_tools(r#"{"tasks":{"requests":{"tools":{}}}}"#));
    }

    #[test]
    fn a_message_is_tied_to_its_task_and_untied() {
        for (object, tied) in [
            ("{}", r#"{"_meta":{"R":{"taskId":"t"}}}"#),
            (r#"{"a":1}"#, r#"{"a":1,"_meta":{"R":{"taskId":"t"}}}"#),
            (
                r#"{"_meta":{"k":1},"a":1}"#,
                r#"{"_meta":{"k":1,"R":{"taskId":"t"}},"a":1}"#,
            ),
        ] {
            let tied = tied.replace('R', RELATED);
            assert_eq!(related(object, r#""t""#), tied);
            assert_eq!(unrelated(&tied), object);
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_state_is_lost_there_and_back(
            ttl in proptest::option::of(any::<u32>()),
            poll in proptest::option::of(any::<u32>()),
            message in "[ -~]{0,12}",
        ) {
            let ttl = ttl.map_or_else(|| "null".to_owned(), |ttl| ttl.to_string());
            let poll = poll.map(|poll| format!(r#","pollInterval":{poll}"#)).unwrap_or_default();
            let message = lockgate_proto::jsonrpc::encode_str(&message);
            let task = format!(r#"{{"taskId":"a","status":"working","statusMessage":{message},"ttl":{ttl}{poll}}}"#);
            prop_assert_eq!(to_session(&format!("{{{}}}", to_stateless(&task))), task);
        }
    }
}
