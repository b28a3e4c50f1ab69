//! The data plane's listener: accepts, bounds, upgrades to TLS, serves HTTP/1.1 and HTTP/2, ends gracefully.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::UPGRADE;
use http::{Method, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::coalesce::Socket;
use crate::config;
use crate::task::spawn_named;

use super::drain::Drain;
use super::event_writer;
use super::head_timer::HeadTimer;
use super::service::{Service, Visitor};
use super::takeover::{Handover, Serving, Tap, drive};
use super::tls::Acceptor;
use crate::first_request::FirstRequest;

/// Pause after `accept` failed, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A peer that acknowledges nothing of what was sent to it for so long is gone, in milliseconds. Source: four of the
/// keep-alives of event streams.
const UNACKNOWLEDGED_MAX_MS: u32 = 60_000;
/// An HTTP/2 connection is pinged this often.
const H2_PING_EVERY: Duration = Duration::from_secs(30);
/// A ping that is not answered by then ends the connection.
const H2_PING_MAX: Duration = Duration::from_secs(10);
/// Between two lines of the log about connections that found no place.
const TURNED_AWAY_EVERY: Duration = Duration::from_secs(10);
/// Streams of one HTTP/2 connection.
const H2_STREAMS_MAX: u32 = 256;

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Acceptor>,
    limits: config::Limits,
    connections: Arc<Semaphore>,
    clock: fn() -> SystemTime,
}

impl Listener {
    /// Binds `address`. `clock` dates answers.
    ///
    /// # Errors
    ///
    /// Fails when the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Acceptor>,
        limits: config::Limits,
        clock: fn() -> SystemTime,
    ) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        Ok(Self {
            tcp,
            tls,
            limits,
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            clock,
        })
    }

    /// Address as bound.
    ///
    /// # Errors
    ///
    /// Fails when the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Counts open connections, also after the listener is served.
    pub fn connections(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let (places, max) = (Arc::clone(&self.connections), self.limits.connections_max);
        move || max.saturating_sub(places.available_permits())
    }

    /// Serves until `stop` fires. The listener closes at once; requests in flight finish within `grace`.
    pub async fn serve(self, service: Service, stop: CancellationToken, grace: Duration) {
        let drain = Drain::default();
        let server = Server::new(&self.limits);
        let mut turned_away = TurnedAway::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.tcp.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, peer.ip()),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Beyond the bound a connection is closed at once: the balancer goes elsewhere.
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                service.gateway.metrics.limited("connections");
                turned_away.tell(self.limits.connections_max);
                continue;
            };
            let connection = Connection {
                server: server.clone(),
                service: service.clone(),
                peer,
                drain: drain.clone(),
                place: Place(Arc::new(permit)),
                clock: self.clock,
            };
            let tls = self.tls.clone();
            // Owned by the client's connection; the watcher ends it at shutdown.
            drop(spawn_named("connection", connection.run(stream, tls)));
        }
        drop(self.tcp);
        let all = u32::try_from(self.limits.connections_max).unwrap_or(u32::MAX);
        drain.begin();
        // All have a place, those that have become WebSockets or event streams as well.
        let ended = self.connections.acquire_many(all);
        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!(
                ?grace,
                "connections were cut at the end of the grace period"
            );
        }
    }
}

/// Connections that found no place: named in the log at once, and then at most every [`TURNED_AWAY_EVERY`].
#[derive(Debug, Default)]
struct TurnedAway {
    count: u64,
    told: Option<Instant>,
}

impl TurnedAway {
    fn tell(&mut self, connections_max: usize) {
        self.count += 1;
        if self
            .told
            .is_none_or(|told| told.elapsed() >= TURNED_AWAY_EVERY)
        {
            let count = std::mem::take(&mut self.count);
            tracing::warn!(
                count,
                connections_max,
                "connections beyond `limits.connections_max` were closed"
            );
            self.told = Some(Instant::now());
        }
    }
}

/// Settings of the HTTP server, shared by all connections.
#[derive(Clone, Debug)]
struct Server {
    builder: auto::Builder<TokioExecutor>,
    first_request_max: Duration,
}

impl Server {
    fn new(limits: &config::Limits) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // Between requests a connection may be idle for as long as clients keep theirs in a pool; a head that has
        // begun must be complete in the same time, which is what stops a slow-loris. The number of headers is bounded by
        // hyper itself, at 100: another bound costs two allocations a request.
        builder
            .http1()
            .timer(HeadTimer::new(limits.read_timeout))
            .header_read_timeout(limits.read_timeout);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS_MAX)
            .keep_alive_interval(H2_PING_EVERY)
            .keep_alive_timeout(H2_PING_MAX);
        Self {
            builder,
            first_request_max: limits.read_timeout,
        }
    }
}

struct Connection {
    server: Server,
    service: Service,
    peer: IpAddr,
    drain: Drain,
    place: Place,
    clock: fn() -> SystemTime,
}

/// One of the connections that may be open at a time; free again when the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Place(
    #[expect(dead_code, reason = "held, never read")] Arc<OwnedSemaphorePermit>,
);

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<Acceptor>) {
        let _small_answers_are_not_held_by_the_kernel = stream.set_nodelay(true);
        // Finds half-open connections by what streams say to keep alive. Without it the system's own, longer, bound holds.
        let _set = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MAX_MS);
        let stream = Socket::new(stream);
        match tls {
            None => self.serve(stream).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.serve(stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_elapsed) => tracing::debug!("TLS handshake was too slow"),
            },
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let visitor = Arc::new(Visitor::new(self.service, self.peer));
        let first = FirstRequest::default();
        let noted = first.clone();
        let place = self.place.clone();
        let (tap, handover) = (Tap::new(stream), Handover::default());
        let left = handover.clone();
        let handler = service_fn(move |mut request: Request<Incoming>| {
            noted.arrived();
            if request.headers().contains_key(UPGRADE) {
                request.extensions_mut().insert(place.clone());
            }
            let may_leave =
                request.method() == Method::GET && request.version() == Version::HTTP_11;
            // Boxed, so that a connection that waits holds no room for a request.
            let answering = Box::pin(Arc::clone(&visitor).serve(request));
            Serving::new(answering, may_leave.then(|| left.clone()))
        });
        let connection = self
            .server
            .builder
            .serve_connection_with_upgrades(TokioIo::new(tap.clone()), handler);
        let connection = self.drain.watch(connection.into_owned());
        tokio::select! {
            biased;
            served = drive(connection, &tap, &handover) => match served {
                Ok(None) => {}
                Ok(Some((stream, response))) => {
                    let now = (self.clock)();
                    follow(event_writer::write(stream, response, now), self.place);
                },
                Err(error) => tracing::debug!(%error, "connection ended"),
            },
            () = first.missing_after(self.server.first_request_max) => {
                tracing::debug!("connection asked for nothing");
            }
        }
    }
}

/// Writes an event stream in a task of its own, which is much smaller than that of the connection.
fn follow(writing: impl Future<Output = io::Result<()>> + Send + 'static, place: Place) {
    // Ends with the events or with the client; the listener waits for its place.
    drop(spawn_named("event stream", async move {
        if let Err(error) = writing.await {
            tracing::debug!(%error, "event stream ended");
        }
        drop(place);
    }));
}
