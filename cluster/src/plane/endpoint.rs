//! `Plane`: the UDP socket of this node, both ends of every connection over it.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, TokioRuntime, VarInt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::links::PlaneLinks;
use super::serve::{FileSource, Serving};
use super::transport;
use crate::grpc::{Guard, Links};
use crate::task::spawn_named;
use crate::tls::Credentials;

/// Why the plane can't be used on this node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PlaneError {
    /// The socket.
    #[error("cannot listen on UDP `{address}` for other nodes")]
    Socket {
        /// Where.
        address: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The certificates' algorithms.
    #[error("the certificates can't be used for QUIC")]
    Crypto(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// The plane of this node. Cheap to clone; closes when `close` is called.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    endpoint: Endpoint,
    links: PlaneLinks,
}

impl Plane {
    /// Opens the plane over a bound socket. Must be called on the runtime that shall drive it.
    pub(crate) fn open(
        socket: UdpSocket,
        credentials: Credentials,
        links: Links,
    ) -> Result<Self, PlaneError> {
        let address = socket
            .local_addr()
            .map_or_else(|_| String::new(), |it| it.to_string());
        let failed = |source| PlaneError::Socket { address, source };
        let server = transport::server(&credentials.material())?;
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            Some(server),
            socket,
            Arc::new(TokioRuntime),
        )
        .map_err(failed)?;
        let links = PlaneLinks::new(endpoint.clone(), credentials, links);
        Ok(Self { endpoint, links })
    }

    /// Where it listens.
    #[cfg(test)]
    pub(crate) fn local_address(&self) -> io::Result<std::net::SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Answers other members until the plane is closed. The caller owns the task.
    pub(crate) fn serve(
        &self,
        credentials: &Credentials,
        guard: Arc<Guard>,
        files: Arc<dyn FileSource>,
    ) -> JoinHandle<()> {
        let endpoint = self.endpoint.clone();
        let serving = Serving::new(guard, files, credentials.clock());
        let mut material = credentials.watch();
        spawn_named("plane-serve", async move {
            loop {
                tokio::select! {
                    incoming = endpoint.accept() => match incoming {
                        Some(incoming) => serving.accept(incoming),
                        None => return,
                    },
                    Ok(()) = material.changed() => follow(&endpoint, &mut material),
                }
            }
        })
    }

    /// Connections to other members.
    pub(super) fn links(&self) -> &PlaneLinks {
        &self.links
    }

    /// Ends all connections.
    pub(crate) async fn close(&self) {
        self.endpoint.close(VarInt::from_u32(0), b"node closes");
        self.endpoint.wait_idle().await;
    }
}

/// New connections use the renewed certificate; the ones that are open end with the old one.
fn follow(endpoint: &Endpoint, material: &mut watch::Receiver<Arc<crate::tls::Material>>) {
    let material = Arc::clone(&material.borrow_and_update());
    match transport::server(&material) {
        Ok(server) => endpoint.set_server_config(Some(server)),
        Err(error) => tracing::error!(%error, "renewed certificate can't be used for QUIC"),
    }
}
