//! A raw MCP client over HTTP/1.1: says exactly what the test says, and hides nothing of the answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use lockgate_node::task::spawn_named;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::answer::{Answer, Events, Idle};
use super::within;

/// Newest revision that has sessions.
pub(crate) const LATEST: &str = "2025-11-25";
/// The stateless revision.
const STATELESS: &str = "2026-07-28";

/// One client: address, path, headers of its own, and at most one idle connection.
pub(crate) struct Client {
    address: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
    next_id: AtomicU64,
    idle: Idle,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            path: "/mcp".to_owned(),
            headers: Vec::new(),
            next_id: AtomicU64::new(1),
            idle: Idle::default(),
        }
    }

    pub(crate) fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Sends `name` with every request; an earlier value goes.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.with("authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.headers.retain(|(known, _)| known != name);
    }

    pub(crate) fn session_id(&self) -> &str {
        let found = self
            .headers
            .iter()
            .find(|(name, _)| name == "mcp-session-id");
        &found.unwrap().1
    }

    /// Opens a session of the latest revision for a client that takes no questions.
    pub(crate) async fn open(self) -> Self {
        self.open_with(LATEST, json!({})).await
    }

    /// Opens a session.
    pub(crate) async fn open_with(mut self, revision: &str, capabilities: Value) -> Self {
        let answer = self.initialize(revision, &capabilities).await;
        assert_eq!(answer.status, 200);
        let session = answer.header("mcp-session-id").unwrap().to_owned();
        let message = answer.message().await;
        let agreed = message["result"]["protocolVersion"].as_str();
        self.set(
            "mcp-protocol-version",
            agreed.unwrap_or_else(|| panic!("{message}")),
        );
        self.set("mcp-session-id", &session);
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(self.post(initialized.to_string()).await.status, 202);
        self
    }

    pub(crate) async fn initialize(&self, revision: &str, capabilities: &Value) -> Answer {
        let params = json!({
            "protocolVersion": revision, "capabilities": capabilities,
            "clientInfo": {"name": "it", "version": "1"}
        });
        self.post(self.message("initialize", &params).to_string())
            .await
    }

    /// A request with an id of its own.
    pub(crate) fn message(&self, method: &str, params: &Value) -> Value {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    /// Sends a request and returns the message that answers it.
    pub(crate) async fn request(&self, method: &str, params: Value) -> Value {
        self.post(self.message(method, &params).to_string())
            .await
            .message()
            .await
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }

    /// Names of all tools, in order.
    pub(crate) async fn tools(&self) -> Vec<String> {
        names(&self.request("tools/list", json!({})).await["result"]["tools"])
    }

    pub(crate) async fn notify(&self, method: &str, params: Value) -> u16 {
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.post(message.to_string()).await.status
    }

    /// A request of the stateless era by a client that declares nothing, with the headers that it demands.
    pub(crate) async fn stateless(&self, method: &str, params: Value) -> Answer {
        self.ask(json!({}), method, params).await
    }

    /// The same by a client with these capabilities.
    pub(crate) async fn ask(&self, capabilities: Value, method: &str, mut params: Value) -> Answer {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(STATELESS);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
        let mut headers = vec![("mcp-protocol-version", STATELESS), ("mcp-method", method)];
        let names = ["name", "uri", "taskId"].map(|key| params[key].as_str());
        let name = names.into_iter().flatten().next();
        headers.extend(name.map(|name| ("mcp-name", name)));
        let body = self.message(method, &params).to_string();
        self.send(Method::POST, &headers, body).await
    }

    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, &[], body).await
    }

    /// Opens the GET stream, or goes on after an event.
    pub(crate) async fn listen(&self, last_event: Option<&str>) -> Events {
        let headers: Vec<_> = last_event
            .map(|id| ("last-event-id", id))
            .into_iter()
            .collect();
        self.send(Method::GET, &headers, "").await.events()
    }

    pub(crate) async fn delete(&self) -> u16 {
        self.send(Method::DELETE, &[], "").await.status
    }

    /// One HTTP request. `headers` replace those that every request has.
    pub(crate) async fn send(
        &self,
        method: Method,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method.clone()).uri(&self.path);
        let host = self.address.to_string();
        let mut base = vec![
            ("host", host.as_str()),
            ("accept", "application/json, text/event-stream"),
        ];
        if method == Method::POST {
            base.push(("content-type", "application/json"));
        }
        let own = self.headers.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in own.chain(headers.iter().copied()) {
            base.retain(|(known, _)| *known != name);
            base.push((name, value));
        }
        for (name, value) in base {
            // An empty value stands for a header that is not sent.
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let mut sender = self.connection().await;
        let response = within("answer", sender.send_request(request))
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            sender,
            idle: Idle::clone(&self.idle),
        }
    }

    /// The idle connection, or a new one.
    async fn connection(&self) -> SendRequest<Full<Bytes>> {
        let idle = self.idle.lock().take();
        if let Some(mut sender) = idle
            && sender.ready().await.is_ok()
        {
            return sender;
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        // Ends when the sender and the body are dropped.
        drop(spawn_named("client connection", connection));
        sender
    }
}

/// `name` of every element.
pub(crate) fn names(list: &Value) -> Vec<String> {
    let name = |item: &Value| item["name"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}
