//! One request over one connection: what a command line needs of HTTP.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::exit::Failure;
use crate::task::spawn_named;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tools may take long.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Names a PEM file with certificate authorities that are trusted beside Mozilla's.
const EXTRA_ROOTS_VARIABLE: &str = "SSL_CERT_FILE";

/// Which of the gateway's addresses a request goes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plane {
    /// The admin API.
    Admin,
    /// The admin API, for what files of a stopped node say as well.
    AdminBesideFiles,
    /// Where clients come in.
    Data,
}

/// Whom a request goes to, for messages.
#[derive(Clone, Debug)]
struct Origin {
    /// Host and port.
    address: String,
    plane: Plane,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: http::StatusCode,
    pub body: Bytes,
}

/// Reads an address of HTTP or HTTPS. Without a scheme, as configurations write `listen`, it is one of HTTP on this
/// machine: to another, keys go in the clear only where somebody wrote so.
pub(super) fn address(text: &str) -> Result<Uri, Failure> {
    let wrong = || Failure {
        exit: super::Exit::Usage,
        message: format!("{text:?} is not an HTTP address"),
        remedy: "write for example http://127.0.0.1:7778".to_owned(),
    };
    let uri: Uri = match text.contains("://") {
        true => text.parse(),
        false => format!("http://{text}").parse(),
    }
    .map_err(|_| wrong())?;
    if !text.contains("://") && !is_here(&uri) {
        return Err(wrong());
    }
    if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong());
    }
    Ok(uri)
}

fn is_here(uri: &Uri) -> bool {
    let (host, _) = host_port(uri);
    let address: Result<std::net::IpAddr, _> = host.parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Host and port that `uri` names. IPv6 addresses come without brackets.
pub(super) fn host_port(uri: &Uri) -> (&str, u16) {
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let default = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    (host, uri.port_u16().unwrap_or(default))
}

/// An answer whose body comes piece by piece.
#[derive(Debug)]
pub(super) struct Coming {
    pub status: http::StatusCode,
    pub headers: HeaderMap,
    body: Limited<Incoming>,
    origin: Origin,
    due: Instant,
}

impl Coming {
    /// What comes next of the body. `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = match timeout_at(self.due, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(unreachable(&self.origin, &error.to_string())),
                Ok(None) => return Ok(None),
                Err(_) => return Err(late(&self.origin)),
            };
            // Trailers are no part of the body.
            if let Ok(chunk) = frame.into_data() {
                return Ok(Some(chunk));
            }
        }
    }
}

/// Sends `request`, whose URI is absolute, and reads the whole answer.
pub(super) async fn exchange(
    request: Request<Full<Bytes>>,
    plane: Plane,
) -> Result<Answer, Failure> {
    let mut coming = begin(request, plane).await?;
    let mut body = BytesMut::new();
    while let Some(chunk) = coming.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: coming.status,
        body: body.freeze(),
    })
}

/// Sends `request`, whose URI is absolute, and reads the head of the answer.
pub(super) async fn begin(
    mut request: Request<Full<Bytes>>,
    plane: Plane,
) -> Result<Coming, Failure> {
    let uri = request.uri().clone();
    let (host, port) = host_port(&uri);
    let origin = Origin {
        address: format!("{host}:{port}"),
        plane,
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await;
    let stream = match stream {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(&origin, &error.to_string())),
        Err(_) => return Err(unreachable(&origin, "no answer within 5 s")),
    };
    // One connection serves one origin, so the request line carries the path alone.
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if let Ok(path) = path.parse::<Uri>() {
        *request.uri_mut() = path;
    }
    if let Some(host) = uri
        .authority()
        .and_then(|authority| authority.as_str().parse().ok())
    {
        request.headers_mut().insert(http::header::HOST, host);
    }
    let answer = async {
        if uri.scheme_str() == Some("https") {
            send(tls(host, stream).await?, request, &origin).await
        } else {
            send(stream, request, &origin).await
        }
    };
    let due = Instant::now() + ANSWER_TIMEOUT;
    let answer = timeout_at(due, answer).await;
    let (head, body) = answer.map_err(|_| late(&origin))??.into_parts();
    Ok(Coming {
        status: head.status,
        headers: head.headers,
        body: Limited::new(body, ANSWER_BYTES_MAX),
        origin,
        due,
    })
}

