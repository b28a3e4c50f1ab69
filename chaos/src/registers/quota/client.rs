//! One client of one tenant at one node: calls without a session, and what it is told.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const REVISION: &str = "2026-07-28";
const TOOL: &str = "counter_count";
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// A call that is not answered for so long is given up.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// How a call ended, as the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Refused by a quota, as the answer has to be: with a time to try again.
    Refused {
        /// Name of the quota.
        quota: String,
        /// Whether it is used up. Otherwise nobody could say.
        used_up: bool,
    },
    /// No connection, no answer, or a node that serves nothing because it has no cluster.
    Failed,
    /// What no node may say.
    Wrong(String),
}

#[derive(Debug)]
pub(super) struct Client {
    node: SocketAddr,
    key: String,
    open: Option<SendRequest<Full<Bytes>>>,
    /// Drives the connection; ends with the client.
    driver: JoinSet<hyper::Result<()>>,
}

impl Client {
    /// Of the node at `node`, with the API key `key`. Connects when it calls.
    pub(super) fn new(node: SocketAddr, key: &str) -> Self {
        Self {
            node,
            key: key.to_owned(),
            open: None,
            driver: JoinSet::new(),
        }
    }

    /// Calls the tool that counts.
    pub(super) async fn count(&mut self, key: &str) -> Outcome {
        let arguments = json!({"name": TOOL, "arguments": {"key": key}});
        match timeout(ANSWER_MAX, self.exchange("tools/call", key, arguments)).await {
            Ok(Ok((head, body))) => outcome(&head, &body, key),
            // What is still on its way must not be taken for the answer to the next call.
            Ok(Err(_)) | Err(_) => {
                self.open = None;
                Outcome::Failed
            }
        }
    }

    /// Whether the node knows the key and the tool. Costs nothing.
    pub(super) async fn is_served(&mut self) -> bool {
        let listed = self.exchange("tools/list", "0", json!({}));
        let Ok(Ok((head, body))) = timeout(ANSWER_MAX, listed).await else {
            return false;
        };
        head.status() == 200 && String::from_utf8_lossy(&body).contains(TOOL)
    }

    async fn exchange(
        &mut self,
        method: &str,
        id: &str,
        params: Value,
    ) -> anyhow::Result<(Response<()>, Bytes)> {
        let request = self.request(method, id, params)?;
        let mut connection = match self.open.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        connection.ready().await?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.open = Some(connection);
        Ok((Response::from_parts(head, ()), body))
    }

    fn request(
        &self,
        method: &str,
        id: &str,
        mut params: Value,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let request = Request::post("/mcp")
            .header("host", self.node.to_string())
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", REVISION)
            .header("mcp-method", method);
        let request = match method {
            "tools/call" => request.header("mcp-name", TOOL),
            _ => request,
        };
        Ok(request.body(Full::new(message.to_string().into()))?)
    }

    async fn connect(&mut self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let connecting = timeout(CONNECT_MAX, TcpStream::connect(self.node)).await;
        let stream = connecting.context("no connection in time")??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        self.driver = JoinSet::new();
        self.driver.spawn(connection);
        Ok(sender)
    }
}

/// Reads the one answer. A refusal by a quota counts as one only when it is all that it has to be.
fn outcome(head: &Response<()>, body: &[u8], key: &str) -> Outcome {
    let text = String::from_utf8_lossy(body);
    let events = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let messages = events
        .chain([&*text])
        .filter_map(|text| serde_json::from_str::<Value>(text).ok());
    let answer = messages.into_iter().find(|message| message["id"] == key);
    let status = head.status().as_u16();
    let retry_after = head.headers().get("retry-after");
    let retry_after = retry_after.and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
    match (answer, status) {
        (Some(answer), 200) if answer["result"]["content"][0]["text"] == key => Outcome::Done,
        (Some(answer), 429)
            if answer["error"]["code"] == -31429 && retry_after.is_some_and(|secs| secs > 0) =>
        {
            let data = &answer["error"]["data"];
            match (data["quota"].as_str(), data["reason"].as_str()) {
                (Some(quota), Some(reason @ ("quota_exceeded" | "quota_unavailable"))) => {
                    Outcome::Refused {
                        quota: quota.to_owned(),
                        used_up: reason == "quota_exceeded",
                    }
                }
                _ => Outcome::Wrong(format!("status 429: {text}")),
            }
        }
        // It says that nothing was done, or that it does not know.
        (_, 502..=504) => Outcome::Failed,
        _ => Outcome::Wrong(format!("status {status}: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str =
        r#"{"id":"k","error":{"code":-31429,"data":{"reason":"quota_exceeded","quota":"q"}}}"#;

    fn read(status: u16, retry_after: Option<&str>, body: &str) -> Outcome {
        let mut head = Response::builder().status(status);
        if let Some(seconds) = retry_after {
            head = head.header("retry-after", seconds);
        }
        outcome(&head.body(()).unwrap(), body.as_bytes(), "k")
    }

    #[test]
    fn a_refusal_has_a_status_a_time_and_a_quota() {
        let refused = Outcome::Refused {
            quota: "q".to_owned(),
            used_up: true,
        };
        assert_eq!(read(429, Some("3"), REFUSED), refused);
        for (status, retry_after) in [(429, None), (429, Some("0")), (200, Some("3"))] {
            let outcome = read(status, retry_after, REFUSED);
            assert!(matches!(outcome, Outcome::Wrong(_)), "{outcome:?}");
        }
    }

    #[test]
    fn an_answer_is_found_in_a_body_and_in_a_stream() {
        let done = r#"{"id":"k","result":{"content":[{"type":"text","text":"k"}]}}"#;
        assert_eq!(read(200, None, done), Outcome::Done);
        assert_eq!(read(200, None, &format!("data: {done}\n\n")), Outcome::Done);
        let another = done.replace("\"k\"", "\"other\"");
        assert!(matches!(read(200, None, &another), Outcome::Wrong(_)));
        assert_eq!(read(503, Some("1"), "{}"), Outcome::Failed);
    }
}
