//! HTTP+SSE of 2024-11-05 towards a server: what the client says goes by POST, what the server says comes on one event
//! stream for each session.
//!
//! ```text
//! endpoint ── home ── connection ─┬─ events      GET: messages of all calls, told apart by the channel
//!                                 ├─ posts       POSTs to the target that the stream's first event names
//!                                 └─ target      that target, of the same origin
//! ```
//!
//! Everything above messages (ids, calls, listeners, sessions that are opened again) is [`super::channel`]'s.

mod connection;
mod endpoint;
mod events;
mod home;
mod posts;
mod target;
#[cfg(test)]
pub(super) mod tests;

pub use self::endpoint::SseEndpoint;
