//! Between the eras: clients of one reach servers that speak only the other (`up`: session-era client, stateless
//! server; `down`: stateless client, session-era server). The translators are pure; the shells around them move
//! messages. `tasks` says where the tasks of both meet, and where they do not.

mod clock;
mod down;
mod tasks;
pub(super) mod up;

use lockgate_proto::mcp::Era;

use super::catalog::Catalog;

pub(super) use self::down::Bridge as Down;
pub use self::down::{BridgedStream, OwnCatalog, Waiting, WaitingRoom};
pub use self::up::{UpListener, UpStream};

/// What a server that offers `from` in its own era offers to clients of `era`.
pub(super) fn catalog(era: Era, from: &Catalog) -> Catalog {
    match era {
        Era::Session => up::catalog(from),
        Era::Stateless => down::catalog(from),
    }
}
