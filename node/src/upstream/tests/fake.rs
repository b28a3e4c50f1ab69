//! A small MCP server over HTTP that does as it is told.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame as BodyFrame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lockgate_proto::jsonrpc::{Frame, Kind, Limits};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

pub(super) use crate::port::Port;
use crate::task::spawn_named;

/// What a server asks in [`Mode::Ask`] and [`Mode::AskApart`].
pub(super) const QUESTION: &str =
    r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"who?"}}"#;
/// What it asks in [`Mode::AskInPassing`].
pub(super) const ROOTS: &str = r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#;

type Body = BoxBody<Bytes, Infallible>;

/// How `tools/call` is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// With a result.
    Well,
    /// With a stream: one progress message, and the result once [`World::release`] is told.
    Stream,
    /// With a stream: a question to the client, and the result once [`World::release`] is told.
    Ask,
    /// With a result once [`World::release`] is told, and with no head before; the client is asked on the streams that
    /// listen.
    AskApart,
    /// With a stream: a request for roots, and the result at once. There is no stream that listens.
    AskInPassing,
    /// Well; there are resources, too, and each subscription is granted once [`World::release`] is told.
    Subscribe,
    /// Never.
    Hang,
    /// The first time the connection breaks after the tool has run, then well.
    BreakOnce,
    /// With this HTTP status.
    Status(u16),
    /// With 401, as everything else.
    Locked,
    /// Well; without a session a ping is refused with 403.
    Guarded,
}

/// What outlives a restart of the server.
#[derive(Debug)]
pub(super) struct World {
    /// Speaks the session era.
    pub(super) session: bool,
    /// Speaks the stateless era.
    pub(super) stateless: bool,
    pub(super) mode: Mutex<Mode>,
    /// The one session id that is known.
    pub(super) session_id: Mutex<String>,
    pub(super) tools: Mutex<Vec<String>>,
    /// How long the list may be kept, in milliseconds.
    pub(super) ttl_ms: AtomicUsize,
    /// Tools that ran.
    pub(super) executed: AtomicUsize,
    /// Method of every message, in order of arrival; `DELETE` for the end of a session.
    pub(super) seen: Mutex<Vec<String>>,
    pub(super) release: Notify,
    /// Counts changes of the list; streams that listen tell of each.
    pub(super) changed: watch::Sender<u64>,
    /// Messages for the streams that listen.
    aside: broadcast::Sender<&'static str>,
}

impl World {
    pub(super) fn new(session: bool, stateless: bool) -> Arc<Self> {
        Arc::new(Self {
            session,
            stateless,
            mode: Mutex::new(Mode::Well),
            session_id: Mutex::new("s-1".to_owned()),
            tools: Mutex::new(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]),
            ttl_ms: AtomicUsize::new(0),
            executed: AtomicUsize::new(0),
            seen: Mutex::default(),
            release: Notify::new(),
            changed: watch::Sender::new(0),
            aside: broadcast::Sender::new(16),
        })
    }

    pub(super) fn executed(&self) -> usize {
        self.executed.load(Ordering::SeqCst)
    }

    pub(super) fn count(&self, method: &str) -> usize {
        self.seen
            .lock()
            .iter()
            .filter(|seen| *seen == method)
            .count()
    }

    /// Says `text` on the streams that listen.
    pub(super) fn say(&self, text: &'static str) {
        self.aside.send(text).unwrap();
    }

    /// Replaces the tools and tells whoever listens.
    pub(super) fn offer(&self, tools: &[&str]) {
        *self.tools.lock() = tools.iter().map(|&tool| tool.to_owned()).collect();
        self.changed.send_modify(|n| *n += 1);
    }
}

/// A running server. Dropping it breaks all its connections.
#[derive(Debug)]
pub(super) struct Fake {
    port: Port,
    task: AbortOnDropHandle<()>,
}

impl Fake {
    #[expect(clippy::unused_async, reason = "sockets are bound in a runtime only")]
    pub(super) async fn start(world: &Arc<World>) -> Self {
        Self::start_at(Port::reserve(), world)
    }

