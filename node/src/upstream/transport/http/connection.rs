//! One HTTP/1.1 connection, driven by whoever uses it.
//!
//! The task that waits for an answer writes the request and reads the response itself: a call costs no wake-up across
//! threads, no channel and no scheduling beyond the caller's, and dropping the call closes the socket. A connection
//! that lies idle is polled by nobody; [`Connection::is_alive`] looks at it when it is taken out again.

use std::error::Error;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::{Body, Piece};
use super::head::{Head, Parsed, parse};
use super::io::Io;
use super::request::Request;

/// What is read at once when nobody knows how much there is: an answer with its head, as most are.
const READ_BYTES: usize = 8 << 10;
/// As much is read at once when the last answer was that large.
const READ_BYTES_MAX: usize = 256 << 10;

/// Less room than this is not read into, so that events of a stream share buffers but no read is small.
const ROOM_MIN: usize = 1 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    io: Io,
    /// What was read and not handed on.
    read: BytesMut,
    /// Length of the last answer with its head. The next is likely to be as long, and then comes with one read.
    last_len: usize,
    /// The body of the response that is being read.
    body: Body,
    /// What is left of a request that is being answered already.
    unwritten: Option<Request>,
    /// Whether another request may follow.
    is_last: bool,
    /// Kept from call to call: to move a deadline into the future costs nothing, to set one anew a lock or two.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A request that got no response head.
#[derive(Debug)]
pub(super) struct SendFailed {
    pub(super) cause: Cause,
    /// Whether it is certain that no byte of the request went out.
    pub(super) unsent: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the connection was closed before the answer")]
    Closed,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("no answer in time")]
    Late,
}

