//! What is read at the time of a scrape instead of being counted.

use std::time::SystemTime;

/// State of the node at one moment. Whoever answers a scrape fills it from the handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauges {
    /// When this process started.
    pub started: SystemTime,
    /// Sessions with a live actor.
    pub sessions_active: usize,
    /// Sessions that sleep.
    pub sessions_passive: usize,
    /// Calls that wait for their clients.
    pub waiting_calls: usize,
    /// Bytes that those keep.
    pub waiting_bytes: usize,
    /// Calls so far that found no room to wait.
    pub waiting_refused: u64,
    /// Every configured server.
    pub servers: Vec<ServerGauge>,
}

/// State of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerGauge {
    /// Name.
    pub name: String,
    /// Whether it answered when last asked.
    pub up: bool,
    /// Items that clients don't see, because another server has the name.
    pub hidden: usize,
    /// Its addresses.
    pub endpoints: Vec<EndpointGauge>,
}

/// State of one address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointGauge {
    /// Address without credentials, or the command.
    pub address: String,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
}

impl EndpointGauge {
    /// 0 closed, 1 open, 2 half open.
    pub(super) fn breaker_value(&self) -> u8 {
        match self.breaker {
            "closed" => 0,
            "half_open" => 2,
            _ => 1,
        }
    }
}
