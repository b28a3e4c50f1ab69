//! Against small servers on loopback.

mod call;
mod cancel;
pub(in crate::upstream::transport) mod client;
mod listen;
mod pool;
mod probe;
mod resume;
pub(in crate::upstream::transport) mod server;
mod session;
mod tls;
mod unsent;