impl Cause {
    /// Its message and those of its causes.
    pub(super) fn describe(&self) -> String {
        match self.source() {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

impl Connection {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io,
            read: BytesMut::new(),
            last_len: 0,
            body: Body::ended(),
            unwritten: None,
            is_last: false,
            timer: None,
        }
    }

    /// Sends a request and waits until `deadline` for the response head.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a connection whose `send` was dropped must be dropped too.
    pub(super) async fn send(
        &mut self,
        mut request: Request,
        deadline: Instant,
    ) -> Result<Head, SendFailed> {
        // Until the answer is there.
        self.is_last = true;
        let written = self.io.written();
        let mut is_waiting = false;
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = self.poll_answer(&mut request, written, cx) {
                return Poll::Ready(outcome);
            }
            if !std::mem::replace(&mut is_waiting, true) {
                self.set_timer(deadline);
            }
            self.poll_timer(cx).map(|()| Err(Cause::Late))
        })
        .await;
        match outcome {
            Ok((head, is_written)) => {
                // A server may begin its events before it has read everything, and waits for the rest then.
                self.unwritten = (!is_written && head.status.is_success()).then_some(request);
                Ok(head)
            }
            Err(cause) => Err(SendFailed {
                cause,
                // TLS may have taken bytes that never leave, and refused others of which a part has left. What waits for
                // the thread to park must not leave any more.
                unsent: self.io.abandon() == written,
            }),
        }
    }

    /// Writes what is left of the request and reads the head. A server may answer before it has read everything, above
    /// all when it refuses; no other request follows then. `written` is what the socket had taken before. Also tells
    /// whether everything was written.
    fn poll_answer(
        &mut self,
        request: &mut Request,
        written: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Head, bool), Cause>> {
        let written = match self.poll_write(request, cx) {
            // Whoever closes a connection may have said why before; not about a request of which nothing has left.
            Poll::Ready(Err(error)) if self.io.written() == written => {
                return Poll::Ready(Err(error.into()));
            }
            Poll::Ready(Err(error)) => {
                return match self.poll_head(cx) {
                    Poll::Ready(Ok(head)) => Poll::Ready(Ok((head, true))),
                    _ => Poll::Ready(Err(error.into())),
                };
            }
            Poll::Ready(Ok(())) => true,
            Poll::Pending => false,
        };
        let head = ready!(self.poll_head(cx))?;
        self.is_last = head.is_last || !written;
        Poll::Ready(Ok((head, written)))
    }

    fn poll_write(&mut self, request: &mut Request, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if request.remaining() == 0 {
            return Pin::new(&mut self.io).poll_flush(cx);
        }
        while request.remaining() > 0 {
            let io = Pin::new(&mut self.io);
            let n = if request.rest.is_empty() {
                ready!(io.poll_write(cx, request.first.chunk()))?
            } else {
                let parts = [
                    IoSlice::new(request.first.chunk()),
                    IoSlice::new(&request.rest),
                ];
                ready!(io.poll_write_vectored(cx, &parts))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            request.advance(n);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Cause>> {
        loop {
            if !self.read.is_empty() {
                match parse(&self.read).map_err(Cause::Malformed)? {
                    Parsed::Whole(head, body, len) => {
                        self.read.advance(len);
                        self.last_len = len;
                        self.body = body;
                        return Poll::Ready(Ok(head));
                    }
                    Parsed::Interim(len) => {
                        self.read.advance(len);
                        continue;
                    }
                    Parsed::Partial => {}
                }
            }
            // A read that does not fill its room says that nothing else is there.
            let room = (self.last_len + 1).clamp(READ_BYTES, READ_BYTES_MAX);
            if ready!(self.poll_read(room, cx))? == 0 {
                return Poll::Ready(Err(Cause::Closed));
            }
        }
    }

    /// Reads more, into `room` for more bytes where there is little left. That is made when there is something to read:
    /// the connection of a stream may be silent for hours.
    fn poll_read(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(mut request) = self.unwritten.take()
            // A failure shows in what is read, with its reason.
            && self.poll_write(&mut request, cx).is_pending()
        {
            self.unwritten = Some(request);
        }
        if self.read.capacity() - self.read.len() < room.min(ROOM_MIN) {
            ready!(self.io.poll_read_ready(cx))?;
            self.read.reserve(room);
        }
        pin!(self.io.read_buf(&mut self.read)).poll(cx)
    }

    /// How much of the response body is left, where that was announced.
    pub(super) fn left(&self) -> Option<u64> {
        self.body.left()
    }

    /// Whether the response body has been read to its end.
    pub(super) fn is_body_over(&self) -> bool {
        self.body.is_ended()
    }

    /// Reads the next piece of the response body.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cause>>> {
        loop {
            match self.body.take(&mut self.read) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(Piece::End) => return Poll::Ready(None),
                Err(what) => return Poll::Ready(Some(Err(Cause::Malformed(what)))),
                Ok(Piece::More) => {}
            }
            match ready!(self.poll_read(READ_BYTES, cx)) {
                Ok(0) => {
                    if let Err(what) = self.body.close() {
                        return Poll::Ready(Some(Err(Cause::Malformed(what))));
                    }
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// Gathers `len` bytes, which are all that is left of the body, without copying them together.
    pub(super) fn poll_whole(
        &mut self,
        len: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Cause>> {
        while self.read.len() < len {
            let missing = len - self.read.len();
            // One more, so that the last read does not fill its room.
            if ready!(self.poll_read(missing + 1, cx))? == 0 {
                let closed = self.body.close().map_err(Cause::Malformed);
                return Poll::Ready(Err(closed.err().unwrap_or(Cause::Closed)));
            }
        }
        self.body = Body::ended();
        self.last_len += len;
        Poll::Ready(Ok(self.read.split_to(len).freeze()))
    }

    /// Gives up what a resting connection does not need; tells whether another request can be sent. Bytes that nobody
    /// asked for make the next answer doubtful.
    pub(super) fn rest(&mut self) -> bool {
        let is_clean = self.read.is_empty();
        self.read = BytesMut::new();
        self.body.is_ended() && !self.is_last && is_clean
    }

    /// Whether a resting connection is still open, and has said nothing.
    pub(super) fn is_alive(&mut self) -> bool {
        self.io.is_silent()
    }

    fn set_timer(&mut self, deadline: Instant) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(deadline),
            None => self.timer = Some(Box::pin(sleep_until(deadline))),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
