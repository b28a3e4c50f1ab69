//! What nodes say to each other and replicate, in protobuf: generated from `proto/lockgate/peer/v1/*.proto`.
//!
//! Evolution is additive: a field or a variant is added under a new number, never changed or reused. `compat` says
//! which version of the program reads what.

pub mod compat;
mod secret;

/// Version 1 of the messages.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the comments stand in the .proto files"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/lockgate.peer.v1.rs"));
}
