//! `lockgate.yaml`: what the file says (`raw`), what the code may rely on (`checked`).
//!
//! ```text
//! text ─► tree (lines) ─► shape (table of keys) ─► raw (types) ─► check (references, ranges, ${VAR}) ─► checked
//! ```

mod check;
mod checked;
mod document;
mod import;
mod interpolate;
mod keys;
mod ledger;
mod load;
mod problem;
mod quota;
mod raw;
mod redact;
mod reference;
mod reload;
mod schema;
mod shape;
mod show;
mod tree;
mod unit;

pub use self::checked::*;
pub use self::document::{
    check_written, document, parse_document, parse_document_in_force, rooted,
};
pub use self::import::{ImportError, Imported, import};
pub use self::ledger::{Audit, AuditMode, AuditSync, Ledger};
pub use self::load::{
    Env, Loaded, Options, load, parse, parse_server, parse_server_in_force, read_written,
};
pub use self::problem::{Problem, Problems};
pub use self::quota::{Quota, QuotaPer};
pub use self::redact::{HIDDEN, Redact, fold};
pub use self::reference::reference;
pub use self::reload::{CertificateCheck, ReloadError, ReloadHandle, Reloader, Status, Versioned};
pub use self::schema::schema;
pub(crate) use self::shape::{NAME_REMEDY, is_name};
use self::shape::{SHELLS, SHELLS_REMEDY, begins_like_a_shells};
pub use self::show::redacted;

#[cfg(test)]
mod tests;
