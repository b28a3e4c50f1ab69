//! An upstream session as data.

use lockgate_proto::mcp::Revision;
use serde::{Deserialize, Serialize};

use super::replay::Replay;

/// All that another node needs to go on with an upstream session (`CONTINUITY.md` 1, "upstream bindings").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Address of the endpoint.
    pub url: String,
    /// `Mcp-Session-Id`; `None` when the server gave none.
    pub session_id: Option<String>,
    /// Agreed revision.
    pub revision: Revision,
    /// What the server keeps for the session.
    pub replay: Replay,
    /// Last event of the listening stream that was handed on.
    pub last_event_id: Option<String>,
}
