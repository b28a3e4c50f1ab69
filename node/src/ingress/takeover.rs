//! Takes a connection away from the HTTP library once it has become an event stream: the library keeps 16 KiB of
//! buffers for every HTTP/1 connection, and a listening stream, of which there are thousands, needs none of them.
//!
//! The service leaves the response in [`Handover`] and never answers; the driver of the connection, once everything
//! written before has left, takes the stream out of its [`Tap`] and drops the rest.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use http::Response;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::Body;

/// Where the service of one connection leaves the response that the connection shall become.
#[derive(Clone, Debug, Default)]
pub(super) struct Handover(Arc<Left>);

#[derive(Debug, Default)]
struct Left {
    /// Whether there is a response: looked at whenever the connection has been polled, by the task that sets it.
    is_there: AtomicBool,
    response: Mutex<Option<Box<Response<Body>>>>,
}

impl Handover {
    /// Takes an answer that is a stream of events; any other is returned.
    fn keep(&self, response: Response<Body>) -> Option<Response<Body>> {
        if !matches!(response.body(), Body::Events(_)) {
            return Some(response);
        }
        *self.0.response.lock() = Some(Box::new(response));
        self.0.is_there.store(true, Ordering::Release);
        None
    }

    fn is_left(&self) -> bool {
        self.0.is_there.load(Ordering::Acquire)
    }

    fn take(&self) -> Option<Box<Response<Body>>> {
        self.0.response.lock().take()
    }
}

/// Answers one request, unless the answer is left for a takeover: then this never ends, and is dropped with the
/// connection.
pub(super) struct Serving {
    answering: Option<Answering>,
    left: Option<Handover>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Serving {
    /// Waits for `answering`; a stream of events is left at `left`, if there is such a place.
    pub(super) fn new(answering: Answering, left: Option<Handover>) -> Self {
        Self {
            answering: Some(answering),
            left,
        }
    }
}

impl Future for Serving {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answering) = &mut self.answering else {
            return Poll::Pending;
        };
        let Ok(response) = ready!(answering.as_mut().poll(context));
        self.answering = None;
        match &self.left {
            None => Poll::Ready(Ok(response)),
            Some(left) => left
                .keep(response)
                .map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
        }
    }
}

/// A stream that its driver can take back from whoever reads and writes it.
#[derive(Debug)]
pub(super) struct Tap<S>(Arc<Mutex<Tapped<S>>>);

#[derive(Debug)]
struct Tapped<S> {
    stream: Option<S>,
    /// The last write or flush had to wait: there is something that has not left yet.
    blocked: bool,
}

impl<S> Clone for Tap<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Tap<S> {
    /// Taps `stream`.
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Tapped {
            stream: Some(stream),
            blocked: false,
        })))
    }

    /// The stream and the response that it shall carry, once one was left and all before it has been written.
    pub(super) fn taken(&self, handover: &Handover) -> Option<(S, Box<Response<Body>>)> {
        if !handover.is_left() {
            return None;
        }
        let mut tapped = self.0.lock();
        if tapped.blocked {
            return None;
        }
        Some((tapped.stream.take()?, handover.take()?))
    }
}

impl<S: Unpin> Tap<S> {
    /// Runs `deed` on the stream; one that was taken away has ended.
    fn with<T>(
        &self,
        ended: T,
        deed: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.0.lock().stream {
            Some(stream) => deed(Pin::new(stream)),
            None => Poll::Ready(Ok(ended)),
        }
    }

    fn noting<T>(
        &self,
        ended: T,
        deed: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let tapped = &mut *self.0.lock();
        let Some(stream) = &mut tapped.stream else {
            return Poll::Ready(Ok(ended));
        };
        let done = deed(Pin::new(stream));
        tapped.blocked = done.is_pending();
        done
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with((), |stream| stream.poll_read(context, buffer))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.noting(0, |stream| stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.noting((), |stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with((), |stream| stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.noting(0, |stream| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        let tapped = self.0.lock();
        tapped
            .stream
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }
}

/// Drives `connection` until it ends, or until its stream is to be taken over.
pub(super) async fn drive<S, C, E>(
    connection: C,
    tap: &Tap<S>,
    handover: &Handover,
) -> Result<Option<(S, Box<Response<Body>>)>, E>
where
    C: Future<Output = Result<(), E>>,
{
    let mut connection = std::pin::pin!(connection);
    std::future::poll_fn(move |context| {
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            return Poll::Ready(ended.map(|()| None));
        }
        tap.taken(handover)
            .map_or(Poll::Pending, |taken| Poll::Ready(Ok(Some(taken))))
    })
    .await
}
