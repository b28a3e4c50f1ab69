//! Session-era clients at stateless servers.

mod catalog;

pub(super) use self::catalog::catalog;
