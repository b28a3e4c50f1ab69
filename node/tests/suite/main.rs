//! The gateway between other people's clients and servers, each test against real processes.
//!
//! Needs the peers of `tests/peers/setup.sh` (npm, Python, git, the network once), so it is built only with the feature
//! `peers`: `cargo test -p lockgate-node --features peers --test peers`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod conformance;
mod differential;
mod gateway;
mod interop;
mod matrix;
mod peers;
mod soak;
mod transports;
