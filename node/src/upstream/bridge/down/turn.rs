//! What a stateless request says about its caller, and what its server is sent instead.

use lockgate_proto::jsonrpc::{Frame, ParseError, Span, Splice, members};
use lockgate_proto::mcp::method;
use serde::{Deserialize, Serialize};

use super::abilities::Abilities;
use super::level::Level;

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const PROGRESS_TOKEN: &str = "progressToken";
/// Members of the parameters that continue a call.
const INPUT_RESPONSES: &str = "inputResponses";
const REQUEST_STATE: &str = "requestState";
/// Task augmentation of 2025-11-25, which the stateless era ignores.
const TASK: &str = "task";

/// What the client wants of one round of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn {
    /// Raw id of its request.
    pub(super) id: Box<str>,
    /// Raw progress token.
    pub(super) token: Option<Box<str>>,
    /// Least severe log message that it wants; none without one.
    pub(super) level: Option<Level>,
    /// What its server may ask it.
    pub(super) abilities: Abilities,
}

/// A stateless request, taken apart without a copy.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    frame: &'a Frame,
    /// Raw `ClientCapabilities`.
    pub(super) capabilities: &'a str,
    /// Raw `Implementation` of the client.
    pub(super) client_info: Option<&'a str>,
    /// Raw `requestState`.
    pub(super) state: Option<&'a str>,
    /// Raw `inputResponses`.
    pub(super) responses: Option<&'a str>,
    level: Option<&'a str>,
    token: Option<Span>,
    meta: Option<Span>,
    /// Whether `_meta` holds anything that the server has to see.
    is_meta_kept: bool,
    has_task: bool,
}

/// The log level is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownLevel;

impl<'a> Envelope<'a> {
    /// Reads a request.
    pub(super) fn read(frame: &'a Frame) -> Self {
        let mut envelope = Self {
            frame,
            capabilities: "{}",
            client_info: None,
            state: None,
            responses: None,
            level: None,
            token: None,
            meta: None,
            is_meta_kept: false,
            has_task: false,
        };
        let Some(params) = frame.params_span() else {
            return envelope;
        };
        for member in members(params.of(frame.text())) {
            match &*member.key {
                "_meta" => envelope.meta = Some(member.value_span.shift(params.start)),
                INPUT_RESPONSES => envelope.responses = Some(member.value),
                REQUEST_STATE => envelope.state = Some(member.value),
                TASK => envelope.has_task = true,
                _ => {}
            }
        }
        envelope.read_meta();
        envelope
    }

    fn read_meta(&mut self) {
        let Some(meta) = self.meta else { return };
        for member in members(meta.of(self.frame.text())) {
            match &*member.key {
                CAPABILITIES => self.capabilities = member.value,
                CLIENT_INFO => self.client_info = Some(member.value),
                LOG_LEVEL => self.level = Some(member.value),
                VERSION => {}
                PROGRESS_TOKEN => {
                    self.token = Some(member.value_span.shift(meta.start));
                    self.is_meta_kept = true;
                }
                _ => self.is_meta_kept = true,
            }
        }
    }

    /// What the client wants of this round.
    ///
    /// # Errors
    ///
    /// [`UnknownLevel`].
    pub(super) fn turn(&self) -> Result<Turn, UnknownLevel> {
        let level = self.level.map(|raw| Level::read(raw).ok_or(UnknownLevel));
        let token = self.token.map(|span| span.of(self.frame.text()).into());
        Ok(Turn {
            id: self.frame.id().unwrap_or("null").into(),
            token,
            level: level.transpose()?,
            abilities: Abilities::of(self.capabilities),
        })
    }

