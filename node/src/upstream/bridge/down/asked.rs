//! One request of a server, on its way to the client and back.

use std::borrow::Cow;

use lockgate_proto::jsonrpc::{Frame, Span, Splice, decode_str, encode_str, find};
use lockgate_proto::mcp::method;
use serde::{Deserialize, Serialize};

use crate::upstream::bridge::tasks::{RELATED, related};

use super::answer;

/// A request that waits for the client's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Under which the client answers; unique in its call.
    pub(super) key: Box<str>,
    /// Raw id that the server gave it.
    pub(super) id: Box<str>,
    /// What is asked.
    pub(super) method: Box<str>,
    /// Raw parameters, without what only the session era has.
    params: Option<Box<str>>,
    /// Raw id of the task that the server asks for.
    task: Option<Box<str>>,
}

/// The client's answer has not the shape that the request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrongShape {
    pub(super) key: Box<str>,
    pub(super) wants: &'static str,
}

impl Asked {
    /// The `n`th request of a call.
    pub(super) fn new(n: usize, request: &Frame) -> Self {
        Self {
            key: key(n),
            id: request.id().unwrap_or("null").into(),
            method: request.method().into(),
            params: request.params().map(without_session_parts),
            task: request
                .param(&["_meta", RELATED, "taskId"])
                .map(|id| id.of(request.text()).into()),
        }
    }

    /// The request to visit a URL, made of one entry of the error that wants it.
    pub(super) fn url(n: usize, elicitation: &str) -> Self {
        Self {
            key: key(n),
            id: "null".into(),
            method: method::ELICITATION.into(),
            params: Some(without_session_parts(elicitation)),
            task: None,
        }
    }

    /// How much of it is kept.
    pub(super) fn n_bytes(&self) -> usize {
        let others = [&self.params, &self.task].into_iter().flatten();
        self.id.len() + self.method.len() + others.map(|text| text.len()).sum::<usize>()
    }

    /// As the server asked it, but for what only the session era has.
    pub(super) fn request(&self) -> Frame {
        let method = encode_str(&self.method);
        let params = self.params.as_deref();
        let params = match &self.task {
            Some(task) => Some(Cow::Owned(related(params.unwrap_or("{}"), task))),
            None => params.map(Cow::Borrowed),
        };
        let params = params.map(|params| format!(r#","params":{params}"#));
        answer::own(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":{method}{}}}"#,
            self.id,
            params.unwrap_or_default()
        ))
    }

    /// As a member of `inputRequests`.
    pub(super) fn member(&self) -> String {
        let (key, method) = (encode_str(&self.key), encode_str(&self.method));
        match &self.params {
            Some(params) => format!(r#"{key}:{{"method":{method},"params":{params}}}"#),
            None => format!(r#"{key}:{{"method":{method}}}"#),
        }
    }

    /// The client's answer in `responses` (raw `inputResponses`), if it gave one.
    ///
    /// # Errors
    ///
    /// [`WrongShape`].
    pub(super) fn answer<'a>(&self, responses: &'a str) -> Result<Option<&'a str>, WrongShape> {
        let Some(span) = find(responses, &self.key) else {
            return Ok(None);
        };
        let raw = span.of(responses);
        self.check(raw).map_err(|wants| WrongShape {
            key: self.key.clone(),
            wants,
        })?;
        Ok(Some(raw))
    }

    fn check(&self, raw: &str) -> Result<(), &'static str> {
        let starts = |key: &str, with: &[char]| {
            find(raw, key).is_some_and(|span| span.of(raw).starts_with(with))
        };
        match &*self.method {
            method::ELICITATION => {
                let action = find(raw, "action").and_then(|span| decode_str(span.of(raw)));
                match action.as_deref() {
                    Some("accept" | "decline" | "cancel") => Ok(()),
                    _ => Err("an object with `action`: accept, decline or cancel"),
                }
            }
            method::SAMPLING => {
                let whole = starts("role", &['"'])
                    && starts("content", &['{', '['])
                    && starts("model", &['"']);
                if whole {
                    Ok(())
                } else {
                    Err("an object with `role`, `content` and `model`")
                }
            }
            method::ROOTS_LIST if starts("roots", &['[']) => Ok(()),
            method::ROOTS_LIST => Err("an object with an array `roots`"),
            _ => Ok(()),
        }
    }
}

fn key(n: usize) -> Box<str> {
    format!("ask-{n}").into()
}

/// `_meta` and tasks belong to the session; ids of elicitations went with it.
fn without_session_parts(params: &str) -> Box<str> {
    let whole = Span {
        start: 0,
        // Messages are bounded far below 4 GiB.
        end: u32::try_from(params.len()).unwrap_or(u32::MAX),
    };
    let mut splice = Splice::new(params);
    for key in ["_meta", "elicitationId", "task"] {
        splice.remove_member(whole, key);
    }
    if splice.is_empty() {
        return params.into();
    }
    String::from_utf8_lossy(&splice.finish()).into()
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    fn asked(method: &str, rest: &str) -> Asked {
        let text = format!(r#"{{"jsonrpc":"2.0","id":"q","method":"{method}"{rest}}}"#);
        Asked::new(1, &Frame::parse(text.into(), &Limits::default()).unwrap())
    }

    #[test]
    fn the_client_sees_method_and_parameters() {
        let elicit = asked(
            "elicitation/create",
            r#","params":{"_meta":{"progressToken":1},"mode":"url","elicitationId":"e","url":"u","x":1.0}"#,
        );
        assert_eq!(
            elicit.member(),
            r#""ask-1":{"method":"elicitation/create","params":{"mode":"url","url":"u","x":1.0}}"#
        );
        // Who asked is known again when the question is passed on.
        let tie = r#","params":{"message":"m","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#;
        let of_task = asked("elicitation/create", tie).request();
        assert_eq!(
            of_task.text(),
            format!(r#"{{"jsonrpc":"2.0","id":"q","method":"elicitation/create"{tie}}}"#)
        );
        let roots = asked("roots/list", "");
        assert_eq!(roots.member(), r#""ask-1":{"method":"roots/list"}"#);
    }

    fn check(method: &str, responses: &str, expected: Result<Option<&str>, ()>) {
        let seen = asked(method, "").answer(responses).map_err(|_| ());
        assert_eq!(seen, expected, "{method} {responses}");
    }

    #[test]
    fn answers_are_found_by_their_key_and_have_the_shape_of_their_kind() {
        let (elicit, sample, roots) =
            ("elicitation/create", "sampling/createMessage", "roots/list");
        check(elicit, r#"{"other":{}}"#, Ok(None));
        check(elicit, "[]", Ok(None));
        check(
            elicit,
            r#"{"ask-1":{"action":"accept"}}"#,
            Ok(Some(r#"{"action":"accept"}"#)),
        );
        for wrong in [r#"{"action":"maybe"}"#, "{}", "null", r#""accept""#] {
            check(elicit, &format!(r#"{{"ask-1":{wrong}}}"#), Err(()));
        }
        let sampled = r#"{"role":"assistant","content":{},"model":"m"}"#;
        check(
            sample,
            &format!(r#"{{"ask-1":{sampled}}}"#),
            Ok(Some(sampled)),
        );
        check(sample, r#"{"ask-1":{"role":"assistant"}}"#, Err(()));
        check(
            roots,
            r#"{"ask-1":{"roots":[]}}"#,
            Ok(Some(r#"{"roots":[]}"#)),
        );
        check(roots, r#"{"ask-1":[]}"#, Err(()));
    }
}
