//! Puts the wire together: what a node of several needs beside its engine. `prepare` gets a node into the cluster and
//! binds its port; `Net` is then the engine's way to the others, and keeps the membership up to date.

mod comparer;
mod error;
mod fetcher;
mod files;
mod handler;
mod keeper;
mod leases;
mod network;
mod options;
mod others;
mod prepare;
mod removal;
mod roster;
mod segments;
mod shard_keeper;
mod spends;

#[cfg(test)]
mod tests;

pub use self::error::NetworkError;
pub(crate) use self::fetcher::Fetcher;
pub use self::fetcher::PeerFile;
pub use self::options::{Begin, NetworkOptions};
pub(crate) use self::others::Others;
pub use self::others::Sighting;
pub(crate) use self::prepare::prepare;
pub(crate) use self::spends::Spends;
