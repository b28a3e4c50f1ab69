//! Stateless clients at session-era servers (`MCP.md` section C2): every caller gets sessions that the gateway owns,
//! and what a server asks in mid-call becomes a question that the client's retry answers.
//!
//! ```text
//! dispatch ── bridge ── turn, answer, discover      one message to another
//!                │        └── abilities, asked, level
//!                ├── registry ── owned ── account   sessions: whose, how many, whose turn; as data
//!                │        ├── hub                   what comes beside the calls
//!                │        │    └── inboxes ── floor  what calls are given, and whose it is, as data
//!                │        ├── listen ── listening   one listen, as data
//!                │        └── own_catalog           what a caller's capabilities change
//!                ├── tasks                          what goes on without a call
//!                └── stream ── call                  one call, as data
//!                       └── shelf ── parking ── ticket, digest   calls that wait for their clients, as data
//!                                ├── answered                   what their clients may have lost
//!                                └── room                       how many, and how much
//! ```

mod abilities;
mod account;
mod acquire;
mod answer;
mod answered;
mod asked;
mod bridge;
mod call;
mod catalog;
mod digest;
mod discover;
mod floor;
mod hold;
mod hub;
mod inbox;
mod inboxes;
mod kept;
mod key;
mod level;
mod listen;
mod listening;
mod own_catalog;
mod owned;
mod parking;
mod registry;
mod room;
mod shelf;
mod source;
mod stream;
mod sweep;
mod tasks;
mod ticket;
mod turn;

pub(in crate::upstream) use self::bridge::Bridge;
pub(super) use self::catalog::catalog;
pub(super) use self::kept::Kept;
pub use self::own_catalog::OwnCatalog;
pub(super) use self::room::{NoRoom, Seat};
pub use self::room::{Waiting, WaitingRoom};
pub use self::stream::BridgedStream;
