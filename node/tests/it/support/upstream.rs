//! A small MCP server of both eras over HTTP that counts what it executes, and misbehaves on demand.

mod answers;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lockgate_node::task::spawn_named;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use self::answers::Body;
use self::world::World;

use super::eventually;
use super::port::Port;

pub(crate) use self::world::{Mode, Push};

/// A server on a port of the kernel's choice.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    port: Port,
    world: Arc<World>,
    task: JoinHandle<()>,
}

impl Upstream {
    #[expect(clippy::unused_async, reason = "sockets are bound in a runtime only")]
    pub(crate) async fn start() -> Self {
        let (port, world) = (Port::reserve(), Arc::<World>::default());
        Self {
            address: port.address,
            task: spawn_named("upstream", accept(port.listen(), Arc::clone(&world))),
            port,
            world,
        }
    }

    /// An entry for `servers`.
    pub(crate) fn entry(&self, name: &str, more: &str) -> String {
        format!(
            "  {name}: {{ url: \"http://{}/mcp\"{more} }}\n",
            self.address
        )
    }

    /// A whole configuration with this server alone, open to everybody.
    pub(crate) fn config(&self, more: &str) -> String {
        format!(
            "identity: {{ anonymous: [all] }}\nroles: {{ all: {{ allow: [\"*\"] }} }}\nservers:\n{}",
            self.entry("up", more)
        )
    }

