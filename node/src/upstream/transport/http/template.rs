//! The part of every request that is the same, written once.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST,
    HeaderName, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};
use http::uri::PathAndQuery;
use lockgate_proto::mcp::headers;
use secrecy::{ExposeSecret, SecretString};

use super::request::Request;

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static(headers::SESSION_ID);
pub(in crate::upstream::transport) const PROTOCOL_VERSION: HeaderName =
    HeaderName::from_static(headers::PROTOCOL_VERSION);
pub(super) const MCP_METHOD: HeaderName = HeaderName::from_static(headers::METHOD);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static(headers::LAST_EVENT_ID);

/// What the HTTP codec alone decides.
const FRAMING: [HeaderName; 3] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];

const ACCEPT_BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const ACCEPT_EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Room for the length of the body and its headers' last line.
const FRAMING_ROOM: usize = 32;

/// Target and headers that every request to one address, or of one session, carries.
#[derive(Clone)]
pub(in crate::upstream::transport) struct Template {
    target: Arc<str>,
    /// Header lines as they go on the wire, names in small letters, each name once.
    lines: Arc<[u8]>,
}

impl Template {
    /// Headers of MCP over HTTP, then the `injected` ones, which win.
    pub(super) fn new(url: &Uri, injected: &[(HeaderName, SecretString)]) -> io::Result<Self> {
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let agent = HeaderValue::from_static(concat!("lockgate/", env!("CARGO_PKG_VERSION")));
        let mut template = Self {
            target: origin_form(target),
            lines: Arc::new([]),
        };
        let own = [
            (HOST, host(url)?),
            (ACCEPT, ACCEPT_BOTH),
            // Without it a server may take any coding for welcome (RFC 9110, section 12.5.3). Plain text needs neither
            // time nor a bound of its own, and its bytes are passed on as they are.
            (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (USER_AGENT, agent),
        ];
        for (name, value) in own {
            template = template.with(name, value);
        }
        for (name, secret) in injected {
            if FRAMING.contains(name) {
                return Err(invalid(format!("header `{name}` cannot be injected")));
            }
            // The value stays out of the message: it is a secret.
            let value = HeaderValue::from_str(secret.expose_secret())
                .map_err(|_| invalid(format!("value of header `{name}` is invalid")))?;
            template = template.with(name.clone(), value);
        }
        Ok(template)
    }

    /// The same with one more header, or with another value of one that it has.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a header is given away")]
    pub(in crate::upstream::transport) fn with(
        &self,
        name: HeaderName,
        value: HeaderValue,
    ) -> Self {
        let mut lines =
            Vec::with_capacity(self.lines.len() + name.as_str().len() + value.len() + 4);
        self.push_lines(&mut lines, |line| !is_line_of(line, &name));
        push_line(&mut lines, &name, &value);
        Self {
            target: Arc::clone(&self.target),
            lines: lines.into(),
        }
    }

    /// The same for another target at the address.
    #[must_use]
    pub(in crate::upstream::transport) fn at(&self, target: &PathAndQuery) -> Self {
        Self {
            target: origin_form(target.as_str()),
            lines: Arc::clone(&self.lines),
        }
    }

    /// POST of one message. `extra` never replaces what the template has, so that a caller's headers cannot stand in
    /// for injected credentials; and no `Authorization` leaves that is not injected, because the client's own token
    /// is meant for the gateway alone.
    pub(in crate::upstream::transport) fn post(
        &self,
        extra: &[(HeaderName, HeaderValue)],
        body: &Bytes,
    ) -> Request {
        let more = extra
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4);
        let mut head = self.begin("POST", more.sum::<usize>() + Request::joined(body));
        head.extend_from_slice(&self.lines);
        for (name, value) in extra {
            if *name != AUTHORIZATION && !self.has(name) && !FRAMING.contains(name) {
                push_line(&mut head, name, value);
            }
        }
        Request::new(head, Some(body))
    }

    /// GET of an event stream, from after `last_event_id` if given.
    pub(super) fn get(&self, last_event_id: Option<&HeaderValue>) -> Request {
        let mut head = self.begin("GET", last_event_id.map_or(0, HeaderValue::len));
        self.push_lines(&mut head, |line| {
            !is_line_of(line, &CONTENT_TYPE) && !is_line_of(line, &ACCEPT)
        });
        push_line(&mut head, &ACCEPT, &ACCEPT_EVENTS);
        if let Some(id) = last_event_id {
            push_line(&mut head, &LAST_EVENT_ID, id);
        }
        Request::new(head, None)
    }

    /// DELETE of the session.
    pub(super) fn delete(&self) -> Request {
        let mut head = self.begin("DELETE", 0);
        self.push_lines(&mut head, |line| !is_line_of(line, &CONTENT_TYPE));
        Request::new(head, None)
    }

    /// The first line, with room for the rest.
    fn begin(&self, method: &str, more: usize) -> Vec<u8> {
        let parts = [method, " ", &self.target, " HTTP/1.1\r\n"];
        let line: usize = parts.iter().map(|part| part.len()).sum();
        let mut head = Vec::with_capacity(line + self.lines.len() + more + FRAMING_ROOM);
        for part in parts {
            head.extend_from_slice(part.as_bytes());
        }
        head
    }

