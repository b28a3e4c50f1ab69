//! Byte stream of one connection, plain or TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::coalesce::Socket;

/// A connected stream. What has not left when it is dropped never leaves: nobody waits for the answer.
#[derive(Debug)]
pub(super) struct Io(Stream);

#[derive(Debug)]
enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Io {
    pub(super) fn plain(stream: Socket) -> Self {
        Self(Stream::Plain(stream))
    }

    pub(super) fn tls(stream: TlsStream<Socket>) -> Self {
        Self(Stream::Tls(Box::new(stream)))
    }

    /// Bytes that the kernel has taken so far. What lies between may hold back what it was given, and may have passed on
    /// a part of what it refused.
    pub(super) fn written(&self) -> u64 {
        self.socket().written()
    }

    /// Drops what has not left; returns the bytes that have. Nothing else can be sent then.
    pub(super) fn abandon(&self) -> u64 {
        self.socket().abandon()
    }

    fn socket(&self) -> &Socket {
        match &self.0 {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether the peer has neither said anything nor closed, as far as the reactor has seen. Nobody is woken by what
    /// comes later.
    pub(super) fn is_silent(&mut self) -> bool {
        let would_block = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        match &mut self.0 {
            Stream::Plain(stream) => stream.stream().try_read(&mut [0]).is_err_and(would_block),
            Stream::Tls(stream) => {
                let mut context = Context::from_waker(Waker::noop());
                let mut room = [0];
                let read = Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut room));
                read.is_pending()
            }
        }
    }

    /// Whether a read may find something. TLS cannot tell, and says yes.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Stream::Plain(stream) => stream.stream().poll_read_ready(cx),
            Stream::Tls(_) => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
