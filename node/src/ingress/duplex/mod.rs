//! What all transports with a channel in both directions share (stdio, WebSocket, HTTP+SSE): a message comes in, goes to
//! the door of its era, and everything for the client leaves through one ordered, bounded queue.

mod end;
mod life;
mod line;
mod outbox;
#[cfg(test)]
pub(super) mod tests;

pub(super) use self::end::{End, Violation};
pub(super) use self::line::{Line, Peer};
pub(super) use self::outbox::Outbox;
