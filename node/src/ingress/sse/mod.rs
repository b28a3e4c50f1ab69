//! HTTP+SSE of 2024-11-05: a GET whose stream carries everything for the client, and POSTs that carry everything of it.
//! The transport has no resumption: the session of a stream that is lost ends.

mod body;
mod desk;

pub use self::body::StreamBody;
pub(super) use self::desk::{Desk, Post};
