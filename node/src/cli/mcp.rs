//! A client's side of one MCP session, as short as the protocol allows: `tools call` goes the way of every client.

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use lockgate_proto::mcp::Revision;
use lockgate_proto::mcp::headers::{PROTOCOL_VERSION, SESSION_ID};
use lockgate_proto::mcp::sse::Decoder;
use lockgate_proto::mcp::{code, method};
use serde_json::{Value, json};

use super::connect::{Answer, Plane, begin, exchange};
use super::exit::Failure;
use crate::error::own_code::{DENIED, OVERLOADED, QUOTA, TIMEOUT, UPSTREAM};

const EVENT_BYTES_MAX: usize = 64 << 20;

/// An open session. It declares that it can be asked for input, so that a tool that asks is known to do so: whoever
/// declares nothing is not asked, and may get any answer instead.
#[derive(Debug)]
pub(super) struct Mcp {
    url: Uri,
    headers: HeaderMap,
    next_id: u64,
    /// What is answered to servers that ask for input. `None` tells them that there is no answer.
    answer: Option<Value>,
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
        let (headers, result) = mcp.ask("initialize", params).await?;
        if let Some(id) = headers.get(SESSION_ID) {
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

    pub(super) async fn call(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        Ok(self.ask(method, params).await?.1)
    }

    /// Ends the session. A gateway that cannot be told ends it by its idle timeout.
    pub(super) async fn close(self) {
        if self.headers.contains_key(SESSION_ID) {
            _ = self.send(Method::DELETE, "").await;
        }
    }

    /// Answers input that servers ask for with this from now on.
    pub(super) fn answer_with(&mut self, answer: Option<Value>) {
        self.answer = answer;
    }

    /// What servers have asked for.
    pub(super) fn asked(&self) -> &[String] {
        &self.asked
    }

    async fn ask(&mut self, method: &str, params: Value) -> Result<(HeaderMap, Value), Failure> {
        self.next_id += 1;
        let id = self.next_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let mut coming = begin(
            self.request(Method::POST, &request.to_string()),
            Plane::Data,
        )
        .await?;
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
    async fn reply(&mut self, message: &Value) -> Result<(), Failure> {
        let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) else {
            return Ok(());
        };
        let mut reply = json!({ "jsonrpc": "2.0", "id": id });
        if method == method::ELICITATION {
            let question = &message["params"]["message"];
            self.asked
                .push(question.as_str().unwrap_or_default().to_owned());
            reply["result"] = match &self.answer {
                Some(content) => json!({ "action": "accept", "content": content }),
                None => json!({ "action": "cancel" }),
            };
        } else if method == method::PING {
            reply["result"] = json!({});
        } else {
            let text = format!("method `{method}` not found");
            reply["error"] = json!({ "code": code::METHOD_NOT_FOUND, "message": text });
        }
        self.send(Method::POST, &reply.to_string()).await?;
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

fn is_answer(message: &Value, id: u64) -> bool {
    message["id"] == id && message.get("method").is_none()
}

/// The result for `id`, or the error as a failure.
fn result_of(status: StatusCode, messages: &[Value], id: u64) -> Result<Value, Failure> {
    let own = messages.iter().find(|message| is_answer(message, id));
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
            let code = error["code"].as_i64();
            let remedy = remedy(status, code.and_then(|code| i32::try_from(code).ok()));
            let remedy = match error["data"]["retry_after_ms"].as_u64() {
                Some(ms) => format!("again in {} s; {remedy}", ms.div_ceil(1_000)),
                None => remedy.to_owned(),
            };
            let message = format!("{text} (code {})", error["code"]);
            Err(Failure::new(message, remedy))
        }
        Some(message) => Ok(message["result"].clone()),
        None => Err(Failure::new(
            format!("{status} without an answer to the request"),
            remedy(status, None),
        )),
    }
}

/// What to do about an answer with `status` that carries an error of `error_code`.
fn remedy(status: StatusCode, error_code: Option<i32>) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => {
            "set LOCKGATE_API_KEY to an API key, or name the variable that holds one with --key-env"
        }
        StatusCode::FORBIDDEN => "use a key whose roles allow this tool",
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
    fn read(&mut self, chunk: &Bytes) -> Vec<Value> {
        let mut events = Vec::new();
        match self {
            // What was decoded before an event over the limit still counts.
            Self::Events(decoder) => _ = decoder.feed(chunk, &mut events),
            Self::Json(body) => body.extend_from_slice(chunk),
        }
        events
            .iter()
            .filter_map(|event| serde_json::from_slice(&event.data).ok())
            .collect()
    }

    /// The message that the end completes.
    fn end(self) -> Option<Value> {
        match self {
            Self::Events(_) => None,
            Self::Json(body) => serde_json::from_slice(&body).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &'static str, body: &'static str, expected: Result<Value, &str>) {
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
            let remedy = remedy(StatusCode::OK, error_code);
            assert!(remedy.contains(verb), "{remedy}");
        }
    }

    #[test]
    fn a_refusal_that_ends_by_itself_says_when() {
        let error =
            json!({ "code": QUOTA, "message": "used up", "data": { "retry_after_ms": 4_001 } });
        let refused = [json!({ "id": 2, "error": error })];
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
