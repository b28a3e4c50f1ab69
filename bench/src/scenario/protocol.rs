//! Requests of both eras.

use clap::ValueEnum;
use serde::Serialize;

use super::expectation::read_result;
use crate::{
    error::{Error, Result},
    load::{Client, Target},
    wire::{ID_FIRST, PreparedRequest},
};

/// Revision that sessions are opened with.
const SESSION_REVISION: &str = "2025-11-25";
/// The stateless revision.
const STATELESS_REVISION: &str = "2026-07-28";
/// Parameters of every stateless request begin with this.
const STATELESS_META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"lockgate-bench","version":"1"}"#;

/// Protocol era of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Era {
    /// `initialize` and a session id: 2025-11-25.
    Session,
    /// Every request by itself: 2026-07-28.
    Stateless,
}

/// Makes requests to one target, in a session where the era has them.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    target: Target,
    session: Option<String>,
    era: Era,
}

impl Speaker {
    /// Opens a connection, and a session on it where the era has them.
    pub(super) fn open(target: &Target, era: Era) -> Result<(Client, Self)> {
        let mut client = Client::connect(target)?;
        let speaker = Self::open_on(&mut client, target, era)?;
        Ok((client, speaker))
    }

    /// Opens a session on a connection that may carry others already.
    pub(super) fn open_on(client: &mut Client, target: &Target, era: Era) -> Result<Self> {
        let mut speaker = Self {
            target: target.clone(),
            session: None,
            era,
        };
        if era == Era::Stateless {
            return Ok(speaker);
        }
        let wrong = |call: &str, why: String| Error::Wrong {
            target: target.name.clone(),
            call: call.to_owned(),
            why,
        };
        let answer = client.exchange(speaker.initialize().for_call(ID_FIRST))?;
        read_result(ID_FIRST, answer.borrow()).map_err(|why| wrong("initialize", why))?;
        speaker.session = answer.session_id;
        let answer = client.exchange(speaker.initialized().for_call(ID_FIRST))?;
        if answer.status != 202 {
            let why = format!("status {} instead of 202", answer.status);
            return Err(wrong("notifications/initialized", why));
        }
        Ok(speaker)
    }

    /// The same speaker in another session.
    pub(super) fn in_session(&self, session: Option<String>) -> Self {
        Self {
            session,
            ..self.clone()
        }
    }

