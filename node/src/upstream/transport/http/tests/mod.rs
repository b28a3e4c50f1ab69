//! Against small servers on loopback.

mod call;
mod cancel;
mod client;
mod listen;
mod pool;
mod probe;
mod resume;
mod server;
mod session;
mod tls;
