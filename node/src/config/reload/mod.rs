//! Follows the file: a changed one is checked and replaces the registry part as a whole; a bad one changes nothing.
//! `core` decides, `reloader` watches and reads, `handle` is all that others see.

mod core;
mod handle;
mod reloader;

pub use self::core::{Status, Versioned};
pub use self::handle::{ReloadError, ReloadHandle};
pub use self::reloader::{CertificateCheck, Reloader};
