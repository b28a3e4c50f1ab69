//! MCP over WebSocket (RFC 6455): one JSON-RPC message in a text frame. `upgrade` decides, `socket` serves.

mod socket;
mod upgrade;

pub(super) use self::socket::serve;
pub(super) use self::upgrade::{Refused, accept};
