//! Makes connections to one address: name resolution, TCP, TLS.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::io::Io;
use crate::coalesce::Socket;

/// A peer that vanished without a word is noticed by probes after idle + 3 x interval, also on streams that may be
/// silent for hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Makes connections to one address.
pub(super) struct Connector {
    host: Box<str>,
    port: u16,
    /// Set when the host is an address, so that nothing has to be resolved.
    address: Option<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    limit: Duration,
}

impl Connector {
    /// Prepares for `url`; `extra_roots` is a PEM file of further certificate authorities.
    pub(super) fn new(url: &Uri, limit: Duration, extra_roots: Option<&Path>) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let host = url.host().ok_or_else(|| invalid("URL has no host"))?;
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secure = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(invalid("URL is neither http nor https")),
        };
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure {
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| invalid("host of the URL is no valid TLS server name"))?;
            Some((TlsConnector::from(client_config(extra_roots)?), name))
        } else {
            None
        };
        Ok(Self {
            address: host.parse::<IpAddr>().ok().map(|ip| (ip, port).into()),
            host: host.into(),
            port,
            tls,
            limit,
        })
    }

    /// Connects; nothing of a request has been sent when this fails.
    pub(super) async fn connect(&self) -> io::Result<Io> {
        timeout(self.limit, self.establish())
            .await
            .unwrap_or_else(|_| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no connection within {:?}", self.limit),
                ))
            })
    }

    async fn establish(&self) -> io::Result<Io> {
        let stream = match self.address {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect((&*self.host, self.port)).await?,
        };
        stream.set_nodelay(true)?;
        watch_for_silence(&stream)?;
        let stream = Socket::new(stream);
        match &self.tls {
            None => Ok(Io::plain(stream)),
            Some((tls, name)) => Ok(Io::tls(tls.connect(name.clone(), stream).await?)),
        }
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

fn watch_for_silence(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

fn client_config(extra_roots: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = extra_roots {
        add_roots(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> io::Result<()> {
    let explain = |what: String| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("certificate file `{}`: {what}", path.display()),
        )
    };
    let pem = fs::read(path).map_err(|error| explain(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| explain(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| explain(error.to_string()))?;
    }
    Ok(())
}
