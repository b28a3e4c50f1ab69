//! A client's side of one MCP session, as short as the protocol allows: `tools call` goes the way of every client.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use lockgate_proto::jsonrpc::encode_str;
use lockgate_proto::mcp::Revision;
use lockgate_proto::mcp::headers::{PROTOCOL_VERSION, SESSION_ID};
use lockgate_proto::mcp::sse::Decoder;
use lockgate_proto::mcp::{code, method};
use serde_json::json;

use super::connect::{Answer, Plane, begin, exchange};
use super::exit::Failure;
use super::raw::{checked, member, string};
use crate::error::own_code::{DENIED, OVERLOADED, QUOTA, TIMEOUT, UPSTREAM};
use crate::error::reason::{FOREIGN_HOST, FOREIGN_TENANT};

const EVENT_BYTES_MAX: usize = 64 << 20;

/// An open session. What is asked and answered is JSON as written, never read into numbers and texts. It declares that it can be asked for input, so that a tool that asks is known to do so: whoever
/// declares nothing is not asked, and may get any answer instead.
#[derive(Debug)]
pub(super) struct Mcp {
    url: Uri,
    headers: HeaderMap,
    next_id: u64,
    /// What is answered to servers that ask for input. `None` tells them that there is no answer.
    answer: Option<String>,
    /// What they have asked.
    asked: Vec<String>,
}

