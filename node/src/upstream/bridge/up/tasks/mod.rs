//! Tasks of 2025-11-25 at a server with the tasks extension (see [`crate::upstream::bridge`]'s `tasks`).
//!
//! ```text
//! tools/call {task} ──► the server makes a task ───► {task}       known by the server's id, in this session alone
//!                  └──► the server answers at once ─► {task}       the gateway holds the answer as a task of its own
//! tools/call ─────────► the server needs a task ────► followed to its end here: the client sees a call
//! tasks/result ───────► tasks/get, again and again; questions to the client, its answers by tasks/update
//! ```
//!
//! `state` and `answer` are pure; `session` and `follow` move the messages.

mod answer;
mod follow;
mod session;
mod state;

pub(super) use self::follow::Followed;
pub(super) use self::session::Wish;
pub(super) use self::state::Tasks;
