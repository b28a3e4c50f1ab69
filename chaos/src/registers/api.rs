//! A client's connections to the nodes, and what a node's answer says.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::standing::Standing;
use crate::linear::{Answer, Event, Input};
use crate::world::TOKEN;

const REGISTERS: &str = "/api/v1/registers";
const HEALTH: &str = "/api/v1/cluster/health";
const TRANSFER: &str = "/api/v1/cluster/transfer-leader";
const METRICS: &str = "/metrics";
const MEMBERS: &str = "/api/v1/cluster/members";
/// Query of a read that may be stale.
const LOCAL: &str = "consistency=local";
/// A node that takes no connection for so long is not there.
const CONNECT_MAX: Duration = Duration::from_millis(300);
/// A call that is not answered for so long is given up.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A node that does not say so soon how it stands is stopped or stuck.
const STATUS_MAX: Duration = Duration::from_secs(1);

/// Speaks with all nodes, over one connection each.
#[derive(Debug)]
pub(super) struct Api {
    nodes: Vec<SocketAddr>,
    open: Vec<Option<SendRequest<Full<Bytes>>>>,
    /// Drive the connections; end with the client.
    drivers: JoinSet<hyper::Result<()>>,
}

/// Why there is no answer.
enum Silence {
    /// The request did not leave.
    NotSent,
    /// It may have arrived.
    Lost,
}

impl Api {
    pub(super) fn new(nodes: Vec<SocketAddr>) -> Self {
        Self {
            open: nodes.iter().map(|_| None).collect(),
            nodes,
            drivers: JoinSet::new(),
        }
    }

    /// Has one node carry out `input`.
    pub(super) async fn call(
        &mut self,
        node: usize,
        key: u32,
        input: Input,
        is_local: bool,
    ) -> Event {
        let mut path = format!("{REGISTERS}/r{key}");
        let (method, body) = match input {
            Input::Read => (Method::GET, Value::Null),
            Input::Write(new) => (Method::PUT, json!({"value": new.to_string()})),
            Input::Cas { expected, new } => {
                let expected = match expected {
                    Some(old) => json!({"value": old.to_string()}),
                    None => json!("absent"),
                };
                let body = json!({"value": new.to_string(), "expected": expected});
                (Method::PUT, body)
            }
        };
        if is_local && input == Input::Read {
            path = format!("{path}?{LOCAL}");
        }
        match self.exchange(node, method, &path, &body).await {
            Ok((status, body)) => event(input, status, &body),
            Err(Silence::NotSent) => Event::Failed,
            Err(Silence::Lost) => Event::Unknown,
        }
    }

    /// How a node stands, if it answers. One that finds no quorum takes too long.
    pub(super) async fn status(&mut self, node: usize) -> Option<Standing> {
        let asked = self.exchange(node, Method::GET, HEALTH, &Value::Null);
        let (_ok, body) = timeout(STATUS_MAX, asked).await.ok()?.ok()?;
        serde_json::from_slice(&body).ok()
    }

    /// Has the leader hand the lead over to the member of that name.
    pub(super) async fn transfer_leader(&mut self, leader: usize, to: &str) -> anyhow::Result<()> {
        let to = json!({"to": to});
        self.operate(leader, TRANSFER, &to).await.map(drop)
    }

    /// Ends the membership of the node of that name. `is_lost`: its disk is gone.
    pub(super) async fn remove(
        &mut self,
        node: usize,
        name: &str,
        is_lost: bool,
    ) -> anyhow::Result<()> {
        let path = format!("{MEMBERS}/{name}/remove");
        let lost = json!({"lost": is_lost});
        self.operate(node, &path, &lost).await.map(drop)
    }

    /// The metrics of a node, if it answers.
    pub(super) async fn metrics(&mut self, node: usize) -> Option<String> {
        let asked = self.exchange(node, Method::GET, METRICS, &Value::Null);
        let (_ok, body) = timeout(STATUS_MAX, asked).await.ok()?.ok()?;
        String::from_utf8(body.into()).ok()
    }

