//! What an endpoint has to know.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Uri};
use lockgate_proto::id::ServerName;
use secrecy::SecretString;

/// Settings of one address.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// Server it belongs to.
    pub server: ServerName,
    /// `http` or `https`.
    pub url: Uri,
    /// That for people and logs.
    pub address: Box<str>,
    /// Injected credentials.
    pub headers: Arc<[(HeaderName, SecretString)]>,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest time without any message.
    pub timeout: Duration,
    /// Largest body or SSE event.
    pub answer_bytes_max: usize,
}
