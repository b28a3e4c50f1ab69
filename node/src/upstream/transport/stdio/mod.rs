//! Children: one process, numbered frames in both directions, many callers.
//!
//! ```text
//! Children ── Slot ── Child ── Hub ─ Mux            who gets which process; ids out, ids back
//!    │                  │        ├── Queue          messages of one call or one listener, bounded
//!    │                  │        └── Outbox         lines to the child, bounded
//!    │                  └── Supervisor ── Port      pipes, log, end of the process group
//!    └── StdioSession ── Link, Listener             one session's place at a child, kept over its restarts
//! ```

mod backoff;
mod child;
mod children;
mod confine;
mod handshake;
mod hub;
mod link;
mod listener;
mod mux;
mod outbox;
mod port;
mod probe;
mod process;
mod queue;
mod scope;
mod session;
mod settings;
mod slot;
mod stderr;
mod stream;
mod supervise;

pub use self::child::Child;
pub use self::children::{Children, Counts};
pub use self::hub::Losses;
pub use self::scope::{ChildKey, Declared, child_key, stateless_key};
pub use self::session::StdioSession;
pub use self::settings::ChildSettings;
pub use self::stream::StdioStream;

#[cfg(test)]
mod tests;
