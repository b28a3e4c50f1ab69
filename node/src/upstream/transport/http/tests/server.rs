//! A server whose every answer is written by the test.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::task::spawn_named;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(in crate::upstream::transport) struct Seen {
    pub(in crate::upstream::transport) method: Method,
    /// Path and query.
    pub(in crate::upstream::transport) target: String,
    pub(in crate::upstream::transport) headers: HeaderMap,
    pub(in crate::upstream::transport) body: String,
}

impl Seen {
    pub(in crate::upstream::transport) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(in crate::upstream::transport) fn is_call(&self, method: &str) -> bool {
        self.body.contains(&format!("\"method\":\"{method}\""))
    }
}

/// Body that the test feeds. An error breaks the connection.
#[derive(Debug)]
pub(in crate::upstream::transport) struct Feed {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    /// Given one poll late, so that hyper has written what came before.
    error: Option<io::Error>,
}

impl Body for Feed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match self.pieces.poll_recv(cx) {
            Poll::Ready(Some(Err(error))) => {
                self.error = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(piece))) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

pub(in crate::upstream::transport) type Answer =
    Response<http_body_util::Either<http_body_util::Full<Bytes>, Feed>>;

/// JSON under a status.
pub(in crate::upstream::transport) fn json(status: u16, text: impl Into<String>) -> Answer {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(http_body_util::Either::Left(
            Bytes::from(text.into()).into(),
        ))
        .unwrap()
}

/// No body.
pub(in crate::upstream::transport) fn bare(status: u16) -> Answer {
    Response::builder()
        .status(status)
        .body(http_body_util::Either::Left(Bytes::new().into()))
        .unwrap()
}

/// An event stream and the end that feeds it. Dropping that ends the stream in order.
pub(in crate::upstream::transport) fn sse() -> (Answer, mpsc::Sender<io::Result<Bytes>>) {
    let (feed, body) = mpsc::channel(64);
    let answer = Response::builder()
        .header("content-type", "text/event-stream")
        .body(http_body_util::Either::Right(Feed {
            pieces: body,
            error: None,
        }))
        .unwrap();
    (answer, feed)
}

/// An event stream with all its pieces; it ends in order, or breaks when the last piece says so.
pub(in crate::upstream::transport) fn sse_of(pieces: &[Piece]) -> Answer {
    let (answer, feed) = sse();
    for piece in pieces {
        feed.try_send(match piece {
            Piece::Text(text) => Ok(Bytes::from_static(text.as_bytes())),
            Piece::Break => Err(io::Error::other("broken on purpose")),
        })
        .unwrap();
    }
    answer
}

/// What [`sse_of`] sends.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream::transport) enum Piece {
    Text(&'static str),
    /// The connection breaks.
    Break,
}

/// Result of the request in `seen`.
pub(in crate::upstream::transport) fn result_for(seen: &Seen, result: &str) -> String {
    let id = lockgate_proto::jsonrpc::find(&seen.body, "id")
        .map(|span| span.of(&seen.body))
        .unwrap();
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A running server.
#[derive(Debug)]
pub(in crate::upstream::transport) struct Server {
    pub(in crate::upstream::transport) address: SocketAddr,
    pub(in crate::upstream::transport) log: Arc<Mutex<Vec<Seen>>>,
    n_connections: Arc<AtomicUsize>,
    open: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Server {
    pub(in crate::upstream::transport) async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Seen) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), handler)
    }

    pub(in crate::upstream::transport) fn start_on<H, F>(listener: TcpListener, handler: H) -> Self
    where
        H: Fn(Seen) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let n_connections = Arc::new(AtomicUsize::new(0));
        let (open_sender, open) = watch::channel(0);
        let accepting = accept(
            listener,
            handler,
            Arc::clone(&log),
            Arc::clone(&n_connections),
            open_sender,
        );
        Self {
            address,
            log,
            n_connections,
            open,
            task: spawn_named("test-server", accepting),
        }
    }

    pub(in crate::upstream::transport) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Connections accepted so far.
    pub(in crate::upstream::transport) fn n_connections(&self) -> usize {
        self.n_connections.load(Ordering::SeqCst)
    }

    /// Requests whose body holds `text`.
    pub(in crate::upstream::transport) fn count(&self, text: &str) -> usize {
        let log = self.log.lock();
        log.iter().filter(|seen| seen.body.contains(text)).count()
    }

    /// Waits until `n` connections are open.
    pub(in crate::upstream::transport) async fn open_connections(&mut self, n: usize) {
        self.open.wait_for(|open| *open == n).await.unwrap();
    }

    /// Closes the listener and every connection.
    pub(in crate::upstream::transport) async fn stop(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

async fn accept<H, F>(
    listener: TcpListener,
    handler: H,
    log: Arc<Mutex<Vec<Seen>>>,
    n_connections: Arc<AtomicUsize>,
    open: watch::Sender<usize>,
) where
    H: Fn(Seen) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let open = Arc::new(open);
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        n_connections.fetch_add(1, Ordering::SeqCst);
        open.send_modify(|open| *open += 1);
        let (handler, log, open) = (handler.clone(), Arc::clone(&log), Arc::clone(&open));
        connections.spawn(async move {
            let service = service_fn(move |request: http::Request<Incoming>| {
                let (handler, log) = (handler.clone(), Arc::clone(&log));
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let seen = Seen {
                        method: head.method,
                        target: head.uri.to_string(),
                        headers: head.headers,
                        body: String::from_utf8(body.to_vec()).unwrap(),
                    };
                    log.lock().push(seen.clone());
                    Ok::<_, Infallible>(handler(seen).await)
                }
            });
            // An error is the client's leaving or the test's own doing.
            let _over = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
            open.send_modify(|open| *open -= 1);
        });
    }
}
