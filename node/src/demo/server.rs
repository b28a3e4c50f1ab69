//! A small MCP server on standard input and output, of both eras. It is what the demo shows and what tests that need
//! nothing installed call.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind, Limits, decode_str};
use lockgate_proto::mcp::{Revision, code, method};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::task::spawn_named;

/// Lines that wait for a slow reader.
const OUT_QUEUE: usize = 256;
/// Steps of one countdown.
const STEPS_MAX: u64 = 1000;

struct Server {
    out: mpsc::Sender<String>,
    running: Mutex<HashMap<String, CancellationToken>>,
    asked: Mutex<HashMap<String, oneshot::Sender<Value>>>,
}

/// Serves until standard input ends.
pub async fn serve() {
    let (out, mut queue) = mpsc::channel::<String>(OUT_QUEUE);
    let writer = spawn_named("demo writer", async move {
        let mut stdout = tokio::io::stdout();
        while let Some(line) = queue.recv().await {
            let written = async {
                stdout.write_all(line.as_bytes()).await?;
                stdout.write_all(b"\n").await?;
                stdout.flush().await
            };
            if written.await.is_err() {
                return;
            }
        }
    });
    let server = Arc::new(Server {
        out,
        running: Mutex::default(),
        asked: Mutex::default(),
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(frame) = Frame::parse(line.into(), &Limits::default()) else {
            continue;
        };
        Arc::clone(&server).take(frame);
    }
    drop(server);
    let _written = writer.await;
}

impl Server {
    fn take(self: Arc<Self>, frame: Frame) {
        match frame.kind() {
            Kind::Notification => {
                if frame.method() == method::CANCELLED
                    && let Some(id) = frame.param(&["requestId"])
                    && let Some(running) = self.running.lock().remove(id.of(frame.text()))
                {
                    running.cancel();
                }
            }
            Kind::Result | Kind::Error => {
                let waiting = frame.id().and_then(|id| self.asked.lock().remove(id));
                if let Some(waiting) = waiting {
                    let body = frame
                        .body()
                        .and_then(|body| serde_json::from_str(body).ok());
                    let _gone = waiting.send(body.unwrap_or_default());
                }
            }
            Kind::Request => {
                let id = frame.id().unwrap_or("null").to_owned();
                let cancel = CancellationToken::new();
                self.running.lock().insert(id.clone(), cancel.clone());
                // Ends with the call or with its cancellation.
                drop(spawn_named("demo call", async move {
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        text = self.answer(&frame) => self.say(text).await,
                    }
                    self.running.lock().remove(&id);
                }));
            }
        }
    }

    async fn say(&self, text: String) {
        let _reader_gone = self.out.send(text).await;
    }

    async fn answer(&self, frame: &Frame) -> String {
        let id = frame.id().unwrap_or("null");
        match self.result(frame).await {
            Ok(mut result) => {
                if is_stateless(frame) {
                    complete(&mut result, &frame.method());
                }
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
            }
            Err((code, message)) => {
                let error = json!({"code": code, "message": message});
                format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
            }
        }
    }

    async fn result(&self, frame: &Frame) -> Result<Value, (i32, String)> {
        Ok(match &*frame.method() {
            method::INITIALIZE => json!({
                "protocolVersion": requested(frame).as_str(),
                "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
                "serverInfo": {"name": "lockgate-demo", "version": env!("CARGO_PKG_VERSION")},
                "instructions": "Tools to try the gateway with."
            }),
            method::DISCOVER => json!({
                "supportedVersions": [Revision::V2026_07_28.as_str()],
                "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
                "instructions": "Tools to try the gateway with."
            }),
            method::PING => json!({}),
            method::TOOLS_LIST => json!({"tools": tools()}),
            method::TOOLS_CALL => self.call(frame).await?,
            method::RESOURCES_LIST => json!({"resources": [
                {"uri": "demo://readme", "name": "readme", "mimeType": "text/plain"}
            ]}),
            method::TEMPLATES_LIST => json!({"resourceTemplates": []}),
            method::RESOURCES_READ => match text(frame, &["uri"]).as_deref() {
                Some("demo://readme") => json!({"contents": [
                    {"uri": "demo://readme", "mimeType": "text/plain", "text": "A lock gate keeps the water and lets the ships pass."}
                ]}),
                _ => return Err((code::INVALID_PARAMS, "no such resource".to_owned())),
            },
            method::PROMPTS_LIST => {
                json!({"prompts": [{"name": "greet", "arguments": [{"name": "who", "required": true}]}]})
            }
            method::PROMPTS_GET => {
                let who =
                    text(frame, &["arguments", "who"]).unwrap_or_else(|| "captain".to_owned());
                json!({"messages": [{"role": "user", "content": {"type": "text", "text": format!("Greet {who}.")}}]})
            }
            other => {
                return Err((
                    code::METHOD_NOT_FOUND,
                    format!("method `{other}` not found"),
                ));
            }
        })
    }

    async fn call(&self, frame: &Frame) -> Result<Value, (i32, String)> {
        let name = text(frame, &["name"]).unwrap_or_default();
        let number = |key: &str| {
            let span = frame.param(&["arguments", key])?;
            span.of(frame.text()).parse::<f64>().ok()
        };
        Ok(match name.as_str() {
            "echo" => said(&text(frame, &["arguments", "message"]).unwrap_or_default()),
            "add" => match (number("a"), number("b")) {
                (Some(a), Some(b)) => said(&(a + b).to_string()),
                _ => failed("`a` and `b` must be numbers"),
            },
            "countdown" => {
                let steps = (number("steps").unwrap_or(3.0).max(1.0) as u64).min(STEPS_MAX);
                let pause = Duration::from_millis(
                    number("pause_ms").unwrap_or(100.0).clamp(0.0, 10_000.0) as u64,
                );
                self.countdown(frame, steps, pause).await;
                said("lift-off")
            }
            "ask" => {
                let mut params = json!({"message": "What is your name?", "requestedSchema": {
                    "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]
                }});
                if is_stateless(frame) {
                    params["mode"] = json!("form");
                    return Ok(asked_in_result(frame, &params));
                }
                said(&self.ask(method::ELICITATION, &params).await.to_string())
            }
            other => return Err((code::INVALID_PARAMS, format!("unknown tool `{other}`"))),
        })
    }

    async fn countdown(&self, frame: &Frame, steps: u64, pause: Duration) {
        let token = frame
            .param(&["_meta", "progressToken"])
            .map(|span| span.of(frame.text()));
        for step in 1..=steps {
            tokio::time::sleep(pause).await;
            if let Some(token) = token {
                self.say(format!(
                    r#"{{"jsonrpc":"2.0","method":"{}","params":{{"progressToken":{token},"progress":{step},"total":{steps}}}}}"#,
                    method::PROGRESS
                ))
                .await;
            }
        }
    }

    async fn ask(&self, method: &str, params: &Value) -> Value {
        let (tell, told) = oneshot::channel();
        let id = {
            let mut asked = self.asked.lock();
            let id = format!("\"ask-{}\"", asked.len() + 1);
            asked.insert(id.clone(), tell);
            id
        };
        self.say(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
        ))
        .await;
        told.await.unwrap_or_default()
    }
}

