//! Parameters that decide where a call goes must read the same for everybody. Of a repeated key this gateway reads the
//! last one, another reader the first; a third takes `Name` for `name`. What policy allows must be what the server
//! does, so such a request is refused.

use std::borrow::Cow;

use lockgate_proto::jsonrpc::{Frame, members, reads_as};
use lockgate_proto::mcp::method;

use crate::error::CallError;

use super::list::kind_of;

/// Parameters of a method that the gateway decides or keeps books by.
fn deciding(method: &str) -> &'static [&'static str] {
    match method {
        method::TOOLS_CALL => &[
            "name",
            "arguments",
            "task",
            "requestState",
            "inputResponses",
        ],
        method::PROMPTS_GET => &["name", "requestState", "inputResponses"],
        method::RESOURCES_READ => &["uri", "requestState", "inputResponses"],
        method::SUBSCRIBE | method::UNSUBSCRIBE | method::SKILLS_GET => &["uri"],
        method::DIRECTORY_READ => &["uri", "cursor"],
        name if is_paged(name) => &["cursor"],
        method::COMPLETE => &["ref"],
        method::TASKS_GET | method::TASKS_RESULT | method::TASKS_CANCEL | method::TASKS_UPDATE => {
            &["taskId"]
        }
        method::LISTEN => &["notifications"],
        _ => &[],
    }
}

/// Whether a method goes on where a `cursor` says.
pub fn is_paged(method: &str) -> bool {
    kind_of(method).is_some() || matches!(method, method::TASKS_LIST | method::DIRECTORY_READ)
}

/// Members of `ref` and `notifications` that decide.
fn deciding_within(key: &str) -> &'static [&'static str] {
    match key {
        "ref" => &["type", "name", "uri"],
        "notifications" => &["resourceSubscriptions", "taskIds"],
        _ => &[],
    }
}

/// Refuses a request whose deciding parameters can be read in more than one way.
///
/// # Errors
///
/// [`CallError::InvalidParams`] when one of them is repeated, or written with other letters than its own.
pub fn check_clear(frame: &Frame) -> Result<(), CallError> {
    let keys = deciding(&frame.method());
    if keys.is_empty() {
        return Ok(());
    }
    check_keys(frame.param_members().map(|(key, _)| key), keys)?;
    for (key, value) in frame.param_members() {
        let within = deciding_within(&key);
        if !within.is_empty() && keys.contains(&&*key) {
            check_keys(members(value).map(|member| member.key), within)?;
        }
    }
    Ok(())
}

/// Checks that every key of an object which reads as one of `deciding` is the only one that does, and written so.
fn check_keys<'a>(
    written: impl Iterator<Item = Cow<'a, str>>,
    deciding: &[&'static str],
) -> Result<(), CallError> {
    let mut seen = 0_u32;
    for key in written {
        let Some(at) = deciding.iter().position(|known| reads_as(&key, known)) else {
            continue;
        };
        if key != deciding[at] || seen & (1 << at) != 0 {
            let what = format!("`{}` must occur once, in these letters", deciding[at]);
            return Err(CallError::InvalidParams { what: what.into() });
        }
        seen |= 1 << at;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    #[track_caller]
    fn check(method: &str, params: &str, clear: bool) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let frame = Frame::parse(text.into(), &Limits::default()).unwrap();
        assert_eq!(check_clear(&frame).is_ok(), clear, "{method} {params}");
    }

    #[test]
    fn a_deciding_parameter_occurs_once_in_its_own_letters() {
        check("tools/call", r#"{"name":"a","arguments":{}}"#, true);
        for params in [
            r#"{"name":"a","name":"a"}"#,
            r#"{"name":"a","Name":"b"}"#,
            r#"{"NAME":"b"}"#,
            r#"{"name":"a","n\u0061me":"b"}"#,
            r#"{"name":"a","arguments":{},"Arguments":{}}"#,
            r#"{"name":"a","argumentſ":{}}"#,
        ] {
            check("tools/call", params, false);
        }
        check(
            "tasks/get",
            "{\"taskId\":\"1\",\"tas\u{212a}Id\":\"2\"}",
            false,
        );
        check("resources/read", r#"{"uri":"a","URI":"b"}"#, false);
    }

    #[test]
    fn so_do_the_names_of_a_retry_and_the_cursor_of_a_page() {
        for method in ["tools/call", "prompts/get", "resources/read"] {
            let own = r#"{"requestState":"a","inputResponses":{}}"#;
            check(method, own, true);
            for params in [
                r#"{"requestState":"a","requestState":"b"}"#,
                r#"{"requestState":"a","requeststate":"b"}"#,
                r#"{"RequestState":"a"}"#,
                r#"{"reque\u017ftState":"a"}"#,
                r#"{"inputResponses":{},"inputResponses":{}}"#,
                r#"{"InputResponses":{}}"#,
            ] {
                check(method, params, false);
            }
        }
        for method in [
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
            "skills/list",
            "tasks/list",
            "resources/directory/read",
        ] {
            check(method, r#"{"cursor":"a"}"#, true);
            check(method, r#"{"cursor":"a","cursor":"b"}"#, false);
            check(method, r#"{"Cursor":"a"}"#, false);
        }
    }

    #[test]
    fn so_do_the_parts_of_references_and_subscriptions() {
        let complete = |of: &str, clear| {
            check("completion/complete", &format!(r#"{{"ref":{of}}}"#), clear);
        };
        complete(r#"{"type":"ref/prompt","name":"a"}"#, true);
        complete(r#"{"type":"ref/prompt","name":"a","Name":"b"}"#, false);
        complete(
            r#"{"type":"ref/prompt","Type":"ref/resource","uri":"b","name":"a"}"#,
            false,
        );
        let listen = |to: &str, clear| {
            check(
                "subscriptions/listen",
                &format!(r#"{{"notifications":{to}}}"#),
                clear,
            );
        };
        listen(
            r#"{"resourceSubscriptions":["a"],"toolsListChanged":true}"#,
            true,
        );
        listen(
            r#"{"resourceSubscriptions":[],"resourcesubscriptions":["a"]}"#,
            false,
        );
        check("subscriptions/listen", r#"{"Notifications":{}}"#, false);
    }

    #[test]
    fn what_decides_nothing_is_the_servers_business() {
        check(
            "tools/call",
            r#"{"name":"a","arguments":{"k":1,"K":2,"k":3}}"#,
            true,
        );
        check("vendor/thing", r#"{"name":"a","Name":"b"}"#, true);
        check(
            "tools/call",
            r#"{"name":"a","ref":{"type":1,"type":2}}"#,
            true,
        );
    }
}
