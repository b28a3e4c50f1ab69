//! One MCP client with one session over one connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::history::Outcome;

const REVISION: &str = "2025-11-25";
/// Longest silence: far beyond every bound of the gateway under test.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Client {
    gateway: SocketAddr,
    /// API key.
    key: Option<String>,
    session: Option<String>,
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection; ends with the client.
    _connection: JoinSet<hyper::Result<()>>,
}

impl Client {
    /// Opens a session with the API key `key`, where callers need one.
    pub(crate) async fn open(gateway: SocketAddr, key: Option<&str>) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(gateway).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut client = Self {
            gateway,
            key: key.map(str::to_owned),
            session: None,
            sender,
            _connection: driver,
        };
        let params = json!({"protocolVersion": REVISION, "capabilities": {},
            "clientInfo": {"name": "chaos", "version": "1"}});
        let initialize =
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let (head, _) = client.post(&initialize).await?;
        let id = head
            .headers()
            .get("mcp-session-id")
            .context("no session id")?;
        client.session = Some(id.to_str()?.to_owned());
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let (head, _) = client.post(&initialized).await?;
        ensure!(head.status() == 202, "status {}", head.status());
        Ok(client)
    }

    /// Calls the tool that counts.
    pub(crate) async fn count(&mut self, key: &str) -> Outcome {
        let message = json!({"jsonrpc": "2.0", "id": key, "method": "tools/call",
            "params": {"name": "counter_count", "arguments": {"key": key}}});
        match self.post(&message).await {
            Ok((head, body)) => outcome(head.status().as_u16(), &body, key),
            Err(error) => Outcome::Wrong(format!("{error:#}")),
        }
    }

    async fn post(&mut self, message: &Value) -> anyhow::Result<(Response<()>, Bytes)> {
        let mut request = Request::post("/mcp")
            .header("host", self.gateway.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(session) = &self.session {
            request = request
                .header("mcp-session-id", session)
                .header("mcp-protocol-version", REVISION);
        }
        let request = request.body(Full::new(message.to_string().into()))?;
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok((Response::from_parts(head, ()), body))
        };
        timeout(ANSWER_MAX, exchange).await.context("silence")?
    }
}

/// Reads the one answer out of a body or a stream of events.
fn outcome(status: u16, body: &[u8], key: &str) -> Outcome {
    let text = String::from_utf8_lossy(body);
    let wrong = || Outcome::Wrong(format!("status {status}: {text}"));
    let events = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let messages = events
        .chain([&*text])
        .filter_map(|text| serde_json::from_str::<Value>(text).ok());
    let answers: Vec<Value> = messages.filter(|message| message["id"] == key).collect();
    let ([answer], 200) = (&*answers, status) else {
        return wrong();
    };
    if answer["result"]["content"][0]["text"] == key {
        return Outcome::Done;
    }
    match answer["error"]["data"]["outcome"].as_str() {
        Some("not_sent") => Outcome::NotSent {
            breaker: answer["error"]["code"] == -31503,
        },
        Some("unknown") => Outcome::Unknown,
        _ => wrong(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: &Outcome) {
        assert_eq!(outcome(status, body.as_bytes(), "k"), *expected);
    }

    #[test]
    fn an_answer_is_found_in_a_body_and_in_a_stream() {
        let done =
            r#"{"jsonrpc":"2.0","id":"k","result":{"content":[{"type":"text","text":"k"}]}}"#;
        check(200, done, &Outcome::Done);
        check(
            200,
            &format!("id: 1-1-0\ndata:\n\nid: 1-1-1\ndata: {done}\n\n"),
            &Outcome::Done,
        );
        let error = r#"{"id":"k","error":{"code":-31503,"data":{"outcome":"not_sent"}}}"#;
        check(200, error, &Outcome::NotSent { breaker: true });
        let error = r#"{"id":"k","error":{"code":-31504,"data":{"outcome":"unknown"}}}"#;
        check(200, error, &Outcome::Unknown);
    }

    #[test]
    fn two_answers_none_or_another_status_are_wrong() {
        let done = r#"{"id":"k","result":{"content":[{"type":"text","text":"k"}]}}"#;
        let twice = format!("data: {done}\n\ndata: {done}\n\n");
        for (status, body) in [(200, twice.as_str()), (200, ""), (404, done), (500, "{}")] {
            assert!(
                matches!(outcome(status, body.as_bytes(), "k"), Outcome::Wrong(_)),
                "{body}"
            );
        }
    }
}
