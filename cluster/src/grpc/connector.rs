//! `Connector`: dials a node, and makes sure that it is the one that was meant.

use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsConnector, TlsStream};
use tonic::Status;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;

use super::backoff::Backoff;
use super::io::{PeerIo, buffered};
use crate::Clock;
use crate::tls::Credentials;

/// How long a connection may take, handshake included.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConnectError {
    /// The last attempt failed a moment ago.
    #[error("`{address}` could not be reached a moment ago")]
    BackingOff {
        /// Host and port.
        address: Arc<str>,
    },
    /// Nobody took the connection in time.
    #[error("`{address}` did not take the connection within {CONNECT_MAX:?}")]
    TooSlow {
        /// Host and port.
        address: Arc<str>,
    },
    /// Refused, unknown, or not trusted.
    #[error("cannot connect to `{address}`: {source}")]
    Failed {
        /// Host and port.
        address: Arc<str>,
        /// Cause. In the text too, for the engine keeps nothing else.
        source: io::Error,
    },
    /// Another node answers at that address.
    #[error("`{address}` is node `{found}`, not `{expected}`")]
    OtherNode {
        /// Host and port.
        address: Arc<str>,
        /// Who answered.
        found: String,
        /// Who was meant.
        expected: Arc<str>,
    },
}

/// Which TLS settings to dial with.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// As this node, to a node that its CA signed.
    Member(Credentials),
    /// Without a certificate, to a cluster whose CA is known by its hash.
    Pinned(Arc<ClientConfig>, Clock),
}

/// Dials one address.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    trust: Trust,
    address: Arc<str>,
    /// Who has to answer. `None`: any node of the cluster.
    name: Option<Arc<str>>,
    backoff: Arc<Mutex<Backoff>>,
    dials: Dials,
}

/// Counts the connections that a [`Connector`] has made. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Dials(Arc<AtomicU64>);

impl Dials {
    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connector {
    pub(super) fn new(trust: Trust, address: &str, name: Option<&str>) -> Self {
        Self {
            trust,
            address: Arc::from(address),
            name: name.map(Arc::from),
            backoff: Arc::default(),
            dials: Dials::default(),
        }
    }

    /// Counts its connections.
    pub(super) fn dials(&self) -> Dials {
        self.dials.clone()
    }

    async fn connect(self) -> Result<PeerIo, ConnectError> {
        if !self.with_backoff(|backoff| backoff.is_over(Instant::now())) {
            return Err(ConnectError::BackingOff {
                address: self.address,
            });
        }
        let connected = match timeout(CONNECT_MAX, self.dial()).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(ConnectError::TooSlow {
                address: Arc::clone(&self.address),
            }),
        };
        if connected.is_ok() {
            self.dials.0.fetch_add(1, Ordering::Relaxed);
        }
        self.with_backoff(|backoff| match &connected {
            Ok(_connected) => backoff.on_success(),
            Err(_) => _ = backoff.on_failure(Instant::now()),
        });
        connected
    }

    async fn dial(&self) -> Result<PeerIo, ConnectError> {
        let failed = |source| ConnectError::Failed {
            address: Arc::clone(&self.address),
            source,
        };
        let (config, clock) = match &self.trust {
            Trust::Member(credentials) => (
                Arc::clone(&credentials.material().grpc_client),
                credentials.clock(),
            ),
            Trust::Pinned(config, clock) => (Arc::clone(config), *clock),
        };
        let tcp = TcpStream::connect(&*self.address).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        // Not looked at: the certificate's name is checked below, and servers have only one certificate.
        let anyone =
            ServerName::try_from("node").map_err(|error| failed(io::Error::other(error)))?;
        let tls = TlsConnector::from(config)
            .connect(anyone, buffered(tcp))
            .await
            .map_err(failed)?;
        let io = PeerIo::new(TlsStream::Client(tls), clock(), pending());
        if let Some(expected) = &self.name {
            let found = io.identity().map(|identity| identity.name());
            if found != Some(expected) {
                return Err(ConnectError::OtherNode {
                    address: Arc::clone(&self.address),
                    found: found.unwrap_or_default().to_owned(),
                    expected: Arc::clone(expected),
                });
            }
        }
        Ok(io)
    }

    fn with_backoff<T>(&self, change: impl FnOnce(&mut Backoff) -> T) -> T {
        // A panic elsewhere can't leave it half changed.
        change(&mut self.backoff.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a call failed because there was no connection to send it over.
pub(super) fn never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Service<Uri> for Connector {
    type Response = TokioIo<PeerIo>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}
