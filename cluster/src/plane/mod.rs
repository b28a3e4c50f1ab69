//! The plane: QUIC between members, on the port of the gRPC listener but over UDP, with the same certificates.
//!
//! A stream carries one conversation: its first message says who speaks and what about (`StreamOpen`), checked like any
//! message between nodes. Streams are independent, so a large file holds up nobody. Nothing is ever sent before the
//! handshake is done (0-RTT is off).

mod endpoint;
mod fetch;
mod frame;
mod links;
mod serve;
mod transport;

#[cfg(test)]
mod tests;

pub(crate) use self::endpoint::Plane;
pub use self::fetch::FetchError;
pub(crate) use self::fetch::FileName;
pub(crate) use self::serve::FileSource;
