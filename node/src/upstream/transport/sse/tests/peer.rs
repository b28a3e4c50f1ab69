//! The server's side of a test.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use lockgate_proto::jsonrpc::{Frame, Kind, Limits};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::upstream::transport::http::tests::server::{
    Answer, Seen, Server, bare, json, result_for, sse,
};

const AGREED: &str = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"old","version":"1"}}"#;

type Stream = mpsc::Sender<io::Result<Bytes>>;

/// What the server does beside what it is asked.
#[derive(Debug)]
pub(in crate::upstream::transport) struct World {
    /// Streams by session, the first being 0; taken away when the test cuts one.
    streams: Mutex<Vec<Option<Stream>>>,
    /// First event of each stream, `{n}` for the session's number.
    pub(in crate::upstream::transport) first: Mutex<String>,
    /// Status of POSTs to the address of the stream; 200 answers them, as Streamable HTTP does.
    pub(in crate::upstream::transport) elsewhere: AtomicU16,
    /// Status of POSTs that carry `tools/call`.
    pub(in crate::upstream::transport) status: AtomicU16,
    /// Streams that are cut once they have begun.
    pub(in crate::upstream::transport) n_short: AtomicUsize,
    /// POSTs of the tool `late` are answered when this is told.
    pub(in crate::upstream::transport) release: Notify,
    /// Raw id of the call that asked the client something.
    asked: Mutex<String>,
}

/// A running server.
#[derive(Debug)]
pub(in crate::upstream::transport) struct Peer {
    pub(in crate::upstream::transport) server: Server,
    pub(in crate::upstream::transport) world: Arc<World>,
}

impl Peer {
    pub(in crate::upstream::transport) async fn start() -> Self {
        let world = Arc::new(World {
            streams: Mutex::default(),
            first: Mutex::new("event: endpoint\ndata: /message?sessionId={n}\n\n".to_owned()),
            elsewhere: AtomicU16::new(405),
            status: AtomicU16::new(202),
            n_short: AtomicUsize::new(0),
            release: Notify::new(),
            asked: Mutex::default(),
        });
        let shared = Arc::clone(&world);
        let server = Server::start(move |seen| {
            let world = Arc::clone(&shared);
            async move { world.answer(seen).await }
        })
        .await;
        Self { server, world }
    }

    /// Whose first event is this text.
    pub(in crate::upstream::transport) async fn beginning_with(first: &str) -> Self {
        let peer = Self::start().await;
        *peer.world.first.lock() = first.to_owned();
        peer
    }

    pub(in crate::upstream::transport) fn url(&self) -> String {
        format!("http://{}/sse", self.server.address)
    }

    /// Requests by method and target.
    pub(in crate::upstream::transport) fn n_requests(
        &self,
        method: &Method,
        target: &str,
    ) -> usize {
        let log = self.server.log.lock();
        log.iter()
            .filter(|seen| seen.method == *method && seen.target.starts_with(target))
            .count()
    }

    /// Bodies in order of arrival that hold `text`.
    pub(in crate::upstream::transport) fn said(&self, text: &str) -> Vec<String> {
        let log = self.server.log.lock();
        let bodies = log.iter().map(|seen| &seen.body);
        bodies.filter(|body| body.contains(text)).cloned().collect()
    }