    /// Starts on a given port, as a server does that comes back.
    pub(super) fn start_at(port: Port, world: &Arc<World>) -> Self {
        let task = spawn_named("fake server", serve(port.listen(), Arc::clone(world)));
        Self {
            port,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Ends it and all its connections; gives back its port when both are gone.
    pub(super) async fn stop(self) -> Port {
        self.task.abort();
        let _aborted = self.task.await;
        self.port
    }

    pub(super) fn url(&self) -> http::Uri {
        url(&self.port)
    }
}

pub(super) fn url(port: &Port) -> http::Uri {
    format!("http://{}/mcp", port.address).parse().unwrap()
}

async fn serve(listener: TcpListener, world: Arc<World>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(talk(stream, Arc::clone(&world)));
    }
}

async fn talk(stream: TcpStream, world: Arc<World>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&world)));
    // A connection that breaks is part of many tests.
    let _broken = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// An error breaks the connection.
async fn answer(
    request: Request<Incoming>,
    world: Arc<World>,
) -> Result<Response<Body>, &'static str> {
    if *world.mode.lock() == Mode::Locked {
        return Ok(status(401));
    }
    let session = request.headers().get("mcp-session-id");
    if session.is_some_and(|id| id.as_bytes() != world.session_id.lock().as_bytes()) {
        return Ok(status(404));
    }
    match *request.method() {
        Method::GET if *world.mode.lock() == Mode::AskInPassing => return Ok(status(405)),
        Method::GET => return Ok(listen(&world)),
        Method::DELETE => {
            world.seen.lock().push("DELETE".to_owned());
            return Ok(status(200));
        }
        _ => {}
    }
    let has_session = session.is_some();
    let body = request.into_body().collect().await.map_err(|_| "no body")?;
    let frame = Frame::parse(body.to_bytes(), &Limits::default()).map_err(|_| "no message")?;
    let method = frame.method().into_owned();
    let kind = match frame.kind() {
        Kind::Request | Kind::Notification => method.clone(),
        Kind::Result => "an answer".to_owned(),
        Kind::Error => "a refusal".to_owned(),
    };
    world.seen.lock().push(kind);
    if method == "ping" && !has_session && *world.mode.lock() == Mode::Guarded {
        return Ok(status(403));
    }
    let stateless = frame
        .param(&["_meta", "io.modelcontextprotocol/protocolVersion"])
        .is_some();
    if stateless && !world.stateless {
        return Ok(refusal(
            400,
            "null",
            -32000,
            "Bad Request: Server not initialized",
        ));
    }
    if !stateless && !world.session {
        return Ok(refusal(400, "null", -32602, "missing _meta"));
    }
    if !stateless && !has_session && method != "initialize" {
        return Ok(refusal(400, "null", -32000, "Bad Request: no session"));
    }
    let Some(id) = frame.id().map(str::to_owned) else {
        return Ok(status(202));
    };
    if frame.kind() != Kind::Request {
        return Ok(status(202));
    }
    match method.as_str() {
        "tools/call" => call(&id, &world).await,
        "subscriptions/listen" => Ok(listen(&world)),
        "resources/subscribe" => {
            world.release.notified().await;
            Ok(json(200, &id, r#""result":{}"#))
        }
        _ => Ok(respond(&frame, &method, &id, &world)),
    }
}

fn respond(frame: &Frame, method: &str, id: &str, world: &World) -> Response<Body> {
    let mode = *world.mode.lock();
    let resources = match mode {
        Mode::Subscribe => r#","resources":{"subscribe":true}"#,
        _ => "",
    };
    let capabilities =
        format!(r#""capabilities":{{"tools":{{"listChanged":true}},"logging":{{}}{resources}}}"#);
    match method {
        "initialize" => {
            let result = format!(
                r#"{{"protocolVersion":"2025-11-25",{capabilities},"serverInfo":{{"name":"fake","version":"1"}}}}"#
            );
            let mut response = json(200, id, &format!(r#""result":{result}"#));
            let id = world.session_id.lock().parse().unwrap();
            response.headers_mut().insert("mcp-session-id", id);
            response
        }
        "server/discover" => json(
            200,
            id,
            &format!(
                r#""result":{{"resultType":"complete","supportedVersions":["2026-07-28"],{capabilities},"ttlMs":{},"cacheScope":"public"}}"#,
                world.ttl_ms.load(Ordering::SeqCst)
            ),
        ),
        "tools/list" => json(200, id, &format!(r#""result":{}"#, page(frame, world))),
        "resources/list" => json(200, id, r#""result":{"resources":[]}"#),
        "resources/templates/list" => json(200, id, r#""result":{"resourceTemplates":[]}"#),
        "ping" | "logging/setLevel" | "resources/unsubscribe" => json(200, id, r#""result":{}"#),
        _ => refusal(404, id, -32601, "no such method"),
    }
}

/// Two tools a page.
fn page(frame: &Frame, world: &World) -> String {
    let from: usize = frame
        .param_str(&["cursor"])
        .and_then(|cursor| cursor.parse().ok())
        .unwrap_or(0);
    let tools = world.tools.lock();
    let page: Vec<String> = tools
        .iter()
        .skip(from)
        .take(2)
        .map(|name| format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#))
        .collect();
    let next = if from + 2 < tools.len() {
        format!(r#","nextCursor":"{}""#, from + 2)
    } else {
        String::new()
    };
    let ttl = world.ttl_ms.load(Ordering::SeqCst);
    format!(
        r#"{{"resultType":"complete","ttlMs":{ttl},"cacheScope":"public","tools":[{}]{next}}}"#,
        page.join(",")
    )
}

async fn call(id: &str, world: &Arc<World>) -> Result<Response<Body>, &'static str> {
    let mode = *world.mode.lock();
    world.executed.fetch_add(1, Ordering::SeqCst);
    let result = r#""result":{"resultType":"complete","content":[]}"#;
    match mode {
        Mode::Well | Mode::Guarded | Mode::Subscribe => Ok(json(200, id, result)),
        Mode::AskApart => {
            // Fails when nobody listens; then nobody answers, and the test ends in time.
            let _unheard = world.aside.send(QUESTION);
            world.release.notified().await;
            Ok(json(200, id, result))
        }
        Mode::Stream | Mode::Ask => {
            let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
            let first = if mode == Mode::Ask {
                QUESTION
            } else {
                progress
            };
            let done = format!(r#"{{"jsonrpc":"2.0","id":{id},{result}}}"#);
            let world = Arc::clone(world);
            let rest = futures_util::stream::once(async move {
                world.release.notified().await;
                event(&done)
            });
            let events = futures_util::stream::iter([event(first)]).chain(rest);
            Ok(stream(events))
        }
        Mode::AskInPassing => {
            let done = format!(r#"{{"jsonrpc":"2.0","id":{id},{result}}}"#);
            let events = [event(ROOTS), event(&done)];
            Ok(stream(futures_util::stream::iter(events)))
        }
        Mode::Hang => std::future::pending().await,
        Mode::BreakOnce => {
            *world.mode.lock() = Mode::Well;
            Err("broken on purpose")
        }
        Mode::Status(code) => Ok(status(code)),
        Mode::Locked => Ok(status(401)),
    }
}

/// A stream that tells of changes to come.
fn listen(world: &Arc<World>) -> Response<Body> {
    let heard = (world.changed.subscribe(), world.aside.subscribe());
    world.seen.lock().push("listening".to_owned());
    let events = futures_util::stream::unfold(heard, |mut heard| async move {
        let text = tokio::select! {
            changed = heard.0.changed() => {
                changed.ok()?;
                r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#
            }
            said = heard.1.recv() => said.ok()?,
        };
        Some((event(text), heard))
    });
    stream(events)
}

fn event(text: &str) -> Result<BodyFrame<Bytes>, Infallible> {
    Ok(BodyFrame::data(Bytes::from(format!("data: {text}\n\n"))))
}

fn stream(
    events: impl futures_util::Stream<Item = Result<BodyFrame<Bytes>, Infallible>>
    + Send
    + Sync
    + 'static,
) -> Response<Body> {
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(BodyExt::boxed(StreamBody::new(events)))
        .unwrap()
}

fn json(status: u16, id: &str, members: &str) -> Response<Body> {
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},{members}}}"#);
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(text)).boxed())
        .unwrap()
}

fn refusal(status: u16, id: &str, code: i32, message: &str) -> Response<Body> {
    let error = format!(r#""error":{{"code":{code},"message":"{message}"}}"#);
    json(status, id, &error)
}

fn status(code: u16) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(Empty::new().boxed())
        .unwrap()
}
