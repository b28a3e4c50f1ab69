//! gRPC between nodes: Raft itself, and what members ask of each other beside it, over mutual TLS.
//!
//! `Network` and `Peers` call, `Listener` answers. Appends, heartbeats and votes, snapshots, and everything else have a
//! connection each (`Lane`), so that none waits behind another. Every message says who sends it, and `Guard` refuses
//! the ones that do not fit their certificate, their cluster or the membership.

mod acknowledged;
mod answered;
mod append;
mod backoff;
mod connector;
mod convert;
mod doorbell;
mod engine;
mod guard;
mod io;
mod linger;
mod links;
mod listener;
mod network;
mod peer_service;
mod peers;
mod proposals;
mod raft_service;
mod router;
mod snapshot_in;
mod snapshot_out;

#[cfg(test)]
mod tests;

pub(crate) use self::acknowledged::Acknowledged;
pub(crate) use self::convert::{members_from, members_of, membership_to_wire};
pub(crate) use self::doorbell::{Doorbell, DoorbellError};
pub(crate) use self::guard::{Guard, Members, Roster};
pub(crate) use self::links::Links;
pub(crate) use self::listener::Listener;
pub(crate) use self::network::NetworkFactory;
pub(crate) use self::peer_service::{Handler, LeaseRenewal};
pub(crate) use self::peers::Peers;

/// Largest message between nodes, in bytes. Entries are bounded far below (`proto`), requests are cut into pieces of
/// `append::PIECE_BYTES`.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Services generated from `raft.proto` and `peer.proto`.
mod services {
    #![allow(
        missing_debug_implementations,
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::pedantic,
        clippy::nursery,
        clippy::restriction,
        reason = "generated"
    )]
    tonic::include_proto!("lockgate.peer.v1");
}