    /// `initialize`.
    pub(super) fn initialize(&self) -> PreparedRequest {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{{id}},"method":"initialize","params":{{"protocolVersion":"{SESSION_REVISION}","capabilities":{{}},"clientInfo":{{"name":"lockgate-bench","version":"1"}}}}}}"#
        );
        PreparedRequest::new(&self.line("POST"), &self.headers(), &body)
    }

    /// `notifications/initialized`.
    pub(super) fn initialized(&self) -> PreparedRequest {
        let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        PreparedRequest::new(&self.line("POST"), &self.headers(), body)
    }

    /// `DELETE` of the session.
    pub(super) fn end(&self) -> PreparedRequest {
        PreparedRequest::new(&self.line("DELETE"), &self.headers(), "")
    }

    /// `GET` of the session's stream.
    pub(super) fn stream(&self) -> PreparedRequest {
        let mut headers = self.headers();
        for (name, value) in &mut headers {
            if name == "accept" {
                "text/event-stream".clone_into(value);
            }
        }
        PreparedRequest::new(&self.line("GET"), &headers, "")
    }

    /// `tools/call` of the tool that the upstream calls `tool`. `meta` is `"key":value` or empty.
    pub(super) fn call(&self, tool: &str, arguments: &str, meta: &str) -> PreparedRequest {
        let name = format!("{}{tool}", self.target.prefix);
        let params = format!(r#""name":"{name}","arguments":{arguments}"#);
        self.request("tools/call", Some(&name), &params, meta)
    }

    /// `tools/list`, from the cursor where there is one.
    pub(super) fn list(&self, cursor: Option<&str>) -> PreparedRequest {
        let params = cursor.map_or_else(String::new, |cursor| {
            format!(r#""cursor":{}"#, serde_json::Value::from(cursor))
        });
        self.request("tools/list", None, &params, "")
    }

    fn request(
        &self,
        method: &str,
        name: Option<&str>,
        params: &str,
        meta: &str,
    ) -> PreparedRequest {
        let mut headers = self.headers();
        let mut meta = meta.to_owned();
        if self.era == Era::Stateless {
            headers.push(("mcp-method".to_owned(), method.to_owned()));
            if let Some(name) = name {
                headers.push(("mcp-name".to_owned(), name.to_owned()));
            }
            let comma = if meta.is_empty() { "" } else { "," };
            meta = format!("{STATELESS_META}{comma}{meta}");
        }
        let meta = if meta.is_empty() {
            meta
        } else {
            format!(r#""_meta":{{{meta}}}"#)
        };
        let comma = if meta.is_empty() || params.is_empty() {
            ""
        } else {
            ","
        };
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{{id}},"method":"{method}","params":{{{params}{comma}{meta}}}}}"#
        );
        PreparedRequest::new(&self.line("POST"), &headers, &body)
    }

    fn line(&self, method: &str) -> String {
        format!("{method} {}", self.target.endpoint.path)
    }

    fn headers(&self) -> Vec<(String, String)> {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![
            header("host", &self.target.endpoint.authority),
            header("accept", "application/json, text/event-stream"),
        ];
        headers.extend(self.target.headers.iter().cloned());
        match (self.era, &self.session) {
            (Era::Stateless, _) => headers.push(header("mcp-protocol-version", STATELESS_REVISION)),
            (Era::Session, Some(session)) => {
                headers.push(header("mcp-protocol-version", SESSION_REVISION));
                headers.push(header("mcp-session-id", session));
            }
            (Era::Session, None) => {}
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Era, Speaker};
    use crate::{load::Target, wire::ID_FIRST};

    fn speaker(era: Era) -> Speaker {
        Speaker {
            target: Target::new("t", "http://127.0.0.1:1/mcp")
                .unwrap()
                .with_prefix("p_"),
            session: (era == Era::Session).then(|| "s1".to_owned()),
            era,
        }
    }

    fn split(bytes: &[u8]) -> (String, Value) {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), serde_json::from_str(body).unwrap())
    }

    #[test]
    fn a_stateless_call_mirrors_method_and_name_in_headers() {
        let mut request =
            speaker(Era::Stateless).call("echo", r#"{"n":{id}}"#, r#""progressToken":1"#);
        let (head, body) = split(request.for_call(ID_FIRST + 1));
        assert!(
            head.contains("mcp-method: tools/call\r\nmcp-name: p_echo\r\n"),
            "{head}"
        );
        assert!(!head.contains("mcp-session-id"), "{head}");
        assert_eq!(body["params"]["arguments"]["n"], ID_FIRST + 1);
        let meta = &body["params"]["_meta"];
        assert_eq!(
            meta["io.modelcontextprotocol/protocolVersion"],
            "2026-07-28"
        );
        assert_eq!(meta["progressToken"], 1);
    }

    #[test]
    fn a_call_in_a_session_carries_its_id() {
        let mut request = speaker(Era::Session).call("echo", "{}", "");
        let (head, body) = split(request.for_call(ID_FIRST));
        assert!(head.contains("mcp-session-id: s1\r\n"), "{head}");
        assert_eq!(body["params"].get("_meta"), None);
    }

    #[test]
    fn a_list_may_start_at_a_cursor() {
        let (_, body) = split(speaker(Era::Session).list(Some("a\"b")).for_call(ID_FIRST));
        assert_eq!(body["params"]["cursor"], "a\"b");
        let (_, body) = split(speaker(Era::Stateless).list(None).for_call(ID_FIRST));
        assert_eq!(body["params"].get("cursor"), None);
    }
}
