//! Quotas of the checked configuration.

use std::time::Duration;

use lockgate_proto::id::Tenant;

/// How much callers may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Names it in answers, audit lines and the replicated state: `acme/tenant/requests/1d`. The same as long as it
    /// counts the same, so that a raised number keeps the count.
    pub id: String,
    /// Whose calls it counts. `None`: everybody's.
    pub tenant: Option<Tenant>,
    /// What it counts apart.
    pub per: QuotaPer,
    /// Whether it counts millionths of a dollar, not requests.
    pub is_cost: bool,
    /// How many in each window.
    pub amount: u64,
    /// Window.
    pub window: Duration,
    /// Makes it a token bucket with room for so many.
    pub burst: Option<u64>,
    /// What a node that is cut off may let through per second. 0: nothing.
    pub safe_rate: u64,
}

/// What a quota counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaPer {
    /// Each tenant.
    Tenant,
    /// Each principal.
    Principal,
    /// Each server.
    Server,
    /// Each tool.
    Tool,
}

impl QuotaPer {
    /// The word of the configuration, also a label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Principal => "principal",
            Self::Server => "server",
            Self::Tool => "tool",
        }
    }
}