    fn push_lines(&self, head: &mut Vec<u8>, keep: impl Fn(&[u8]) -> bool) {
        for line in self.lines().filter(|line| keep(line)) {
            head.extend_from_slice(line);
        }
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        // No name and no value can hold a line end.
        self.lines.split_inclusive(|&byte| byte == b'\n')
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.lines().any(|line| is_line_of(line, name))
    }
}

/// Names only: values are credentials, some of them.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |line: &[u8]| {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        };
        f.debug_struct("Template")
            .field("target", &self.target)
            .field("headers", &self.lines().map(name).collect::<Vec<_>>())
            .finish()
    }
}

fn is_line_of(line: &[u8], name: &HeaderName) -> bool {
    let rest = line.strip_prefix(name.as_str().as_bytes());
    rest.is_some_and(|rest| rest.starts_with(b":"))
}

fn push_line(lines: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    lines.extend_from_slice(name.as_str().as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value.as_bytes());
    lines.extend_from_slice(b"\r\n");
}

/// A path and query as they stand in the first line; one without a path has the root's.
fn origin_form(target: &str) -> Arc<str> {
    match target.strip_prefix('/') {
        Some(_) => target.into(),
        None => format!("/{target}").into(),
    }
}

fn host(url: &Uri) -> io::Result<HeaderValue> {
    let authority = url
        .authority()
        .ok_or_else(|| invalid("URL has no host".to_owned()))?
        .as_str();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_credentials, host)| host);
    HeaderValue::from_str(host).map_err(|error| invalid(error.to_string()))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(injected: &[(&'static str, &str)]) -> Template {
        let injected: Vec<_> = injected
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), SecretString::from(*value)))
            .collect();
        Template::new(&Uri::from_static("http://u:p@h:1/a?b=c"), &injected).unwrap()
    }

    fn text(request: &Request) -> &str {
        std::str::from_utf8(request.first.get_ref()).unwrap()
    }

    const AGENT: &str = concat!("user-agent: lockgate/", env!("CARGO_PKG_VERSION"), "\r\n");

    #[test]
    fn a_post_has_all_headers_and_the_callers_own_behind_them() {
        let more = [
            (MCP_METHOD, HeaderValue::from_static("x")),
            (AUTHORIZATION, HeaderValue::from_static("Bearer client")),
            (HOST, HeaderValue::from_static("evil")),
            (CONTENT_LENGTH, HeaderValue::from_static("1")),
        ];
        let request = template(&[]).post(&more, &Bytes::from_static(b"{}"));
        let expected = format!(
            "POST /a?b=c HTTP/1.1\r\nhost: h:1\r\naccept: application/json, text/event-stream\r\naccept-encoding: identity\r\ncontent-type: application/json\r\n{AGENT}mcp-method: x\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        assert_eq!(text(&request), expected);
    }

    #[test]
    fn requests_without_a_body_name_no_type() {
        let template = template(&[("accept", "x"), ("x-key", "s")]);
        let template = template.with(SESSION_ID, HeaderValue::from_static("1"));
        let tail = format!("accept-encoding: identity\r\n{AGENT}x-key: s\r\nmcp-session-id: 1\r\n");
        let id = HeaderValue::from_static("e7");
        let expected = format!(
            "GET /a?b=c HTTP/1.1\r\nhost: h:1\r\n{tail}accept: text/event-stream\r\nlast-event-id: e7\r\n\r\n"
        );
        assert_eq!(text(&template.get(Some(&id))), expected);
        let tail = format!(
            "accept-encoding: identity\r\n{AGENT}accept: x\r\nx-key: s\r\nmcp-session-id: 1\r\n"
        );
        let expected = format!("DELETE /a?b=c HTTP/1.1\r\nhost: h:1\r\n{tail}\r\n");
        assert_eq!(text(&template.delete()), expected);
    }

    #[test]
    fn a_name_that_begins_like_another_is_another() {
        let template = template(&[("accept-language", "de"), ("x-a", "1")]);
        let more = [(HeaderName::from_static("x"), HeaderValue::from_static("2"))];
        let request = template.post(&more, &Bytes::new());
        assert!(text(&request).contains("x-a: 1\r\nx: 2\r\n"));
        assert!(text(&template.get(None)).contains("accept-language: de\r\n"));
    }

    #[test]
    fn framing_cannot_be_injected_and_no_value_is_shown() {
        let injected = [(CONTENT_LENGTH, SecretString::from("1"))];
        assert!(Template::new(&Uri::from_static("http://h/"), &injected).is_err());
        let shown = format!("{:?}", template(&[("x-key", "canary")]));
        assert!(
            shown.contains("x-key") && !shown.contains("canary"),
            "{shown}"
        );
    }

    #[test]
    fn a_url_without_a_path_asks_for_the_root() {
        let template = Template::new(&Uri::from_static("http://h"), &[]).unwrap();
        assert!(text(&template.get(None)).starts_with("GET / HTTP/1.1\r\nhost: h\r\n"));
    }
}
