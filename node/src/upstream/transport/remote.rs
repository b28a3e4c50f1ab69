//! One HTTP address, whose transport is decreed or found out (`MCP.md` A8).

use lockgate_proto::mcp::Era;
use parking_lot::Mutex;

use crate::config::HttpTransport;
use crate::error::UpstreamError;

use super::http::{HttpEndpoint, Verdict};
use super::sse::SseEndpoint;
use crate::upstream::link::{SessionInit, UpstreamSession};

/// A transport over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Wire {
    /// Streamable HTTP.
    Streamable,
    /// HTTP+SSE.
    Sse,
}

impl Wire {
    /// As in the configuration.
    pub(in crate::upstream) fn as_str(self) -> &'static str {
        match self {
            Self::Streamable => "http",
            Self::Sse => "sse",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Streamable => Self::Sse,
            Self::Sse => Self::Streamable,
        }
    }
}

/// One address.
#[derive(Debug)]
pub(in crate::upstream) struct Remote {
    http: HttpEndpoint,
    sse: SseEndpoint,
    choice: HttpTransport,
    /// What the last session, or the last probe, was answered over.
    found: Mutex<Option<Wire>>,
}

impl Remote {
    pub(in crate::upstream) fn new(http: HttpEndpoint, choice: HttpTransport) -> Self {
        Self {
            sse: SseEndpoint::new(http.clone()),
            http,
            choice,
            found: Mutex::new(None),
        }
    }

    /// What it speaks; `None` while not known.
    pub(in crate::upstream) fn wire(&self) -> Option<Wire> {
        match self.choice {
            HttpTransport::Auto => *self.found.lock(),
            HttpTransport::Streamable => Some(Wire::Streamable),
            HttpTransport::Sse => Some(Wire::Sse),
        }
    }

    /// The address itself, for a sign of life: any answer to a POST is one, over whatever transport.
    pub(in crate::upstream) fn address(&self) -> &HttpEndpoint {
        &self.http
    }

    /// Where requests of the stateless era go.
    ///
    /// # Errors
    ///
    /// `NoEra` when nothing but HTTP+SSE is spoken, which has no such requests.
    pub(in crate::upstream) fn stateless(&self) -> Result<&HttpEndpoint, UpstreamError> {
        if self.wire() == Some(Wire::Sse) {
            return Err(UpstreamError::NoEra {
                server: self.http.server().clone(),
                era: Era::Stateless,
            });
        }
        Ok(&self.http)
    }

    /// Opens a session over the transport that is known, and over the other where that one is refused: a server of
    /// which the era is decreed is not probed, and one that was probed may have been replaced.
    pub(in crate::upstream) async fn open(
        &self,
        init: SessionInit,
    ) -> Result<UpstreamSession, UpstreamError> {
        let known = self.wire();
        let first = known.unwrap_or(Wire::Streamable);
        let refusal = match self.open_over(first, init.clone()).await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        let is_open = self.choice == HttpTransport::Auto
            && match &refusal {
                // How a server of this transport refuses `initialize`, unless nothing says that it is one.
                UpstreamError::NoEra { .. } => known.is_none(),
                refusal => hints_at_another(refusal),
            };
        if !is_open {
            return Err(refusal);
        }
        match self.open_over(first.other(), init).await {
            Err(error) if hints_at_another(&error) => Err(refusal),
            opened => opened,
        }
    }

    async fn open_over(
        &self,
        wire: Wire,
        init: SessionInit,
    ) -> Result<UpstreamSession, UpstreamError> {
        let session = match wire {
            Wire::Streamable => self.http.open(init).await.map(UpstreamSession::Http),
            Wire::Sse => self.sse.open(init).await.map(UpstreamSession::Channel),
        };
        if session.is_ok() {
            self.remember(wire);
        }
        session
    }

    /// Finds out which eras it speaks, and over which transport, on connections and in sessions of its own.
    pub(in crate::upstream) async fn probe(&self) -> Result<Verdict, UpstreamError> {
        match self.choice {
            HttpTransport::Streamable => self.http.probe().await,
            HttpTransport::Sse => self.probe_sse().await,
            HttpTransport::Auto => self.probe_both().await,
        }
    }

    async fn probe_both(&self) -> Result<Verdict, UpstreamError> {
        let streamable = self.http.probe().await;
        let is_open = match &streamable {
            Ok(_) => false,
            // A failure is no evidence, but an `endpoint` event would be.
            Err(UpstreamError::Status { status, .. }) => matches!(status, 500 | 501),
            Err(error) => {
                matches!(
                    error,
                    UpstreamError::NoMcp { .. } | UpstreamError::Garbage { .. }
                )
            }
        };
        if !is_open {
            if streamable.is_ok() {
                self.remember(Wire::Streamable);
            }
            return streamable;
        }
        match self.probe_sse().await {
            Err(error) if hints_at_another(&error) => streamable,
            other => other,
        }
    }

    async fn probe_sse(&self) -> Result<Verdict, UpstreamError> {
        let initialized = self.sse.probe().await?;
        self.remember(Wire::Sse);
        Ok(Verdict {
            stateless: None,
            session: Some(initialized),
        })
    }

    fn remember(&self, wire: Wire) {
        let before = self.found.lock().replace(wire);
        if before != Some(wire) {
            let server = self.http.server();
            tracing::debug!(%server, transport = wire.as_str(), "transport found");
        }
    }
}

/// Whether this is how an address refuses what belongs to another transport: 400, 404 and 405 are the
/// specification's words for it, the others those of routers and of pages for people.
fn hints_at_another(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Status { status, .. } => {
            matches!(status, 300..=399 | 400 | 404..=406 | 410 | 415 | 501)
        }
        UpstreamError::Garbage { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