fn late(origin: &Origin) -> Failure {
    unreachable(origin, "no answer within 5 min")
}

async fn tls(
    host: &str,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let refused = |error: String| {
        Failure::new(
            format!("no TLS with {host}: {error}"),
            "name the host that the certificate is for with --url, and its authority's file with SSL_CERT_FILE",
        )
    };
    let roots = roots(
        std::env::var_os(EXTRA_ROOTS_VARIABLE)
            .as_deref()
            .map(Path::new),
    )?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| refused(error.to_string()))?;
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| refused(error.to_string()))
}

fn roots(extra: Option<&Path>) -> Result<rustls::RootCertStore, Failure> {
    let mut roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let Some(path) = extra.filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(roots);
    };
    let unusable = |error: String| {
        Failure::new(
            format!("{EXTRA_ROOTS_VARIABLE} {path:?} cannot be used: {error}"),
            "name a PEM file with certificates",
        )
    };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    Ok(roots)
}

async fn send<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    origin: &Origin,
) -> Result<Response<Incoming>, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| match error.is_parse() {
        true => no_http(origin, &error),
        false => unreachable(origin, &error.to_string()),
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Ends with the connection, which ends with `sender` and the answer; its error also fails those.
    drop(spawn_named("cli-connection", connection));
    sender.send_request(request).await.map_err(broken)
}

/// Somebody answers there, and not in HTTP: most likely in TLS.
fn no_http(origin: &Origin, error: &hyper::Error) -> Failure {
    Failure::new(
        format!("{} does not answer in HTTP: {error}", origin.address),
        "write https:// where the gateway has `tls`, or name the address of another port",
    )
}

fn unreachable(origin: &Origin, cause: &str) -> Failure {
    let option = match origin.plane {
        Plane::Admin => "its address (--admin or LOCKGATE_ADMIN)",
        Plane::AdminBesideFiles => {
            "its address (--admin or LOCKGATE_ADMIN); for the files of a stopped one its data directory (--data-dir)"
        }
        Plane::Data => "the address where it serves MCP (--url)",
    };
    Failure::new(
        format!("no answer from {}: {cause}", origin.address),
        format!("start the gateway with `lockgate serve`, or name {option}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_remedy_names_the_option_of_the_address_that_is_silent() {
        let port = crate::port::Port::reserve();
        for (plane, option) in [
            (Plane::Admin, "--admin"),
            (Plane::AdminBesideFiles, "--admin"),
            (Plane::AdminBesideFiles, "--data-dir"),
            (Plane::Data, "--url"),
        ] {
            let mut request = Request::new(Full::default());
            *request.uri_mut() = address(&port.address.to_string()).unwrap();
            let failure = begin(request, plane).await.unwrap_err();
            assert!(failure.remedy.contains(option), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_no_http_is_told_from_none() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut request = Request::new(Full::default());
        *request.uri_mut() = address(&listener.local_addr().unwrap().to_string()).unwrap();
        let answering = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            // A fatal alert of TLS, as a listener of HTTPS sends it to a client that speaks HTTP.
            tokio::io::AsyncWriteExt::write_all(&mut socket, b"\x15\x03\x03\x00\x02\x02\x32")
                .await
                .unwrap();
            socket
        };
        let (answered, _socket) = tokio::join!(begin(request, Plane::Data), answering);
        let failure = answered.unwrap_err();
        assert!(
            failure.message.contains("does not answer in HTTP"),
            "{failure:?}"
        );
        assert!(failure.remedy.contains("https://"), "{failure:?}");
    }

    #[test]
    fn an_address_may_leave_out_http() {
        for (text, read) in [
            ("http://a:1", Some("http://a:1/")),
            ("https://a", Some("https://a/")),
            ("127.0.0.1:7778", Some("http://127.0.0.1:7778/")),
            ("[::1]:7778", Some("http://[::1]:7778/")),
            ("localhost:7778", Some("http://localhost:7778/")),
            ("gateway:7778", None),
            ("10.0.0.1:7778", None),
            ("ftp://a", None),
            ("/only/a/path", None),
            ("", None),
        ] {
            let found = address(text).ok().map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), read, "{text}");
        }
    }
}
