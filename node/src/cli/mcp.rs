//! A client's side of one MCP session, as short as the protocol allows: `tools call` goes the way of every client.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use lockgate_proto::mcp::Revision;
use lockgate_proto::mcp::headers::{PROTOCOL_VERSION, SESSION_ID};
use lockgate_proto::mcp::sse::Decoder;
use serde_json::{Value, json};

use super::connect::{Answer, exchange};
use super::exit::Failure;

const EVENT_BYTES_MAX: usize = 64 << 20;

/// An open session. It declares no capabilities, so the server asks it nothing.
#[derive(Debug)]
pub(super) struct Mcp {
    url: Uri,
    headers: HeaderMap,
    next_id: u64,
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
        };
        let params = json!({
            "protocolVersion": Revision::SESSION_LATEST.as_str(),
            "capabilities": {},
            "clientInfo": { "name": "lockgate-cli", "version": env!("CARGO_PKG_VERSION") },
        });
        let (answer, result) = mcp.ask("initialize", params).await?;
        if let Some(id) = answer.headers.get(SESSION_ID) {
            mcp.headers.insert(SESSION_ID, id.clone());
        }
        if let Some(version) = result["protocolVersion"]
            .as_str()
            .and_then(|version| HeaderValue::from_str(version).ok())
        {
            mcp.headers.insert(PROTOCOL_VERSION, version);
        }
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        mcp.send(Method::POST, &ready.to_string()).await?;
        Ok(mcp)
    }

    pub(super) async fn request(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        Ok(self.ask(method, params).await?.1)
    }

    /// Ends the session. A gateway that cannot be told ends it by its idle timeout.
    pub(super) async fn close(self) {
        if self.headers.contains_key(SESSION_ID) {
            _ = self.send(Method::DELETE, "").await;
        }
    }

    async fn ask(&mut self, method: &str, params: Value) -> Result<(Answer, Value), Failure> {
        self.next_id += 1;
        let id = self.next_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let answer = self.send(Method::POST, &request.to_string()).await?;
        let result = result_of(&answer, id)?;
        Ok((answer, result))
    }

    async fn send(&self, method: Method, body: &str) -> Result<Answer, Failure> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        *request.method_mut() = method;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        exchange(request).await
    }
}

/// The result for `id`, or the error as a failure.
fn result_of(answer: &Answer, id: u64) -> Result<Value, Failure> {
    let messages = messages(answer);
    let own = messages
        .iter()
        .find(|message| message["id"] == id && message.get("method").is_none());
    // A refusal that came before the id was read carries none.
    let refusal = || {
        messages
            .iter()
            .find(|message| message.get("error").is_some())
    };
    match own.or_else(refusal) {
        Some(message) if message.get("error").is_some() => {
            let error = &message["error"];
            let text = error["message"].as_str().unwrap_or("no message");
            Err(Failure::new(
                format!("{text} (code {})", error["code"]),
                remedy(answer.status),
            ))
        }
        Some(message) => Ok(message["result"].clone()),
        None => Err(Failure::new(
            format!("{} without an answer to the request", answer.status),
            remedy(answer.status),
        )),
    }
}

fn remedy(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => {
            "set LOCKGATE_API_KEY to an API key, or name the variable that holds one with --key-env"
        }
        StatusCode::FORBIDDEN => "use a key whose roles allow this tool",
        StatusCode::NOT_FOUND => "check the URL: it ends in /mcp",
        _ => "see `lockgate tools list` and the gateway's log",
    }
}

fn messages(answer: &Answer) -> Vec<Value> {
    let kind = answer
        .headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return serde_json::from_slice(&answer.body).into_iter().collect();
    }
    let mut events = Vec::new();
    // What was decoded before an event over the limit still counts.
    _ = Decoder::new(EVENT_BYTES_MAX).feed(&answer.body, &mut events);
    events
        .iter()
        .filter_map(|event| serde_json::from_slice(&event.data).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &'static str, body: &'static str, expected: Result<Value, &str>) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let answer = Answer {
            status: StatusCode::OK,
            headers,
            body: Bytes::from_static(body.as_bytes()),
        };
        let result = result_of(&answer, 2).map_err(|failure| failure.message);
        assert_eq!(result, expected.map_err(ToOwned::to_owned));
    }

    #[test]
    fn the_answer_is_found_in_json_and_in_a_stream() {
        check(
            "application/json",
            r#"{"jsonrpc":"2.0","id":2,"result":{"a":1}}"#,
            Ok(json!({ "a": 1 })),
        );
        check(
            "text/event-stream",
            "id: 1\ndata:\n\ndata: {\"method\":\"notifications/progress\"}\n\ndata: {\"id\":2,\"method\":\"ping\"}\n\ndata: {\"id\":2,\"result\":3}\n\n",
            Ok(json!(3)),
        );
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
