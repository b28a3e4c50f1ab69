//! The wire between nodes, over real connections on loopback, with an engine and a handler that only write down what
//! they were asked.

mod append;
mod connection;
mod older;
mod peers;
mod proposals;
mod refusal;
mod snapshot;
mod world;