    /// The same request for a session: without what only this era has, under the number `n`, which stands for the id
    /// and the progress token: clients that share a session may choose the same. With `as_task` the server is asked to
    /// make a task of it, which lives as long as the server likes.
    ///
    /// # Errors
    ///
    /// Never for a message that was read before; the type cannot say so.
    pub(super) fn for_session(&self, n: u64, as_task: bool) -> Result<Frame, ParseError> {
        let text = self.frame.text();
        let mut splice = Splice::new(text);
        if let Some(id) = self.frame.id_span() {
            splice.replace(id, n.to_string());
        }
        if let Some(params) = self.frame.params_span() {
            match self.meta {
                Some(_) if !self.is_meta_kept => {
                    splice.remove_member(params, "_meta");
                }
                Some(meta) => {
                    if let Some(token) = self.token {
                        splice.replace(token, n.to_string());
                    }
                    for key in [VERSION, CAPABILITIES, CLIENT_INFO, LOG_LEVEL] {
                        splice.remove_member(meta, key);
                    }
                }
                None => {}
            }
            if self.responses.is_some() {
                splice.remove_member(params, INPUT_RESPONSES);
            }
            if self.state.is_some() {
                splice.remove_member(params, REQUEST_STATE);
            }
            if as_task {
                splice.set_member(params, TASK, "{}");
            } else if self.has_task && self.frame.method() == method::TOOLS_CALL {
                splice.remove_member(params, TASK);
            }
        }
        Frame::edited(splice)
    }
}

/// Whether a member of `params` belongs to one round of a call, not to what is called.
pub(super) fn is_of_round(key: &str) -> bool {
    matches!(key, "_meta" | INPUT_RESPONSES | REQUEST_STATE)
}

/// Name of the server in `_meta` of a result.
pub(super) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    fn check(method: &str, params: &str, expected: &str) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":"c","method":"{method}","params":{params}}}"#);
        let frame = Frame::parse(text.into(), &Limits::default()).unwrap();
        let sent = Envelope::read(&frame).for_session(9, false).unwrap();
        let expected =
            format!(r#"{{"jsonrpc":"2.0","id":9,"method":"{method}","params":{expected}}}"#);
        assert_eq!(sent.text(), expected, "{params}");
    }

    const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

    #[test]
    fn only_what_the_session_era_has_is_sent() {
        check(
            "tools/call",
            &format!(r#"{{"name":"a","_meta":{{{META}}}}}"#),
            r#"{"name":"a"}"#,
        );
        check(
            "tools/call",
            &format!(
                r#"{{"_meta":{{"v/x":1.0,{META},"io.modelcontextprotocol/logLevel":"info","io.modelcontextprotocol/clientInfo":{{}}}},"name":"a"}}"#
            ),
            r#"{"_meta":{"v/x":1.0},"name":"a"}"#,
        );
        check(
            "tools/call",
            &format!(r#"{{"_meta":{{{META},"progressToken":"t"}}}}"#),
            r#"{"_meta":{"progressToken":9}}"#,
        );
        check(
            "tools/call",
            r#"{"inputResponses":{},"name":"a","requestState":"s","task":{}}"#,
            r#"{"name":"a"}"#,
        );
        check(
            "vendor/x",
            r#"{"task":{},"later":null}"#,
            r#"{"task":{},"later":null}"#,
        );
    }

    #[test]
    fn a_turn_says_what_the_client_wants() {
        let text = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"_meta":{"progressToken":1.5,"io.modelcontextprotocol/logLevel":"warning","io.modelcontextprotocol/clientCapabilities":{"roots":{}}}}}"#;
        let frame = Frame::parse(text.into(), &Limits::default()).unwrap();
        let turn = Envelope::read(&frame).turn().unwrap();
        assert_eq!((&*turn.id, turn.token.as_deref()), ("7", Some("1.5")));
        assert_eq!(turn.level, Some(Level::Warning));
        assert!(turn.abilities.has(Abilities::ROOTS));
        let loud = text.replace("warning", "loud");
        let frame = Frame::parse(loud.into(), &Limits::default()).unwrap();
        assert_eq!(Envelope::read(&frame).turn(), Err(UnknownLevel));
    }
}
