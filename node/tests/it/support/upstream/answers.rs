//! What the server says to one message.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Broken;
use super::world::{Mode, Push, World};

/// Says in `_meta` that a request is of the stateless era.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const DONE: &str = r#""result":{"content":[{"type":"text","text":"done"}]}"#;

/// What has to be read as it was written.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(super) fn status(code: u16) -> Response<Body> {
    respond(code, "text/plain", Bytes::new())
}

fn respond(code: u16, kind: &str, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(code).unwrap())
        .header("content-type", kind)
        .body(Full::new(body.into()).boxed_unsync())
        .unwrap()
}

fn json_answer(id: &str, result: &str) -> Response<Body> {
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    respond(200, "application/json", text)
}

fn refuse(code: u16, id: &str, error: &Value) -> Response<Body> {
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
    respond(code, "application/json", text)
}

fn stream(events: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let frames = events.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(StreamBody::new(frames).boxed_unsync())
        .unwrap()
}

fn event(data: &str) -> Bytes {
    format!("data: {data}\n\n").into()
}

/// A GET stream.
pub(super) fn listen(world: &World, session: &str) -> Response<Body> {
    let (sender, receiver) = mpsc::channel::<String>(64);
    world.listeners.lock().insert(session.to_owned(), sender);
    stream(received(receiver).map(|message| event(&message)))
}

fn received<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    })
}

