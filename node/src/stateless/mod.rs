//! The stateless era (2026-07-28): every request stands alone; nothing is remembered between two of them.

mod door;
mod listen;
mod look;
mod own;
mod rights;
mod task_id;
mod task_names;
mod validate;

pub use self::door::{Door, Request};
pub use self::validate::claims_stateless;