fn tools() -> Value {
    let number = json!({"type": "number"});
    json!([
        {"name": "echo", "description": "Says what it was told.", "annotations": {"readOnlyHint": true},
         "inputSchema": {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}},
        {"name": "add", "description": "Adds two numbers.", "annotations": {"readOnlyHint": true},
         "inputSchema": {"type": "object", "properties": {"a": number, "b": number}, "required": ["a", "b"]}},
        {"name": "countdown", "description": "Counts down with progress notifications.",
         "inputSchema": {"type": "object", "properties": {"steps": number, "pause_ms": number}}},
        {"name": "ask", "description": "Asks the user for a name (elicitation).", "inputSchema": {"type": "object"}}
    ])
}

/// 2026-07-28 has no requests of servers: the question is a result, and the answer comes with the retry.
fn asked_in_result(frame: &Frame, params: &Value) -> Value {
    if let Some(answer) = frame.param(&["inputResponses", "name"]) {
        return said(answer.of(frame.text()));
    }
    let can_be_asked = [
        "_meta",
        "io.modelcontextprotocol/clientCapabilities",
        "elicitation",
    ];
    if frame.param(&can_be_asked).is_none() {
        return failed("this client cannot ask its user");
    }
    json!({"resultType": "input_required", "inputRequests": {
        "name": {"method": method::ELICITATION, "params": params}
    }})
}

fn said(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

fn failed(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}], "isError": true})
}

fn text(frame: &Frame, path: &[&str]) -> Option<String> {
    let span = frame.param(path)?;
    decode_str(span.of(frame.text())).map(|text| text.into_owned())
}

fn requested(frame: &Frame) -> Revision {
    let asked = text(frame, &["protocolVersion"]).and_then(|version| Revision::parse(&version));
    asked
        .filter(|revision| *revision <= Revision::SESSION_LATEST)
        .unwrap_or(Revision::SESSION_LATEST)
}

fn is_stateless(frame: &Frame) -> bool {
    frame
        .param(&["_meta", "io.modelcontextprotocol/protocolVersion"])
        .is_some()
}

/// What 2026-07-28 requires of every result.
fn complete(result: &mut Value, method: &str) {
    let Some(result) = result.as_object_mut() else {
        return;
    };
    result
        .entry("resultType")
        .or_insert_with(|| json!("complete"));
    if method == method::DISCOVER || method == method::RESOURCES_READ || method.ends_with("/list") {
        result.insert("ttlMs".to_owned(), json!(60_000));
        result.insert("cacheScope".to_owned(), json!("public"));
    }
}
