//! A TCP connection whose small writes leave together with those of others.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use super::outgoing::Outgoing;

/// A TCP connection whose small writes leave when the thread is about to park; see the module. A flush does not wait for
/// that: what was written leaves by itself, also when the socket is dropped.
#[derive(Debug)]
pub struct Socket {
    incoming: OwnedReadHalf,
    outgoing: Arc<Outgoing>,
}

impl Socket {
    /// Takes over `stream`, of which nothing has been written.
    pub fn new(stream: TcpStream) -> Self {
        let (incoming, outgoing) = stream.into_split();
        Self {
            incoming,
            outgoing: Outgoing::new(outgoing),
        }
    }

    /// How many bytes the kernel has taken so far. Others may have been taken from the caller, and wait.
    pub fn written(&self) -> u64 {
        self.outgoing.written()
    }

    /// Drops what waits. Returns how many bytes the kernel has taken, which is all that ever leave unless more is
    /// written.
    pub fn abandon(&self) -> u64 {
        self.outgoing.abandon()
    }

    /// The socket itself, to be read and asked.
    pub fn stream(&self) -> &TcpStream {
        self.incoming.as_ref()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.outgoing.leave();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.incoming).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outgoing.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.outgoing.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_shutdown(cx)
    }
}
