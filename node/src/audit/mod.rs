//! Who did what. Two events a call, `received` before anything is sent and `completed` after the answer, one JSON line
//! each; two as well for what operators do, and one for what concerns security. No audit, no call: when lines can't be kept,
//! [`Audit::received`] refuses.
//!
//! The call formats its line into a shared buffer; a thread of its own writes the buffer out. Beside that, [`Ledger`]
//! brings a record of the same event into the tamper-evident log of the cluster.

mod event;
mod gather;
mod handle;
mod ledger;
mod line;
mod redact;
mod ship;
mod sink;
mod spool;
#[cfg(test)]
mod tests;
mod writer;

pub use self::event::{Completed, Decision, Deed, Received};
pub use self::handle::{Audit, FlushError};
pub use self::ledger::{Intent, Ledger, LedgerStatus};
pub use self::ship::{keep_synced, recover, ship};