/// One POST.
pub(super) async fn post(
    world: &Arc<World>,
    body: Bytes,
    headers: HeaderMap,
) -> Result<Response<Body>, Broken> {
    let message: Value = serde_json::from_slice(&body).map_err(|_| Broken)?;
    let head: Head<'_> = serde_json::from_slice(&body).map_err(|_| Broken)?;
    let id = head.id.map(|raw| raw.get().to_owned());
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    world.bodies.lock().insert(method.clone(), body);
    *world.received.lock().entry(method.clone()).or_default() += 1;
    let session = headers
        .get("mcp-session-id")
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned);
    let session = session.as_deref();
    world.headers.lock().insert(method.clone(), headers);
    let Some(id) = id else {
        return Ok(status(202));
    };
    let is_stateless = message["params"]["_meta"].get(VERSION_KEY).is_some();
    if session.is_none() && !is_stateless && method != "initialize" {
        let error = json!({"code": -32000, "message": "Bad Request: no session"});
        return Ok(refuse(400, &id, &error));
    }
    let script = world.streams.lock().remove(&method);
    if let Some(script) = script {
        return Ok(said(script, &message["params"], &id));
    }
    if let Some(member) = world.reply(&method) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},{member}}}"#);
        return Ok(respond(200, "application/json", text));
    }
    match method.as_str() {
        "initialize" => {
            let answer = initialize(world, &message, &id);
            let mut holds = world.holds_openings.subscribe();
            let _released = holds.wait_for(|holds| !holds).await;
            Ok(answer)
        }
        "server/discover" => Ok(discovered(world, &id)),
        "tools/call" => call(world, &message, &id).await,
        "subscriptions/listen" => {
            if message["params"]["notifications"]
                .get("resourceSubscriptions")
                .is_some()
            {
                world.execute(&method);
            }
            Ok(subscribe(world, &message))
        }
        "tools/list" => {
            let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
            let mut tools = ["work", "other", "script"].map(tool).to_vec();
            let is_favoured = session.is_some_and(|id| world.favoured.lock().contains(id));
            let special = world.special.lock().clone().filter(|_| is_favoured);
            tools.extend(special.map(|(_, name)| tool(&name)));
            Ok(json_answer(&id, &json!({"tools": tools}).to_string()))
        }
        "prompts/list" => Ok(json_answer(&id, r#"{"prompts":[{"name":"greet"}]}"#)),
        "resources/list" => {
            let list = r#"{"resources":[{"uri":"up://one","name":"one"},{"uri":"up://two","name":"two"}]}"#;
            Ok(json_answer(&id, list))
        }
        "resources/templates/list" => Ok(json_answer(&id, r#"{"resourceTemplates":[]}"#)),
        "completion/complete" => Ok(json_answer(&id, r#"{"completion":{"values":["a"]}}"#)),
        _ => {
            world.execute(&method);
            Ok(json_answer(&id, "{}"))
        }
    }
}

/// A listen of the stateless era; the test speaks on it by the name of its first resource.
fn subscribe(world: &World, message: &Value) -> Response<Body> {
    let notifications = &message["params"]["notifications"];
    let uri = notifications["resourceSubscriptions"][0].as_str();
    let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": {"notifications": notifications}});
    let (sender, receiver) = mpsc::channel::<String>(64);
    let name = uri.unwrap_or("lists").to_owned();
    world.listeners.lock().insert(name, sender);
    let first = stream::iter([event(&acknowledged.to_string())]);
    stream(first.chain(received(receiver).map(|message| event(&message))))
}

fn discovered(world: &World, id: &str) -> Response<Body> {
    let usual = || json!({"tools": {}, "resources": {"subscribe": true}});
    let result = json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"],
        "capabilities": world.capabilities.lock().clone().unwrap_or_else(usual),
        "ttlMs": 0, "cacheScope": "private"
    });
    json_answer(id, &result.to_string())
}

fn initialize(world: &World, message: &Value, id: &str) -> Response<Body> {
    let usual = || {
        json!({
            "tools": {"listChanged": true}, "prompts": {}, "completions": {}, "logging": {},
            "resources": {"subscribe": true}, "tasks": {"list": {}, "cancel": {}}
        })
    };
    let result = json!({
        "protocolVersion": message["params"]["protocolVersion"],
        "capabilities": world.capabilities.lock().clone().unwrap_or_else(usual),
        "serverInfo": {"name": "up", "version": "1"}
    });
    let mut answer = json_answer(id, &result.to_string());
    let session = world.open_session();
    let special = world.special.lock().clone();
    let is_favoured = |(capability, _): &(Box<str>, Box<str>)| {
        let declared = &message["params"]["capabilities"];
        declared.get(&**capability).is_some()
    };
    if special.as_ref().is_some_and(is_favoured) {
        world.favoured.lock().insert(session.clone());
    }
    let session = session.parse().unwrap();
    answer.headers_mut().insert("mcp-session-id", session);
    answer
}

async fn call(world: &Arc<World>, message: &Value, id: &str) -> Result<Response<Body>, Broken> {
    let params = &message["params"];
    if params["name"] == "script" {
        return Ok(scripted(world, params, id));
    }
    let mode = *world.mode.lock();
    if let Mode::Refuse(code) = mode {
        return Ok(status(code));
    }
    world.execute(params["arguments"]["key"].as_str().unwrap_or_default());
    match mode {
        Mode::Hang => std::future::pending().await,
        Mode::DieAfterExecuting => Err(Broken),
        Mode::Garbage => Ok(respond(200, "application/json", &b"<html>\xff{[}"[..])),
        Mode::Flood => {
            let noise = Bytes::from(vec![b'x'; 64 << 10]);
            Ok(stream(stream::repeat(noise)))
        }
        Mode::Serve | Mode::Refuse(_) => {
            if let Some(ms) = params["arguments"]["wait_ms"].as_u64() {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            let once = world.answers_once.lock().pop_front();
            let answer = once.or_else(|| world.answer.lock().clone());
            let member = answer.as_deref().unwrap_or(DONE);
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},{member}}}"#);
            Ok(respond(200, "application/json", text))
        }
    }
}

/// An event stream that says what the test sends.
fn scripted(world: &World, params: &Value, id: &str) -> Response<Body> {
    let Some(script) = world.scripts.lock().pop_front() else {
        return status(500);
    };
    said(script, params, id)
}

fn said(script: mpsc::Receiver<Push>, params: &Value, id: &str) -> Response<Body> {
    let (token, id) = (params["_meta"]["progressToken"].clone(), id.to_owned());
    stream(received(script).map(move |push| {
        let message = match push {
            Push::Progress(n) => json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": n}}),
            Push::Answer(text) => {
                let id: Value = serde_json::from_str(&id).unwrap();
                json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})
            }
            Push::Raw(text) => return event(text),
        };
        event(&message.to_string())
    }))
}
