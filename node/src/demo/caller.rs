//! A stateless client of the demo: one call a connection, as a balancer without memory would spread them.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lockgate_proto::mcp::headers;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::task::spawn_named;

const REVISION: &str = "2026-07-28";
const TOOL: &str = "demo_add";

/// Has the gateway at `address` add two numbers, and gives the result.
///
/// # Errors
///
/// The gateway is not reached, or answers with an error.
pub async fn add(address: SocketAddr, a: u64, b: u64) -> io::Result<Value> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends with the connection, when the sender is gone.
    let _connection = spawn_named("demo call", async move { drop(connection.await) });
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": TOOL,
            "arguments": { "a": a, "b": b },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": REVISION,
                "io.modelcontextprotocol/clientInfo": { "name": "lockgate-demo", "version": env!("CARGO_PKG_VERSION") },
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let request = Request::post("/mcp")
        .header(header::HOST, address.to_string())
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header(header::CONTENT_TYPE, "application/json")
        .header(headers::PROTOCOL_VERSION, REVISION)
        .header("mcp-method", "tools/call")
        .header("mcp-name", TOOL)
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(io::Error::other)?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?;
    let body = body.to_bytes();
    if status != StatusCode::OK {
        let text = String::from_utf8_lossy(&body);
        return Err(io::Error::other(format!("{status}: {text}")));
    }
    let answer: Value = serde_json::from_slice(&body)?;
    match answer.get("result") {
        Some(result) => Ok(result.clone()),
        None => Err(io::Error::other(answer.to_string())),
    }
}
