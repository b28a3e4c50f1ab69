//! The far side: one actor per configured server, its links, its health and its catalog.
//!
//! ```text
//! set ── handle ── dispatch / bound        the way of a call: permit, endpoint, attempt, retry
//!           │          │
//!           │          ├── balance, retry   pure decisions
//!           │          ├── bridge           between the eras, where a server does not speak the client's
//!           │          └── breaker          one per endpoint
//!           ├── actor ── core (keeper, checks)   life cycle, catalog, health; under `supervision`
//!           └── far ── link ─┬─ transport::http     endpoints, sessions, SSE
//!                            ├─ transport::sse      HTTP+SSE: event streams with POSTs ─┐
//!                            └─ transport::stdio    children                            ┴─ transport::channel
//! ```
//!
//! A call reads what the actors publish and never waits for one.

mod actor;
mod admission;
pub mod balance;
mod bound;
pub mod breaker;
mod bridge;
pub mod catalog;
mod checks;
mod core;
mod dispatch;
mod endpoint;
mod errand;
mod failures;
mod far;
mod guarded;
mod handle;
mod jitter;
mod keeper;
pub mod link;
mod own_request;
mod own_session;
mod pause;
pub mod retry;
mod sameness;
mod session_key;
mod set;
mod shared;
mod status;
pub mod subscription;
pub mod supervision;
pub mod transport;

#[cfg(test)]
mod copy;
#[cfg(test)]
mod tests;

pub use self::bound::BoundSession;
pub use self::bridge::{BridgedStream, OwnCatalog, UpListener, UpStream, Waiting, WaitingRoom};
pub use self::guarded::GuardedStream;
pub use self::handle::UpstreamHandle;
pub use self::retry::CallClass;
pub(crate) use self::sameness::is_same;
pub use self::session_key::{Owner, SessionKey};
pub(crate) use self::set::DRAIN_LIMIT;
pub use self::set::{Diff, Upstreams};
pub use self::status::{CatalogStatus, EndpointStatus, ErasStatus, Status};
