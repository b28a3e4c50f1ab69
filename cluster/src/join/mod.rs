//! How a node becomes a member: with a token, or with a certificate that bears the name of a configured peer.
//!
//! ```text
//! new node                          any member                     leader
//!   ask ── Join{name, proof} ──► admission ── NodesCommand::Join ──► log: number = index
//!   Record ◄── Admitted ────────────┘                                keeper: learner, caught up, voter
//! ```

mod admission;
mod ask;
mod keeper;
mod record;
mod token;

pub(crate) use self::admission::{Admission, Known};
pub(crate) use self::ask::{JoinOptions, Papers, ask};
pub(crate) use self::keeper::{Seats, Step, next_step};
pub(crate) use self::record::{Record, RecordError};
pub use self::token::{JoinToken, TokenError};