    /// Ends it with all its connections, as a killed process does; what it counted stays.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        let _aborted = (&mut self.task).await;
    }

    /// Starts it again on the same port. A new process knows no session of the old one.
    pub(crate) fn restart(&mut self) {
        self.forget();
        let accepting = accept(self.port.listen(), Arc::clone(&self.world));
        self.task = spawn_named("upstream", accepting);
    }

    /// Forgets all sessions.
    pub(crate) fn forget(&self) {
        self.world.sessions.lock().clear();
        self.world.listeners.lock().clear();
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.world.mode.lock() = mode;
    }

    /// Offers no GET streams.
    pub(crate) fn mute(&self) {
        self.world.is_mute.store(true, Ordering::Relaxed);
    }

    /// Holds back the answers that tell of new sessions, or lets them go.
    pub(crate) fn hold_openings(&self, holds: bool) {
        self.world.holds_openings.send_replace(holds);
    }

    /// How often the call with this key was executed.
    pub(crate) fn executions(&self, key: &str) -> usize {
        self.world.executed.lock().get(key).copied().unwrap_or(0)
    }

    /// How many messages of this method have come in. Answers have no method.
    pub(crate) fn received(&self, method: &str) -> usize {
        self.world.received.lock().get(method).copied().unwrap_or(0)
    }

    /// Sessions that were opened since the start.
    pub(crate) fn sessions_opened(&self) -> usize {
        self.world.sessions_opened()
    }

    pub(crate) fn is_open(&self, session: &str) -> bool {
        self.world.knows(session)
    }

    pub(crate) fn sessions_open(&self) -> usize {
        self.world.sessions.lock().len()
    }

    pub(crate) fn open_sessions(&self) -> Vec<String> {
        self.world.sessions.lock().iter().cloned().collect()
    }

    /// Session of the last call of a tool. The newest one may be the gateway's own.
    pub(crate) fn called_session(&self) -> String {
        self.last_session("tools/call").unwrap()
    }

    /// Waits until somebody reads the GET stream of `session`.
    pub(crate) async fn listened_by(&self, session: &str) {
        eventually("the gateway listens to the server", async || {
            let listeners = self.world.listeners.lock();
            listeners
                .get(session)
                .is_some_and(|listener| !listener.is_closed())
        })
        .await;
    }

    /// Waits until nobody reads the stream called `name` any more.
    pub(crate) async fn unheard(&self, name: &str) {
        let listener = self.world.listeners.lock()[name].clone();
        super::within("the end of a stream", listener.closed()).await;
    }

    /// Says `message` on the GET stream of `session`.
    pub(crate) async fn say(&self, session: &str, message: &Value) {
        let listener = self.world.listeners.lock()[session].clone();
        listener.send(message.to_string()).await.unwrap();
    }

    /// Says `message` on every GET stream.
    pub(crate) async fn say_to_all(&self, message: &Value) {
        let listeners: Vec<_> = self.world.listeners.lock().values().cloned().collect();
        for listener in listeners {
            let _reader_gone = listener.send(message.to_string()).await;
        }
    }

    /// The next call of the tool `script` is answered by what the test sends here.
    pub(crate) fn script(&self) -> mpsc::Sender<Push> {
        let (sender, receiver) = mpsc::channel(64);
        self.world.scripts.lock().push_back(receiver);
        sender
    }

    /// The next request of this method is answered by what the test sends here.
    pub(crate) fn script_of(&self, method: &str) -> mpsc::Sender<Push> {
        let (sender, receiver) = mpsc::channel(64);
        let mut streams = self.world.streams.lock();
        streams.insert(method.to_owned(), receiver);
        sender
    }

    /// Lists a tool in the sessions whose client declares `capability`, and there alone.
    pub(crate) fn offer_to(&self, capability: &str, tool: &str) {
        *self.world.special.lock() = Some((capability.into(), tool.into()));
    }

    /// Sets the raw `"result":…` or `"error":…` of the next calls of `work`.
    pub(crate) fn answer_with(&self, member: &str) {
        *self.world.answer.lock() = Some(member.into());
    }

    /// As [`Self::answer_with`], for one call; several are taken in order.
    pub(crate) fn answer_once(&self, member: &str) {
        self.world.answers_once.lock().push_back(member.into());
    }

    /// Announces these capabilities, in both eras.
    pub(crate) fn offer(&self, capabilities: Value) {
        *self.world.capabilities.lock() = Some(capabilities);
    }

    /// Sets the raw `"result":…` or `"error":…` of the next answers to this method; the last one stays.
    pub(crate) fn reply(&self, method: &str, members: &[&str]) {
        let members = members.iter().map(|member| (*member).into()).collect();
        self.world.replies.lock().insert(method.to_owned(), members);
    }

    /// Body of the last request of this method, as received.
    pub(crate) fn last_body(&self, method: &str) -> Option<Bytes> {
        self.world.bodies.lock().get(method).cloned()
    }

    /// Waits until a request of this method has come in; the last of them. Answers have no method.
    pub(crate) async fn got(&self, method: &str) -> Value {
        eventually("the server is told", async || {
            self.last_body(method).is_some()
        })
        .await;
        serde_json::from_slice(&self.last_body(method).unwrap()).unwrap()
    }

    /// Session that the last request of this method came in.
    pub(crate) fn last_session(&self, method: &str) -> Option<String> {
        let headers = self.world.headers.lock();
        let session = headers.get(method)?.get("mcp-session-id")?;
        session.to_str().ok().map(str::to_owned)
    }

    /// Headers of the last request of this method. None have come in where there was no such request.
    pub(crate) fn last_headers(&self, method: &str) -> http::HeaderMap {
        self.world
            .headers
            .lock()
            .get(method)
            .cloned()
            .unwrap_or_default()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, world: Arc<World>) {
    // Dropped with this task: every connection breaks at once.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                let world = Arc::clone(&world);
                connections.spawn(async move {
                    let service = service_fn(move |request| serve(request, Arc::clone(&world)));
                    // A connection that breaks is part of many tests.
                    let _broken = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// An error breaks the connection.
async fn serve(request: Request<Incoming>, world: Arc<World>) -> Result<Response<Body>, Broken> {
    let headers = request.headers().clone();
    let session = headers.get("mcp-session-id").cloned();
    let known = session.as_ref().map(|id| world.knows(id.to_str().unwrap()));
    if known == Some(false) {
        return Ok(answers::status(404));
    }
    let method = request.method().clone();
    let body = request
        .into_body()
        .collect()
        .await
        .map_err(|_| Broken)?
        .to_bytes();
    match method {
        Method::GET if world.is_mute.load(Ordering::Relaxed) => Ok(answers::status(405)),
        Method::GET => Ok(session.map_or_else(
            || answers::status(400),
            |id| answers::listen(&world, id.to_str().unwrap()),
        )),
        Method::DELETE => {
            if let Some(id) = session {
                world.sessions.lock().remove(id.to_str().unwrap());
            }
            Ok(answers::status(200))
        }
        _ => answers::post(&world, body, headers).await,
    }
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("broken on purpose")]
pub(super) struct Broken;
