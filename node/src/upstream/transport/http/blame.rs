//! Turns what went wrong on the way to one server into [`UpstreamError`], which names that server.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use lockgate_proto::id::ServerName;
use lockgate_proto::mcp::Era;

use super::heard::Elsewhere;
use crate::error::UpstreamError;

/// The server that failures are put down to.
#[derive(Clone, Debug)]
pub(in crate::upstream::transport) struct Blame(ServerName);

impl Blame {
    pub(in crate::upstream::transport) fn new(server: ServerName) -> Self {
        Self(server)
    }

    /// Nothing was sent.
    pub(in crate::upstream::transport) fn unreachable(&self, source: io::Error) -> UpstreamError {
        UpstreamError::Unreachable {
            server: self.0.clone(),
            source,
        }
    }

    pub(in crate::upstream::transport) fn timeout(&self, limit: Duration) -> UpstreamError {
        UpstreamError::Timeout {
            server: self.0.clone(),
            limit,
        }
    }

    /// The server may have acted.
    pub(in crate::upstream::transport) fn broken(&self, what: impl Display) -> UpstreamError {
        UpstreamError::Broken {
            server: self.0.clone(),
            what: what.to_string(),
        }
    }

    pub(in crate::upstream::transport) fn garbage(&self, what: impl Display) -> UpstreamError {
        UpstreamError::Garbage {
            server: self.0.clone(),
            what: what.to_string(),
        }
    }

    pub(in crate::upstream::transport) fn status(&self, status: u16) -> UpstreamError {
        self.turned_away(status, Elsewhere::default())
    }

    /// The server asks to come back later, or to go elsewhere.
    pub(in crate::upstream::transport) fn turned_away(
        &self,
        status: u16,
        elsewhere: Elsewhere,
    ) -> UpstreamError {
        UpstreamError::Status {
            server: self.0.clone(),
            status,
            retry_after: elsewhere.retry_after,
            location: elsewhere.location,
        }
    }

    pub(in crate::upstream::transport) fn no_era(&self, era: Era) -> UpstreamError {
        UpstreamError::NoEra {
            server: self.0.clone(),
            era,
        }
    }

    /// Of whoever is there, and no server of MCP.
    pub(in crate::upstream::transport) fn no_mcp(&self, what: impl Display) -> UpstreamError {
        UpstreamError::NoMcp {
            server: self.0.clone(),
            what: what.to_string(),
        }
    }

    pub(in crate::upstream::transport) fn session_lost(&self, and: &'static str) -> UpstreamError {
        UpstreamError::SessionLost {
            server: self.0.clone(),
            and,
        }
    }
}
