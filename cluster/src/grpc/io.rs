//! `PeerIo`: a TLS connection between nodes that ends when this node closes, and no later than the certificate at its
//! other end.

use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rustls::CommonState;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

use crate::tls::{Identity, identity_of, time_left};

/// What is read of a connection at once: TLS itself asks for 4 KiB at a time, and an append of a round is larger.
const READ_BYTES: usize = 32 << 10;

/// The bytes below TLS.
pub(super) fn buffered(tcp: TcpStream) -> BufReader<TcpStream> {
    BufReader::with_capacity(READ_BYTES, tcp)
}

/// A connection and who is at its other end.
pub(super) struct PeerIo {
    stream: TlsStream<BufReader<TcpStream>>,
    peer: Peer,
    /// Why the connection has to end, as soon as it has to.
    end: Pin<Box<dyn Future<Output = io::Error> + Send>>,
}

/// Who is at the other end. In the extensions of every request of the connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// `None` for a client without a certificate.
    pub(super) identity: Option<Identity>,
}

impl PeerIo {
    /// Takes over a connection whose handshake is done. It ends when `closing` is ready.
    pub(super) fn new(
        stream: TlsStream<BufReader<TcpStream>>,
        now: SystemTime,
        closing: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (_tcp, state) = stream.get_ref();
        let identity = identity_of(state.peer_certificates());
        let life = certificate_life(state, now);
        let end = async move {
            tokio::select! {
                () = sleep(life) => io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "the certificate at the other end has expired",
                ),
                () = closing => io::ErrorKind::ConnectionAborted.into(),
            }
        };
        Self {
            peer: Peer { identity },
            end: Box::pin(end),
            stream,
        }
    }

    /// Who is at the other end.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.peer.identity.as_ref()
    }
}

/// How long the certificate at the other end is still good. A client without one has as long as a join may take.
fn certificate_life(state: &CommonState, now: SystemTime) -> Duration {
    const JOIN_MAX: Duration = Duration::from_secs(60);

    match state.peer_certificates().and_then(<[_]>::first) {
        // One that can't be read was refused in the handshake.
        Some(leaf) => time_left(leaf, now).unwrap_or_default(),
        None => JOIN_MAX,
    }
}

impl AsyncRead for PeerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.end.as_mut().poll(cx) {
            // A future must not be polled after its end.
            self.end = Box::pin(pending());
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for PeerIo {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}
