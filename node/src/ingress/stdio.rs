//! `lockgate stdio`: one client on our own standard input and output, for desktop clients. Lines in, lines out;
//! behind it stand the same doors as behind HTTP.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use lockgate_proto::jsonrpc::{Frame, Kind, Limits};
use lockgate_proto::mcp::{Era, Revision, headers, method};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, error_message};
use crate::error::CallError;
use crate::identity::Authenticated;
use crate::task::spawn_named;
use crate::telemetry::trace::Context;
use crate::{session, stateless};

use super::service::Gateway;

/// Messages that wait for a slow reader of our standard output.
const OUT_QUEUE: usize = 256;
/// Path that the sessions of this transport are bound to.
const ROUTE: &str = "stdio";

/// One client on a pair of pipes.
struct Client {
    gateway: Arc<Gateway>,
    who: Arc<Authenticated>,
    out: mpsc::Sender<Bytes>,
    session: Mutex<Option<String>>,
    /// Streams of stateless requests, by raw id, for `notifications/cancelled`.
    running: Mutex<Vec<(String, CancellationToken)>>,
}

/// Serves `who` on the two pipes until the input ends or `stop` fires.
pub async fn serve<R, W>(
    gateway: Arc<Gateway>,
    who: Arc<Authenticated>,
    input: R,
    output: W,
    stop: CancellationToken,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (out, queue) = mpsc::channel(OUT_QUEUE);
    let writer = spawn_named("stdio writer", write(output, queue));
    let limits = gateway.sessions.message_limits();
    let client = Arc::new(Client {
        gateway,
        who,
        out,
        session: Mutex::default(),
        running: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    let mut lines = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = tokio::select! {
            () = stop.cancelled() => break,
            read = read_line(&mut lines, &mut line, limits.body_bytes_max) => read,
        };
        match read {
            Line::End => break,
            Line::Blank => {}
            Line::TooLong => {
                let error = lockgate_proto::jsonrpc::ParseError::TooLarge {
                    bytes: line.len(),
                    max: limits.body_bytes_max,
                };
                client
                    .say(error_message(None, &error.into(), Era::Session))
                    .await;
            }
            Line::Message => {
                Arc::clone(&client)
                    .take(&mut tasks, Bytes::copy_from_slice(&line), &limits)
                    .await
            }
        }
        while tasks.try_join_next().is_some() {}
    }
    // The client is gone: what it asked for is not wanted any more.
    tasks.shutdown().await;
    client.end().await;
    drop(client);
    let _written = writer.await;
}

enum Line {
    Message,
    Blank,
    TooLong,
    End,
}

async fn read_line<R: AsyncRead + Unpin>(
    lines: &mut BufReader<R>,
    line: &mut Vec<u8>,
    max: usize,
) -> Line {
    let mut too_long = false;
    loop {
        let Ok(chunk) = lines.fill_buf().await else {
            return Line::End;
        };
        if chunk.is_empty() {
            return Line::End;
        }
        let end = memchr::memchr(b'\n', chunk);
        let used = end.map_or(chunk.len(), |at| at + 1);
        too_long |= line.len() + used > max;
        if !too_long {
            line.extend_from_slice(&chunk[..used]);
        }
        lines.consume(used);
        if end.is_some() {
            break;
        }
    }
    match (too_long, line.trim_ascii().is_empty()) {
        (true, _) => Line::TooLong,
        (false, true) => Line::Blank,
        (false, false) => Line::Message,
    }
}

async fn write<W: AsyncWrite + Unpin>(mut output: W, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(message) = queue.recv().await {
        let written = async {
            output.write_all(&message).await?;
            output.write_all(b"\n").await?;
            output.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

impl Client {
    async fn take(self: Arc<Self>, tasks: &mut JoinSet<()>, line: Bytes, limits: &Limits) {
        let frame = match Frame::parse(line.clone(), limits) {
            Ok(frame) => frame,
            Err(error) => {
                // A batch of 2025-03-26 is no single message; the door of the session era reads it.
                if line.trim_ascii_start().first() == Some(&b'[') {
                    tasks.spawn(async move { self.in_session(line).await });
                    return;
                }
                return self
                    .say(error_message(None, &error.into(), Era::Session))
                    .await;
            }
        };
        if stateless::claims_stateless(None, &frame) {
            tasks.spawn(async move { self.alone(frame).await });
        } else if frame.method() == method::INITIALIZE || frame.kind() != Kind::Request {
            if frame.method() == method::CANCELLED && self.cancel(&frame) {
                return;
            }
            // In order: what follows refers to it.
            self.in_session(line).await;
        } else {
            tasks.spawn(async move { self.in_session(line).await });
        }
    }

    async fn say(&self, message: Bytes) {
        let _reader_gone = self.out.send(message).await;
    }

    async fn in_session(self: &Arc<Self>, line: Bytes) {
        let session_id = self.session.lock().clone();
        let request = session::Request {
            who: Arc::clone(&self.who),
            route: ROUTE,
            server: None,
            session_id: session_id.as_deref(),
            version: None,
            trace: None,
        };
        let response = self.gateway.sessions.post(&request, line).await;
        if let Some(id) = response.session_id {
            *self.session.lock() = Some(id);
            Arc::clone(self).listen();
        }
        self.answer(response.answer).await;
    }

    /// What servers say outside of calls goes to the same output.
    fn listen(self: Arc<Self>) {
        let session_id = self.session.lock().clone();
        let request = session::Request {
            who: Arc::clone(&self.who),
            route: ROUTE,
            server: None,
            session_id: session_id.as_deref(),
            version: None,
            trace: None,
        };
        if let Ok(answer) = self.gateway.sessions.listen(&request, None) {
            let out = self.out.clone();
            // Ends with the session, whose end closes the stream.
            drop(spawn_named("stdio listener", async move {
                pour(answer, &out).await
            }));
        }
    }

    async fn alone(&self, frame: Frame) {
        let cancel = CancellationToken::new();
        let id = frame.id().unwrap_or_default().to_owned();
        self.running.lock().push((id.clone(), cancel.clone()));
        let headers = routing_headers(&frame);
        let trace = Context::of_meta(&frame);
        let request = stateless::Request {
            who: Arc::clone(&self.who),
            server: None,
            headers: &headers,
            trace,
            cancel: Some(cancel.clone()),
        };
        let run = async {
            let answer = self.gateway.stateless.post(request, frame).await;
            self.answer(answer).await;
        };
        tokio::select! {
            () = run => {}
            () = cancel.cancelled() => {}
        }
        self.running.lock().retain(|(running, _)| *running != id);
    }

    /// Cancels a stateless request. `false` when none has that id.
    fn cancel(&self, frame: &Frame) -> bool {
        let Some(span) = frame.param(&["requestId"]) else {
            return false;
        };
        let running = self.running.lock();
        let found = running.iter().find(|(id, _)| id == span.of(frame.text()));
        found.inspect(|(_, cancel)| cancel.cancel()).is_some()
    }

    async fn answer(&self, answer: Answer) {
        pour(answer, &self.out).await;
    }

    async fn end(&self) {
        let session_id = self.session.lock().take();
        let request = session::Request {
            who: Arc::clone(&self.who),
            route: ROUTE,
            server: None,
            session_id: session_id.as_deref(),
            version: None,
            trace: None,
        };
        if session_id.is_some()
            && let Err(error) = self.gateway.sessions.end(&request).await
            && !matches!(error, CallError::UnknownSession)
        {
            tracing::debug!(%error, "session was not ended");
        }
    }
}

async fn pour(answer: Answer, out: &mpsc::Sender<Bytes>) {
    match answer {
        Answer::Accepted => {}
        Answer::Json { chunks, .. } => {
            let _reader_gone = out.send(one_line(chunks.concat())).await;
        }
        Answer::Events(mut events) => {
            while let Some(event) = events.0.next().await {
                if !event.data.is_empty() && out.send(one_line(event.data.to_vec())).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

/// Line breaks in JSON text can stand between tokens only.
fn one_line(mut text: Vec<u8>) -> Bytes {
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text.into()
}

/// The headers that the body stands for: stdio has none, and the door compares them.
fn routing_headers(frame: &Frame) -> HeaderMap {
    let mut map = HeaderMap::new();
    let mut set = |name: &'static str, text: Option<String>| {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            map.insert(HeaderName::from_static(name), value);
        }
    };
    let version = frame.param_str(&["_meta", "io.modelcontextprotocol/protocolVersion"]);
    set(
        headers::PROTOCOL_VERSION,
        Some(version.map_or_else(|| Revision::V2026_07_28.to_string(), |v| v.into_owned())),
    );
    set(headers::METHOD, Some(frame.method().into_owned()));
    let name = ["name", "uri", "taskId"]
        .into_iter()
        .find_map(|key| frame.param_str(&[key]));
    set(
        headers::NAME,
        name.map(|name| headers::encode_value(&name).into_owned()),
    );
    map
}
