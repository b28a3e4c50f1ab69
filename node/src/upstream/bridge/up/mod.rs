//! Session-era clients at stateless servers.
//!
//! ```text
//! session ── request ──► dispatch ──► answer ──────────────► client      a plain call: two edits of its text
//!    │                      │
//!    │                      └──► stream ── rounds, question ◄─► client    a server that streams, or wants input first
//!    └── listen ── subscriptions/listen, shared by sessions
//! ```
//!
//! `profile`, `request`, `answer`, `content`, `schema`, `question` and `rounds` translate and decide, without a clock, a channel
//! or a socket; `session`, `stream` and `listen` move the messages. `tasks` has both, for tasks.

mod answer;
mod catalog;
mod content;
mod listen;
mod profile;
mod question;
mod request;
mod rounds;
mod schema;
mod session;
mod stream;
mod strip;
mod tasks;

pub(super) use self::catalog::catalog;
pub(in crate::upstream) use self::listen::Listens;
pub use self::listen::UpListener;
pub(in crate::upstream) use self::session::Session;
pub use self::stream::UpStream;
