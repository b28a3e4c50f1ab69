//! What a client's declared capabilities let a server ask it.

use lockgate_proto::jsonrpc::{Frame, find};
use lockgate_proto::mcp::{code, method};
use serde::{Deserialize, Serialize};

/// What a client can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Abilities(u8);

/// Why a server's request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i32,
    pub(super) message: &'static str,
}

impl Abilities {
    /// `roots`
    pub(super) const ROOTS: Self = Self(1);
    /// `sampling`
    pub(super) const SAMPLING: Self = Self(2);
    /// `sampling.tools`
    pub(super) const SAMPLING_TOOLS: Self = Self(4);
    /// `elicitation`, as a form
    pub(super) const FORM: Self = Self(8);
    /// `elicitation.url`
    pub(super) const URL: Self = Self(16);

    /// Reads a raw `ClientCapabilities`.
    pub(super) fn of(capabilities: &str) -> Self {
        let mut found = Self::default();
        if object(capabilities, "roots").is_some() {
            found = found.and(Self::ROOTS);
        }
        if let Some(sampling) = object(capabilities, "sampling") {
            found = found.and(Self::SAMPLING);
            if object(sampling, "tools").is_some() {
                found = found.and(Self::SAMPLING_TOOLS);
            }
        }
        if let Some(elicitation) = object(capabilities, "elicitation") {
            let url = object(elicitation, "url").is_some();
            if url {
                found = found.and(Self::URL);
            }
            // An empty declaration means forms (2026-07-28, "Elicitation", "Capabilities").
            if !url || object(elicitation, "form").is_some() {
                found = found.and(Self::FORM);
            }
        }
        found
    }

    /// Both.
    #[must_use]
    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is there.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the client can be asked nothing.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the client can be put this request of its server.
    ///
    /// # Errors
    ///
    /// Fails with what the server is told instead.
    pub(super) fn admit(self, request: &Frame) -> Result<(), Refusal> {
        let refuse = |code, message| Err(Refusal { code, message });
        match &*request.method() {
            method::ROOTS_LIST if self.has(Self::ROOTS) => Ok(()),
            method::SAMPLING if self.has(Self::SAMPLING) => {
                let has_tools = ["tools", "toolChoice"]
                    .iter()
                    .any(|key| request.param(&[key]).is_some());
                if has_tools && !self.has(Self::SAMPLING_TOOLS) {
                    let message = "the client did not declare sampling with tools";
                    return refuse(code::INVALID_PARAMS, message);
                }
                Ok(())
            }
            method::ELICITATION if self.has(Self::FORM) || self.has(Self::URL) => {
                let needed = match request.param_str(&["mode"]).as_deref() {
                    None | Some("form") => Self::FORM,
                    Some("url") => Self::URL,
                    Some(_) => return refuse(code::INVALID_PARAMS, "unknown elicitation mode"),
                };
                if !self.has(needed) {
                    let message = "the client did not declare this elicitation mode";
                    return refuse(code::INVALID_PARAMS, message);
                }
                Ok(())
            }
            method::ROOTS_LIST | method::SAMPLING | method::ELICITATION => {
                let message = "the client did not declare this capability";
                refuse(code::METHOD_NOT_FOUND, message)
            }
            _ => refuse(code::METHOD_NOT_FOUND, "Method not found"),
        }
    }
}

fn object<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = find(text, key)?.of(text);
    value.starts_with('{').then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code that the server is refused with, 0 when it is not.
    fn check(capabilities: &str, method: &str, params: &str, expected: i32) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let limits = lockgate_proto::jsonrpc::Limits::default();
        let request = Frame::parse(text.into(), &limits).unwrap();
        let code = match Abilities::of(capabilities).admit(&request) {
            Ok(()) => 0,
            Err(refusal) => refusal.code,
        };
        assert_eq!(code, expected, "{capabilities} {method} {params}");
    }

    #[test]
    fn what_was_not_declared_is_not_asked() {
        for method in ["roots/list", "sampling/createMessage", "elicitation/create"] {
            check("{}", method, "{}", -32601);
        }
        check(r#"{"roots":{}}"#, "roots/list", "{}", 0);
        check(r#"{"sampling":{}}"#, "sampling/createMessage", "{}", 0);
        check(
            r#"{"sampling":null}"#,
            "sampling/createMessage",
            "{}",
            -32601,
        );
        check(r#"{"roots":{}}"#, "vendor/ask", "{}", -32601);
    }

    #[test]
    fn modes_count() {
        let elicit = "elicitation/create";
        let (form, url) = (r#"{"mode":"form"}"#, r#"{"mode":"url"}"#);
        for plain in [r#"{"elicitation":{}}"#, r#"{"elicitation":{"form":{}}}"#] {
            check(plain, elicit, "{}", 0);
            check(plain, elicit, form, 0);
            check(plain, elicit, url, -32602);
        }
        let only_url = r#"{"elicitation":{"url":{}}}"#;
        check(only_url, elicit, url, 0);
        check(only_url, elicit, "{}", -32602);
        let both = r#"{"elicitation":{"url":{},"form":{}}}"#;
        check(both, elicit, form, 0);
        check(both, elicit, url, 0);
        check(both, elicit, r#"{"mode":"voice"}"#, -32602);
        let sample = "sampling/createMessage";
        check(r#"{"sampling":{}}"#, sample, r#"{"tools":[]}"#, -32602);
        check(
            r#"{"sampling":{"tools":{}}}"#,
            sample,
            r#"{"toolChoice":{}}"#,
            0,
        );
    }
}