    /// Has a node carry out what an operator wants. Returns what it says to it.
    pub(super) async fn operate(
        &mut self,
        node: usize,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let asked = self.exchange(node, Method::POST, path, body).await;
        let Ok((status, body)) = asked else {
            anyhow::bail!("n{} does not answer {path}", node + 1);
        };
        let text = String::from_utf8_lossy(&body);
        anyhow::ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn exchange(
        &mut self,
        node: usize,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Bytes), Silence> {
        let connection = self.open[node].take();
        let mut connection = match connection.filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.connect(node).await.ok_or(Silence::NotSent)?,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.nodes[node].to_string())
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .body(Full::new(match body {
                Value::Null => Bytes::new(),
                body => body.to_string().into(),
            }))
            .map_err(|_invalid| Silence::NotSent)?;
        if connection.ready().await.is_err() {
            return Err(Silence::NotSent);
        }
        let exchange = async {
            let (head, body) = connection.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>((head.status, body.collect().await?.to_bytes()))
        };
        // A connection that has lost an answer is not used again.
        match timeout(ANSWER_MAX, exchange).await {
            Ok(Ok(answer)) => {
                self.open[node] = Some(connection);
                Ok(answer)
            }
            Ok(Err(_)) | Err(_) => Err(Silence::Lost),
        }
    }

    async fn connect(&mut self, node: usize) -> Option<SendRequest<Full<Bytes>>> {
        while self.drivers.try_join_next().is_some() {}
        let connecting = TcpStream::connect(self.nodes[node]);
        let stream = timeout(CONNECT_MAX, connecting).await.ok()?.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        self.drivers.spawn(connection);
        Some(sender)
    }
}

/// What an answer says of the call.
fn event(input: Input, status: StatusCode, body: &[u8]) -> Event {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let value = || body["value"].as_str()?.parse().ok();
    let code = body["error"]["code"].as_str();
    match (input, status, code) {
        (Input::Read, StatusCode::NOT_FOUND, Some("unknown_register")) => {
            Event::Completed(Answer::Value(None))
        }
        (Input::Read, StatusCode::OK, _) => match value() {
            Some(value) => Event::Completed(Answer::Value(Some(value))),
            None => Event::Unknown,
        },
        (Input::Write(_), StatusCode::OK, _) => Event::Completed(Answer::Written),
        (Input::Cas { .. }, StatusCode::OK, _) => Event::Completed(Answer::Set(true)),
        (Input::Cas { .. }, StatusCode::CONFLICT, Some("stale_register")) => {
            Event::Completed(Answer::Set(false))
        }
        // The node says that nothing was changed, and is taken at its word.
        (_, StatusCode::SERVICE_UNAVAILABLE, _) => Event::Failed,
        _ => Event::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAS: Input = Input::Cas {
        expected: None,
        new: 1,
    };

    const UNKNOWN: &str = r#"{"error":{"code":"unknown_register"}}"#;
    const STALE: &str = r#"{"error":{"code":"stale_register"}}"#;

    #[track_caller]
    fn check(input: Input, status: u16, body: &str, expected: Event) {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(event(input, status, body.as_bytes()), expected);
    }

    #[test]
    fn a_read_is_answered_with_a_value_or_none() {
        let read = |value| Event::Completed(Answer::Value(value));
        check(
            Input::Read,
            200,
            r#"{"value":"7","revision":3}"#,
            read(Some(7)),
        );
        check(Input::Read, 404, UNKNOWN, read(None));
        check(Input::Read, 404, "null", Event::Unknown);
        check(Input::Read, 200, "{}", Event::Unknown);
    }

    #[test]
    fn a_conflict_answers_a_compare_and_set_only() {
        check(CAS, 409, STALE, Event::Completed(Answer::Set(false)));
        check(CAS, 409, "", Event::Unknown);
        check(CAS, 200, "", Event::Completed(Answer::Set(true)));
        check(Input::Write(1), 409, STALE, Event::Unknown);
    }

    #[test]
    fn only_503_says_that_nothing_was_changed() {
        for status in [400, 500, 502, 504] {
            check(Input::Write(1), status, "", Event::Unknown);
        }
        check(Input::Write(1), 503, "", Event::Failed);
    }
}
