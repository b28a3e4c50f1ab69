//! Many callers on one ordered exchange of messages, whatever carries it: a child's pipes, or an event stream with POSTs.
//!
//! ```text
//! Session ── Link ── Channel ── Hub ─ Mux       ids out, ids back; where the server's own messages go
//!    │                           ├── Queue      messages of one call or one listener, bounded
//!    │                           └── Outbox     messages to the server, bounded
//!    ├── Listener                               what the server says by itself
//!    └── Home                                   where another channel comes from when this one has ended
//! ```

mod backoff;
#[cfg(test)]
mod far_end;
mod handle;
mod handshake;
mod home;
mod hub;
mod line;
mod link;
mod listener;
mod losses;
mod mux;
mod outbox;
mod queue;
mod session;
mod state;
mod stream;

pub(super) use self::backoff::Backoff;
#[cfg(test)]
pub(in crate::upstream) use self::far_end::FarEnd;
pub use self::handle::Channel;
pub(super) use self::handle::WeakChannel;
pub(super) use self::handshake::{
    agreement, discover, initialize, offers_stateless, own_client_info,
};
pub(super) use self::home::{Home, nothing_sent};
pub(super) use self::hub::Hub;
pub(super) use self::line::{Down, Up};
pub(super) use self::link::Link;
pub use self::losses::Losses;
pub(super) use self::mux::{Owner, Sharing};
pub(super) use self::outbox::Queued;
pub(super) use self::queue::{End, Queue};
pub use self::session::ChannelSession;
pub use self::stream::ChannelStream;
