//! The session era (up to 2025-11-25): sessions, their streams and their life.
//!
//! `door` takes a client's messages, `call` runs one request, `cell` is what requests of one session share,
//! `state` its serialisable knowledge, `actor` its life, `directory` finds it, `upstreams` its far ends.

mod actor;
mod batch;
mod call;
pub mod cell;
pub mod claim;
pub mod directory;
mod door;
pub mod ended;
pub mod event_id;
mod follow;
mod handle;
pub mod id;
mod inbound;
mod lists;
mod notify;
mod own;
mod review;
mod seen;
pub mod state;
pub mod stream;
#[cfg(test)]
mod tests;
mod upstreams;

pub use self::door::{Door, Request, Response};
pub use self::handle::Summary;
pub use self::seen::Seen;