    /// Waits until a body has come that holds `text`.
    pub(in crate::upstream::transport) async fn hears(&self, text: &str) -> String {
        super::soon(async {
            loop {
                if let Some(body) = self.said(text).pop() {
                    return body;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

impl World {
    /// Sends raw text on the stream of session `n`.
    pub(in crate::upstream::transport) async fn write(&self, n: usize, text: &str) {
        let stream = self.streams.lock().get(n).cloned().flatten();
        if let Some(stream) = stream {
            // The client may have left.
            let _left = stream
                .send(Ok(Bytes::copy_from_slice(text.as_bytes())))
                .await;
        }
    }

    /// Sends a message on the stream of session `n`.
    pub(in crate::upstream::transport) async fn say(&self, n: usize, message: &str) {
        self.write(n, &format!("event: message\ndata: {message}\n\n"))
            .await;
    }

    /// Ends the stream of session `n`.
    pub(in crate::upstream::transport) fn cut(&self, n: usize) {
        self.streams.lock()[n] = None;
    }

    async fn answer(&self, seen: Seen) -> Answer {
        match (&seen.method, &*seen.target) {
            (&Method::GET, "/sse") => self.begin().await,
            (&Method::POST, "/sse") => self.answer_elsewhere(&seen),
            (&Method::POST, "/silent") => bare(202),
            (&Method::POST, target) => {
                let n = target.strip_prefix("/message?sessionId=");
                match n.and_then(|n| n.parse().ok()) {
                    Some(n) => self.take(n, &seen).await,
                    None => bare(404),
                }
            }
            _ => bare(404),
        }
    }

    fn answer_elsewhere(&self, seen: &Seen) -> Answer {
        match self.elsewhere.load(Ordering::SeqCst) {
            200 if seen.is_call("initialize") => json(200, result_for(seen, AGREED)),
            200 if seen.is_call("server/discover") => {
                let error = r#""error":{"code":-32601,"message":"no"}"#;
                json(200, result_for(seen, "0").replace("\"result\":0", error))
            }
            200 => bare(202),
            status => bare(status),
        }
    }

    async fn begin(&self) -> Answer {
        if self.elsewhere.load(Ordering::SeqCst) == 200 {
            return bare(405);
        }
        let (answer, stream) = sse();
        let n = {
            let mut streams = self.streams.lock();
            streams.push(Some(stream));
            streams.len() - 1
        };
        let first = self.first.lock().replace("{n}", &n.to_string());
        self.write(n, &first).await;
        let is_short = |n: usize| n.checked_sub(1);
        let short = self
            .n_short
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_short);
        if short.is_ok() {
            self.cut(n);
        }
        answer
    }

    async fn take(&self, n: usize, seen: &Seen) -> Answer {
        let is_open = self.streams.lock().get(n).is_some_and(Option::is_some);
        if !is_open {
            return json(404, r#"{"error":"no such session"}"#);
        }
        let frame = Frame::parse(seen.body.clone().into(), &Limits::default()).unwrap();
        let status = self.status.load(Ordering::SeqCst);
        if status != 202 && frame.method() == "tools/call" {
            return bare(status);
        }
        let tool = frame.param_str(&["name"]).unwrap_or_default();
        if tool == "late" {
            self.release.notified().await;
        }
        self.act(n, &frame, &tool).await;
        // Frameworks write a word into the body.
        json(202, "Accepted")
    }

    async fn act(&self, n: usize, frame: &Frame, tool: &str) {
        let id = frame.id().unwrap_or_default();
        let result = |body: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{body}}}"#);
        match (frame.kind(), &*frame.method()) {
            (Kind::Notification, _) => {}
            (Kind::Request, "initialize") => {
                self.say(n, &result(AGREED)).await;
            }
            (Kind::Request, "tools/call") => self.run(n, frame, tool).await,
            (Kind::Request, _) => self.say(n, &result("{}")).await,
            (Kind::Result | Kind::Error, _) => {
                let asked = std::mem::take(&mut *self.asked.lock());
                let answer = frame.text();
                let text = format!(r#"{{"jsonrpc":"2.0","id":{asked},"result":{answer}}}"#);
                self.say(n, &text).await;
            }
        }
    }

    async fn run(&self, n: usize, frame: &Frame, tool: &str) {
        let id = frame.id().unwrap_or_default();
        let result = |body: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{body}}}"#);
        match tool {
            "hang" | "late" => {}
            "ask" => {
                id.clone_into(&mut self.asked.lock());
                let text = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}"#;
                self.say(n, text).await;
            }
            "progress" => {
                let token = frame.param(&["_meta", "progressToken"]).unwrap();
                let token = token.of(frame.text());
                let text = format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1.0}}}}"#
                );
                self.say(n, &text).await;
                self.say(n, &result("1")).await;
            }
            "cut" => self.cut(n),
            "huge" => {
                let text = format!("event: message\ndata: \"{}\"\n\n", "x".repeat(2 << 20));
                self.write(n, &text).await;
            }
            "garbage" => {
                self.write(
                    n,
                    ": a comment\n\nevent: message\ndata: <html>\n\nevent: other\ndata: 1\n\n",
                )
                .await;
                self.say(n, &result("2")).await;
            }
            _ => self.say(n, &result(&format!("{{\"session\":{n}}}"))).await,
        }
    }
}
