//! `Listener`: takes the connections of other nodes.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tonic::transport::Server;

use super::MESSAGE_BYTES_MAX;
use super::engine::Engine;
use super::guard::Guard;
use super::io::{PeerIo, buffered};
use super::peer_service::{Handler, PeerService};
use super::raft_service::RaftService;
use super::router::Services;
use super::services::peer_server::PeerServer;
use super::services::raft_server::RaftServer;
use crate::task::spawn_named;
use crate::tls::Credentials;

/// Connections whose handshake may be under way at once.
const HANDSHAKES_MAX: usize = 64;
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Connections at once. A member has one per lane, so this is far above any cluster.
const CONNECTIONS_MAX: usize = 512;
/// Streams of one connection at once.
const STREAMS_MAX: u32 = 1024;
/// How much of a stream may be on the way.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Largest frame that is taken: an append of a round arrives as one, and wakes its reader once.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// After how long a silent connection is tried, and given up.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEP_ALIVE_PATIENCE: Duration = Duration::from_secs(2);
/// Pause after the system refused to take a connection (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket, not yet served.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
}

impl Listener {
    /// Takes over a bound socket, which must not block. Must be called on the runtime that shall drive it.
    pub(crate) fn from_std(socket: std::net::TcpListener) -> io::Result<Self> {
        let tcp = TcpListener::from_std(socket)?;
        Ok(Self { tcp })
    }

    /// Serves until `stop` says true or its sender is gone. The caller owns the task; it ends by itself then.
    pub(crate) fn serve<E: Engine, H: Handler>(
        self,
        credentials: Credentials,
        guard: Arc<Guard>,
        (engine, handler): (E, H),
        stop: watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let raft = RaftServer::new(RaftService::new(engine, Arc::clone(&guard)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let peer = PeerServer::new(PeerService::new(handler, guard))
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let (ready, connections) = mpsc::channel(HANDSHAKES_MAX);
        let accepting = spawn_named("peer-accept", accept(self.tcp, credentials, ready, stop));
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_PATIENCE));
        let services = Services::new(raft, peer);
        spawn_named("peer-serve", async move {
            // Ends with `accept`, which holds the other end of the channel.
            if let Err(error) = server
                .serve_with_incoming(services, incoming(connections))
                .await
            {
                tracing::error!(%error, "listening for other nodes has ended");
            }
            accepting.abort();
        })
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which says the same.
    let _stopped = stop.wait_for(|stop| *stop).await;
}

fn incoming(
    connections: mpsc::Receiver<PeerIo>,
) -> impl Stream<Item = Result<PeerIo, io::Error>> + Send {
    stream::unfold(connections, |mut connections| async {
        let connection = connections.recv().await?;
        Some((Ok(connection), connections))
    })
}

/// Takes connections, and hands them on when their handshake is done. A slow handshake holds up nobody else.
async fn accept(
    tcp: TcpListener,
    credentials: Credentials,
    ready: mpsc::Sender<PeerIo>,
    stop: watch::Receiver<bool>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stop_now = pin!(stopped(stop.clone()));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted,
            () = &mut stop_now => return,
        };
        match accepted {
            Ok((socket, address)) => {
                let (credentials, ready) = (credentials.clone(), ready.clone());
                let Ok(place) = Arc::clone(&connections).try_acquire_owned() else {
                    tracing::warn!(%address, "too many connections of other nodes");
                    continue;
                };
                // Not gracefully: a stream of appends has no end to wait for. The place is free when the connection,
                // and this with it, is dropped.
                let stop = stop.clone();
                let closing = async move {
                    stopped(stop).await;
                    drop(place);
                };
                // Detached: it ends with the handshake, or at its time limit.
                let _detached = spawn_named("peer-handshake", async move {
                    let _permit = permit;
                    match handshake(socket, &credentials, closing).await {
                        // A receiver that is gone stops the whole listener.
                        Ok(io) => drop(ready.send(io).await),
                        Err(error) => {
                            tracing::info!(%address, %error, "connection of another node refused");
                        }
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection of another node");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(
    socket: TcpStream,
    credentials: &Credentials,
    closing: impl Future<Output = ()> + Send + 'static,
) -> io::Result<PeerIo> {
    socket.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from(Arc::clone(&credentials.material().grpc_server));
    let stream = timeout(HANDSHAKE_MAX, acceptor.accept(buffered(socket))).await??;
    let now = credentials.clock()();
    Ok(PeerIo::new(TlsStream::Server(stream), now, closing))
}
