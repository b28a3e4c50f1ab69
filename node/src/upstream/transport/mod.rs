//! Ways to reach a server.

pub mod channel;
pub mod http;
pub(super) mod remote;
pub mod sse;
pub mod stdio;
