//! One address of a server.

use std::env;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, Limits};
use lockgate_proto::mcp::Revision;
use tokio::time::timeout;

use super::blame::Blame;
use super::call_stream::CallStream;
use super::connector::Connector;
use super::exchange::Exchange;
use super::head::Media;
use super::heard::{Content, DISCARD_BYTES_MAX, Heard};
use super::inbox::Inbox;
use super::pool::Pool;
use super::probe::{self, Verdict};
use super::request::Request;
use super::session::HttpSession;
use super::settings::EndpointSettings;
use super::stream::HttpStream;
use super::template::{PROTOCOL_VERSION, Template};
use crate::error::UpstreamError;
use crate::task::within;
use crate::upstream::link::{MessageStream, Outgoing, Reply, SessionInit};

/// File of further certificate authorities, as OpenSSL and most tools name it.
const EXTRA_ROOTS_VARIABLE: &str = "SSL_CERT_FILE";

/// One address: connection pool, TLS, credentials. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpEndpoint(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: EndpointSettings,
    blame: Blame,
    pool: Arc<Pool>,
    limits: Limits,
    plain: Template,
    stateless: Template,
}

impl HttpEndpoint {
    /// Makes no connection yet. Certificate authorities are Mozilla's and those of the file named by `SSL_CERT_FILE`.
    ///
    /// # Errors
    ///
    /// Fails when a header value or the TLS setup is invalid.
    pub fn new(settings: EndpointSettings) -> Result<Self, UpstreamError> {
        let extra_roots = env::var_os(EXTRA_ROOTS_VARIABLE).map(PathBuf::from);
        Self::with_roots(settings, extra_roots.as_deref())
    }

    /// One request of the stateless era. Dropping the future or the stream cancels it (closes the connection).
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn call(&self, out: &Outgoing) -> Result<Reply, UpstreamError> {
        let heard = self.converse(&self.0.stateless, out).await?;
        let request_id = out.frame.id().unwrap_or_default();
        match heard.body {
            Content::Message(frame) => Ok(Reply::Single {
                status: heard.status,
                frame: Heard::settle(heard.status, frame, request_id, self.blame())?,
            }),
            Content::Events(exchange) => {
                let inbox = Inbox::of_call(request_id, self.0.limits, self.blame().clone());
                let stream = CallStream::new(inbox, exchange, out.timeout, self.blame().clone());
                Ok(Reply::Stream(MessageStream::Http(Box::new(
                    HttpStream::call(stream),
                ))))
            }
            Content::Batch(_) => Err(self.blame().garbage("the stateless era knows no batches")),
            Content::Nothing => Err(Heard::missing(heard.status, heard.elsewhere, self.blame())),
        }
    }

    /// Opens a session: `initialize` and `notifications/initialized`.
    ///
    /// # Errors
    ///
    /// `NoEra` when the server refuses to; see [`UpstreamError`] for the rest.
    pub async fn open(&self, init: SessionInit) -> Result<HttpSession, UpstreamError> {
        HttpSession::open(self.clone(), init).await
    }

    /// Finds out which eras the server speaks, by `server/discover` and by a short session.
    ///
    /// # Errors
    ///
    /// `NoMcp` when somebody answers and speaks no era. Everything else is no evidence: 401, 403, 5xx, and what happens
    /// to a connection.
    pub async fn probe(&self) -> Result<Verdict, UpstreamError> {
        probe::probe(self).await
    }

    pub(super) fn with_roots(
        settings: EndpointSettings,
        extra_roots: Option<&Path>,
    ) -> Result<Self, UpstreamError> {
        let blame = Blame::new(settings.server.clone());
        let connector = Connector::new(&settings.url, settings.connect_timeout, extra_roots)
            .map_err(|error| blame.unreachable(error))?;
        let plain = Template::new(&settings.url, &settings.headers)
            .map_err(|error| blame.unreachable(error))?;
        let stateless = plain.with(
            PROTOCOL_VERSION,
            HeaderValue::from_static(Revision::V2026_07_28.as_str()),
        );
        Ok(Self(Arc::new(Shared {
            pool: Pool::new(connector, blame.clone()),
            limits: Limits {
                body_bytes_max: settings.answer_bytes_max,
                ..Limits::default()
            },
            blame,
            plain,
            stateless,
            settings,
        })))
    }

