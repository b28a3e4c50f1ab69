//! Children: one process, numbered lines in both directions, many callers.
//!
//! ```text
//! Children ── Slot ── child ── Channel                who gets which process
//!                       └── Supervisor ── port        pipes, log, end of the process group
//! ```

mod child;
mod children;
mod confine;
mod port;
mod probe;
mod process;
mod scope;
mod settings;
mod slot;
mod stderr;
mod supervise;

pub use self::children::{Children, Counts};
pub use self::probe::probe;
pub use self::scope::{ChildKey, Declared, child_key, stateless_key};
pub use self::settings::ChildSettings;

#[cfg(test)]
mod tests;
