//! The admin plane: health, metrics and the API that operators and the command line use. Knows handles only; `app`
//! fills [`Parts`].
//!
//! ```text
//! listener ─► service ─► route (table) ─► access (who may) ─► acting (records) ─► keys | servers | tools | sessions | settings | status
//! ```

mod access;
mod acting;
mod answer;
mod audit;
mod body;
mod cluster;
mod early;
mod error;
mod health;
mod keyring;
mod keys;
mod listener;
mod parts;
mod path;
mod registers;
mod registry;
mod route;
mod servers;
mod service;
mod sessions;
mod settings;
mod shards;
mod snapshot;
mod status;
mod tools;
mod usage;

pub use self::early::Early;
pub use self::listener::Listener;
pub use self::parts::{ApplyFuture, CaHash, Parts, Readiness};
pub use self::service::Service;

#[cfg(test)]
mod tests;
