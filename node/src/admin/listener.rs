//! The admin plane's listener: accepts, bounds, serves HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::service::Service;
use crate::first_request::FirstRequest;
use crate::task::spawn_named;

/// Connections at once. Operators, probes and scrapers are few.
const CONNECTIONS_MAX: usize = 256;
/// Longest time for the head of a request, and for a connection without one.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Pause after `accept` failed, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Requests in flight at the end have this long.
const GRACE: Duration = Duration::from_secs(5);

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    ///
    /// Fails when the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        Ok(Self { tcp })
    }

    /// Address as bound.
    ///
    /// # Errors
    ///
    /// Fails when the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `stop` fires. Let it fire after the data plane has ended, so that `/readyz` says meanwhile that the
    /// node is draining.
    pub async fn serve(self, service: Service, stop: CancellationToken) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_headers(64);
        builder.http2().timer(TokioTimer::new());
        let (graceful, places) = (
            GracefulShutdown::new(),
            Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        );
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.tcp.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed on the admin plane");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::debug!("too many admin connections");
                continue;
            };
            let service = service.clone();
            let first = FirstRequest::default();
            let noted = first.clone();
            let handler = service_fn(move |request| {
                noted.arrived();
                let service = service.clone();
                async move { Ok::<_, Infallible>(service.answer(peer, request).await) }
            });
            let connection = builder.serve_connection(TokioIo::new(stream), handler);
            let connection = graceful.watch(connection.into_owned());
            // Owned by the client's connection; the watcher ends it at shutdown.
            drop(spawn_named("admin connection", async move {
                tokio::select! {
                    served = connection => {
                        if let Err(error) = served {
                            tracing::debug!(%error, "admin connection ended");
                        }
                    }
                    () = first.missing_after(HEAD_MAX) => {}
                }
                drop(place);
            }));
        }
        drop(self.tcp);
        // What takes longer is cut off with the runtime.
        let _in_time = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    }
}
