//! Stateless clients at session-era servers.

mod catalog;

pub(super) use self::catalog::catalog;