    /// Sends one message and reads the response as far as it is not a stream. `out.timeout` bounds the wait for the
    /// head and, again, that for the body.
    pub(super) async fn converse(
        &self,
        template: &Template,
        out: &Outgoing,
    ) -> Result<Heard, UpstreamError> {
        let request = || template.post(&out.headers, out.frame.bytes());
        self.hear(request, out.timeout).await
    }

    /// As [`Self::converse`], for any request.
    pub(super) async fn hear(
        &self,
        request: impl Fn() -> Request,
        limit: Duration,
    ) -> Result<Heard, UpstreamError> {
        let (head, exchange) = self.0.pool.send(request, limit).await?;
        let reading = pin!(Heard::read(head, exchange, &self.0.limits, self.blame()));
        within(limit, reading)
            .await
            .unwrap_or_else(|| Err(self.blame().timeout(limit)))
    }

    /// A message of the gateway itself, with the endpoint's own timeout.
    pub(super) fn own(&self, text: String) -> Result<Outgoing, UpstreamError> {
        let frame = Frame::parse(Bytes::from(text), &Limits::default())
            .map_err(|error| self.blame().garbage(error))?;
        Ok(Outgoing {
            frame,
            headers: Vec::new(),
            timeout: self.timeout(),
        })
    }

    pub(in crate::upstream::transport) fn blame(&self) -> &Blame {
        &self.0.blame
    }

    pub(in crate::upstream::transport) fn limits(&self) -> Limits {
        self.0.limits
    }

    pub(in crate::upstream::transport) fn timeout(&self) -> Duration {
        self.0.settings.timeout
    }

    pub(super) fn url(&self) -> String {
        self.0.settings.url.to_string()
    }

    /// Server it belongs to.
    pub fn server(&self) -> &ServerName {
        &self.0.settings.server
    }

    /// What it was made with.
    pub(in crate::upstream::transport) fn settings(&self) -> &EndpointSettings {
        &self.0.settings
    }

    /// GET of the address's event stream, without a session. `limit` bounds the wait for the head.
    pub(in crate::upstream::transport) async fn open_events(
        &self,
        limit: Duration,
    ) -> Result<Exchange, UpstreamError> {
        let heard = self.hear(|| self.0.plain.get(None), limit).await?;
        match heard.body {
            Content::Events(exchange) => Ok(exchange),
            _ if heard.is_success() => Err(self.blame().garbage("the answer is no event stream")),
            _ => Err(self.blame().status(heard.status)),
        }
    }

    /// POST that is answered elsewhere: only its status counts. `limit` bounds the wait for it and, again, that for
    /// the rest.
    pub(in crate::upstream::transport) async fn deliver(
        &self,
        template: &Template,
        body: Bytes,
        limit: Duration,
    ) -> Result<u16, UpstreamError> {
        self.tell(|| template.post(&[], &body), limit).await
    }

    /// Any request of which only the status of its answer counts, bounded in the same way: the body is no message,
    /// whatever it says.
    pub(super) async fn tell(
        &self,
        request: impl Fn() -> Request,
        limit: Duration,
    ) -> Result<u16, UpstreamError> {
        let (head, exchange) = self.0.pool.send(request, limit).await?;
        // Read for nothing else than to keep the connection, which is lost when the body is too long or too late.
        if head.media != Media::Events {
            let _rest = timeout(limit, exchange.read_all(DISCARD_BYTES_MAX)).await;
        }
        Ok(head.status.as_u16())
    }

    /// Headers of a session's first request.
    pub(in crate::upstream::transport) fn plain(&self) -> &Template {
        &self.0.plain
    }

    #[cfg(test)]
    pub(super) fn n_idle(&self) -> usize {
        self.0.pool.n_idle()
    }
}
