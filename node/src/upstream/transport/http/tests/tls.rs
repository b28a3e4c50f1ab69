//! https.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::AsyncWrite as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::client::{settings, single, tool_call};
use super::server::json;
use crate::error::UpstreamError;
use crate::task::spawn_named;
use crate::upstream::transport::http::HttpEndpoint;
use crate::upstream::transport::http::connector::Connector;

/// A server that answers id 1 on connections that trust it, its URL, and its certificate as PEM.
async fn serve() -> (JoinHandle<()>, String, String) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/mcp", listener.local_addr().unwrap());
    let task = spawn_named("test-server", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us breaks the handshake off.
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let service = service_fn(|_| async {
                let text = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
                Ok::<_, std::convert::Infallible>(json(200, text))
            });
            let _over = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    (task, url, cert.pem())
}

#[tokio::test]
async fn a_certificate_of_the_extra_file_is_trusted() {
    let (server, url, pem) = serve().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let endpoint = HttpEndpoint::with_roots(settings(&url), Some(file.path())).unwrap();
    for _ in 0..3 {
        single(endpoint.call(&tool_call(1)).await);
    }
    assert_eq!(endpoint.n_idle(), 1);
    server.abort();
}

/// Whether a request may be sent again depends on what has left, and TLS says nothing about that: it takes what it holds
/// back, and an error may follow a part.
#[tokio::test]
async fn what_has_left_is_counted_below_tls() {
    let (server, url, pem) = serve().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let limit = std::time::Duration::from_secs(10);
    let connector = Connector::new(&url.parse().unwrap(), limit, Some(file.path())).unwrap();
    let mut io = connector.connect().await.unwrap();
    let before = io.written();
    assert!(before > 0, "the handshake");
    // Nobody reads on: hyper has closed its side of a connection that does not speak HTTP.
    let noise = vec![b'\n'; 1 << 20];
    let mut taken = 0;
    let failed = loop {
        match poll_fn(|cx| Pin::new(&mut io).poll_write(cx, &noise)).await {
            Ok(n) => taken += n as u64,
            Err(error) => break error,
        }
    };
    assert!(taken > 0 && io.written() > before, "{failed}");
    let plain = io.written() - before;
    assert_ne!(
        plain, taken,
        "records are longer, and the last are held back"
    );
    server.abort();
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_before_anything_is_sent() {
    let (server, url, _) = serve().await;
    let endpoint = HttpEndpoint::with_roots(settings(&url), None).unwrap();
    let error = endpoint.call(&tool_call(1)).await.unwrap_err();
    assert!(error.nothing_sent(), "{error:?}");
    server.abort();
}

#[tokio::test]
async fn a_missing_or_broken_extra_file_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    for path in [Path::new("/nonexistent/ca.pem"), file.path()] {
        let error =
            HttpEndpoint::with_roots(settings("https://127.0.0.1/mcp"), Some(path)).unwrap_err();
        let UpstreamError::Unreachable { source, .. } = error else {
            panic!("{error:?}");
        };
        assert!(
            source.to_string().contains(path.to_str().unwrap()),
            "{source}"
        );
    }
}
