//! Circuit breaker of one endpoint.
//!
//! `core` decides, `window` counts, `actor` owns both, `cell` is what the actor publishes, and `handle` is all that
//! other modules see: a call claims its [`Permit`] from the cell, synchronously, and reports through it how it ended.

mod actor;
mod cell;
mod core;
mod handle;
mod window;

pub use self::cell::{Gate, Rejected};
pub use self::core::{Cause, Outcome};
pub use self::handle::{BreakerHandle, Permit};
