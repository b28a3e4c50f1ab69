//! Turns what went wrong on the way to one server into [`UpstreamError`], which names that server.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use lockgate_proto::id::ServerName;
use lockgate_proto::mcp::Era;

use crate::error::UpstreamError;

/// The server that failures are put down to.
#[derive(Clone, Debug)]
pub(super) struct Blame(ServerName);

impl Blame {
    pub(super) fn new(server: ServerName) -> Self {
        Self(server)
    }

    /// Nothing was sent.
    pub(super) fn unreachable(&self, source: io::Error) -> UpstreamError {
        UpstreamError::Unreachable {
            server: self.0.clone(),
            source,
        }
    }

    pub(super) fn timeout(&self, limit: Duration) -> UpstreamError {
        UpstreamError::Timeout {
            server: self.0.clone(),
            limit,
        }
    }

    /// The server may have acted.
    pub(super) fn broken(&self, what: impl Display) -> UpstreamError {
        UpstreamError::Broken {
            server: self.0.clone(),
            what: what.to_string(),
        }
    }

    pub(super) fn garbage(&self, what: impl Display) -> UpstreamError {
        UpstreamError::Garbage {
            server: self.0.clone(),
            what: what.to_string(),
        }
    }

    pub(super) fn status(&self, status: u16) -> UpstreamError {
        UpstreamError::Status {
            server: self.0.clone(),
            status,
        }
    }

    pub(super) fn no_era(&self, era: Era) -> UpstreamError {
        UpstreamError::NoEra {
            server: self.0.clone(),
            era,
        }
    }

    pub(super) fn session_lost(&self) -> UpstreamError {
        UpstreamError::SessionLost {
            server: self.0.clone(),
        }
    }
}
