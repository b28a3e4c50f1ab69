//! The counting server: an MCP server of the session era that writes down every execution before it answers.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::cli::ServeUpstream;
use crate::clock::now_us;
use crate::report::print;

struct Server {
    log: File,
    sessions: Mutex<HashSet<String>>,
    /// Tells sessions of this process from those of the one before it.
    process: u32,
}

/// Serves until the process is killed.
pub(crate) async fn serve(options: &ServeUpstream) -> anyhow::Result<()> {
    let log = File::options().create(true).append(true).open(&options.log);
    let server = Arc::new(Server {
        log: log.context("the execution log cannot be opened")?,
        sessions: Mutex::default(),
        process: std::process::id(),
    });
    let listener = TcpListener::bind(options.listen).await.context("listen")?;
    print("ready\n");
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        let server = Arc::clone(&server);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&server), request));
            // A client that goes away is no fault of ours.
            let _closed = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let session = request.headers().get("mcp-session-id");
    let session = session.and_then(|id| id.to_str().ok()).map(str::to_owned);
    if let Some(id) = &session
        && !server.sessions.lock().await.contains(id)
    {
        return empty(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let body = request.into_body().collect().await?.to_bytes();
    let message: Value = serde_json::from_slice(&body)?;
    if message.get("id").is_none() {
        return empty(StatusCode::ACCEPTED);
    }
    let method = message["method"].as_str().unwrap_or_default();
    if session.is_none() && method != "initialize" {
        return empty(StatusCode::BAD_REQUEST);
    }
    let result = match method {
        "initialize" => {
            let mut sessions = server.sessions.lock().await;
            let id = format!("{}-{}", server.process, sessions.len());
            sessions.insert(id.clone());
            let result = json!({
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "counter", "version": "1"}
            });
            let mut response = json_answer(&message, &result)?;
            response.headers_mut().insert("mcp-session-id", id.parse()?);
            return Ok(response);
        }
        "tools/list" => {
            json!({"tools": [{"name": "count", "inputSchema": {"type": "object"}}]})
        }
        "tools/call" => {
            let key = message["params"]["arguments"]["key"].as_str();
            // One write, so that a kill leaves a whole line or none; the page cache outlives the process.
            let line = format!("{} {}\n", key.context("no key")?, now_us());
            (&server.log).write_all(line.as_bytes())?;
            json!({"content": [{"type": "text", "text": key}]})
        }
        _ => json!({}),
    };
    json_answer(&message, &result)
}

fn empty(status: StatusCode) -> anyhow::Result<Response<Full<Bytes>>> {
    Ok(Response::builder().status(status).body(Full::default())?)
}

fn json_answer(message: &Value, result: &Value) -> anyhow::Result<Response<Full<Bytes>>> {
    let text = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    Ok(Response::builder()
        .header("content-type", "application/json")
        .body(Full::new(text.into()))?)
}