impl Mcp {
    pub(super) async fn open(url: Uri, key: Option<HeaderValue>) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = key {
            headers.insert(AUTHORIZATION, key);
        }
        let mut mcp = Self {
            url,
            headers,
            next_id: 0,
            answer: None,
            asked: Vec::new(),
        };
        let params = json!({
            "protocolVersion": Revision::SESSION_LATEST.as_str(),
            "capabilities": { "elicitation": { "form": {} } },
            "clientInfo": { "name": "lockgate-cli", "version": env!("CARGO_PKG_VERSION") },
        });
        let (headers, result) = mcp.ask("initialize", &params.to_string()).await?;
        if let Some(id) = headers.get(SESSION_ID) {
            mcp.headers.insert(SESSION_ID, id.clone());
        }
        if let Some(version) = string(&result, &["protocolVersion"])
            .and_then(|version| HeaderValue::from_str(&version).ok())
        {
            mcp.headers.insert(PROTOCOL_VERSION, version);
        }
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        mcp.send(Method::POST, &ready.to_string()).await?;
        Ok(mcp)
    }

    /// The result of `method`.
    pub(super) async fn call(&mut self, method: &str, params: &str) -> Result<String, Failure> {
        Ok(self.ask(method, params).await?.1)
    }

    /// Ends the session. A gateway that cannot be told ends it by its idle timeout.
    pub(super) async fn close(self) {
        if self.headers.contains_key(SESSION_ID) {
            _ = self.send(Method::DELETE, "").await;
        }
    }

    /// Answers input that servers ask for with this from now on.
    pub(super) fn answer_with(&mut self, answer: Option<String>) {
        self.answer = answer;
    }

    /// What servers have asked for.
    pub(super) fn asked(&self) -> &[String] {
        &self.asked
    }

    async fn ask(&mut self, method: &str, params: &str) -> Result<(HeaderMap, String), Failure> {
        self.next_id += 1;
        let id = self.next_id;
        let method = encode_str(method);
        let request =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#);
        let mut coming = begin(self.request(Method::POST, &request), Plane::Data).await?;
        let mut messages = Messages::of(&coming.headers);
        let mut all = Vec::new();
        while let Some(chunk) = coming.chunk().await? {
            for message in messages.read(&chunk) {
                self.reply(&message).await?;
                all.push(message);
            }
            if all.iter().any(|message| is_answer(message, id)) {
                break;
            }
        }
        all.extend(messages.end());
        let result = result_of(coming.status, &all, id)?;
        Ok((coming.headers, result))
    }

    /// Answers what a server asks in mid-call.
    async fn reply(&mut self, message: &str) -> Result<(), Failure> {
        let (Some(id), Some(method)) = (member(message, &["id"]), string(message, &["method"]))
        else {
            return Ok(());
        };
        let outcome = if method == method::ELICITATION {
            let question = string(message, &["params", "message"]);
            self.asked.push(question.unwrap_or_default().into_owned());
            match &self.answer {
                Some(content) => {
                    format!(r#""result":{{"action":"accept","content":{content}}}"#)
                }
                None => r#""result":{"action":"cancel"}"#.to_owned(),
            }
        } else if method == method::PING {
            r#""result":{}"#.to_owned()
        } else {
            let (code, text) = (
                code::METHOD_NOT_FOUND,
                format!("method `{method}` not found"),
            );
            format!(
                r#""error":{{"code":{code},"message":{}}}"#,
                encode_str(&text)
            )
        };
        let reply = format!(r#"{{"jsonrpc":"2.0","id":{id},{outcome}}}"#);
        self.send(Method::POST, &reply).await?;
        Ok(())
    }

    async fn send(&self, method: Method, body: &str) -> Result<Answer, Failure> {
        exchange(self.request(method, body), Plane::Data).await
    }

    fn request(&self, method: Method, body: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        *request.method_mut() = method;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

fn is_answer(message: &str, id: u64) -> bool {
    let own = member(message, &["id"]).is_some_and(|shown| shown == id.to_string());
    own && member(message, &["method"]).is_none()
}

/// The result for `id`, or the error as a failure.
fn result_of(status: StatusCode, messages: &[String], id: u64) -> Result<String, Failure> {
    let own = messages.iter().find(|message| is_answer(message, id));
    // A refusal that came before the id was read carries none.
    let refusal = || {
        messages
            .iter()
            .find(|message| member(message, &["error"]).is_some())
    };
    let Some(message) = own.or_else(refusal) else {
        return Err(Failure::new(
            format!("{status} without an answer to the request"),
            remedy(status, None, None),
        ));
    };
    if member(message, &["error"]).is_some() {
        let text = string(message, &["error", "message"]).unwrap_or(Cow::Borrowed("no message"));
        let code = member(message, &["error", "code"]).unwrap_or("null");
        let reason = string(message, &["error", "data", "reason"]);
        let remedy = remedy(status, code.parse().ok(), reason.as_deref());
        let wait_ms = member(message, &["error", "data", "retry_after_ms"]);
        let remedy = match wait_ms.and_then(|ms| ms.parse::<u64>().ok()) {
            Some(ms) => format!("again in {} s; {remedy}", ms.div_ceil(1_000)),
            None => remedy.to_owned(),
        };
        return Err(Failure::new(format!("{text} (code {code})"), remedy));
    }
    Ok(member(message, &["result"]).unwrap_or("null").to_owned())
}

/// What to do about an answer with `status` that carries an error of `error_code` for `reason`.
fn remedy(status: StatusCode, error_code: Option<i32>, reason: Option<&str>) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => {
            "set LOCKGATE_API_KEY to an API key, or name the variable that holds one with --key-env"
        }
        StatusCode::FORBIDDEN => match reason {
            Some(FOREIGN_HOST) => {
                "name this host in the gateway's `allowed_hosts`, or the address that it listens on with --url"
            }
            Some(FOREIGN_TENANT) => "use a key of the tenant in the URL",
            _ => "see whether the gateway's log, or a proxy before it, says why",
        },
        StatusCode::NOT_FOUND => "check the URL: it ends in /mcp",
        _ => match error_code {
            Some(DENIED) => {
                "`lockgate tools list --as-client` has what this key may call, `lockgate audit tail` the rule that refused"
            }
            Some(code::INVALID_PARAMS) => {
                "`lockgate tools list --as-client --json` has the names and arguments there are"
            }
            // The gateway itself, not a server of it.
            Some(OVERLOADED) if status == StatusCode::SERVICE_UNAVAILABLE => {
                "try again in a moment; the gateway's log says more"
            }
            Some(UPSTREAM | TIMEOUT | OVERLOADED) => "see `lockgate servers list`",
            Some(QUOTA) => "see `lockgate usage`",
            _ => "see `lockgate audit tail` and the gateway's log",
        },
    }
}

/// Messages of a body, as it comes.
enum Messages {
    /// Events of a stream.
    Events(Decoder),
    /// One message, which is whole at the end.
    Json(BytesMut),
}

impl Messages {
    fn of(headers: &HeaderMap) -> Self {
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        match kind.starts_with("text/event-stream") {
            true => Self::Events(Decoder::new(EVENT_BYTES_MAX)),
            false => Self::Json(BytesMut::new()),
        }
    }

    /// Messages that `chunk` completes.
    fn read(&mut self, chunk: &Bytes) -> Vec<String> {
        let mut events = Vec::new();
        match self {
            // What was decoded before an event over the limit still counts.
            Self::Events(decoder) => _ = decoder.feed(chunk, &mut events),
            Self::Json(body) => body.extend_from_slice(chunk),
        }
        events
            .iter()
            .filter_map(|event| checked(&event.data).ok())
            .collect()
    }

    /// The message that the end completes.
    fn end(self) -> Option<String> {
        match self {
            Self::Events(_) => None,
            Self::Json(body) => checked(&body).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &'static str, body: &'static str, expected: Result<&str, &str>) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let mut messages = Messages::of(&headers);
        // However it is cut.
        let mut all = Vec::new();
        for chunk in body.as_bytes().chunks(7) {
            all.extend(messages.read(&Bytes::from_static(chunk)));
        }
        all.extend(messages.end());
        let result = result_of(StatusCode::OK, &all, 2).map_err(|failure| failure.message);
        assert_eq!(result.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn the_answer_is_found_in_json_and_in_a_stream() {
        check(
            "application/json",
            r#"{"jsonrpc":"2.0","id":2,"result":{"a":1}}"#,
            Ok(r#"{"a":1}"#),
        );
        check(
            "text/event-stream",
            "id: 1\ndata:\n\ndata: {\"method\":\"notifications/progress\"}\n\ndata: {\"id\":2,\"method\":\"ping\"}\n\ndata: {\"id\":2,\"result\":3}\n\n",
            Ok("3"),
        );
    }

    #[test]
    fn each_refusal_has_a_remedy_of_its_own() {
        for (error_code, verb) in [
            (Some(DENIED), "lockgate audit tail"),
            (
                Some(code::INVALID_PARAMS),
                "lockgate tools list --as-client",
            ),
            (Some(UPSTREAM), "lockgate servers list"),
            (Some(OVERLOADED), "lockgate servers list"),
            (Some(QUOTA), "lockgate usage"),
            (None, "gateway's log"),
        ] {
            let remedy = remedy(StatusCode::OK, error_code, None);
            assert!(remedy.contains(verb), "{remedy}");
        }
        let forbidden = |reason| remedy(StatusCode::FORBIDDEN, Some(DENIED), reason);
        assert!(forbidden(Some(FOREIGN_HOST)).contains("allowed_hosts"));
        assert!(forbidden(Some(FOREIGN_TENANT)).contains("tenant"));
    }

    #[test]
    fn a_refusal_that_ends_by_itself_says_when() {
        let error =
            json!({ "code": QUOTA, "message": "used up", "data": { "retry_after_ms": 4_001 } });
        let refused = [json!({ "id": 2, "error": error }).to_string()];
        let failure = result_of(StatusCode::OK, &refused, 2).unwrap_err();
        assert_eq!(failure.remedy, "again in 5 s; see `lockgate usage`");
    }

    #[test]
    fn errors_are_failures() {
        check(
            "application/json",
            r#"{"id":2,"error":{"code":-32602,"message":"no such tool"}}"#,
            Err("no such tool (code -32602)"),
        );
        check(
            "application/json",
            r#"{"id":null,"error":{"code":-32000,"message":"denied"}}"#,
            Err("denied (code -32000)"),
        );
        check(
            "text/html",
            "<html>",
            Err("200 OK without an answer to the request"),
        );
    }
}
