//! Tasks of the extension at a server with those of 2025-11-25 (see [`crate::upstream::bridge`]'s `tasks`).
//!
//! ```text
//! tools/call ──► {task: {}} ──► {task} ──► resultType "task"    where the tool may be a task, and the client follows it
//! tasks/get ───► tasks/get ──► working                          the state
//!                         ├──► input_required ─► tasks/result   stays open; what the server asks there are the questions
//!                         └──► completed, failed ► tasks/result the answer of the call, told with the state
//! tasks/update ► answers to the open questions
//! tasks/cancel ► tasks/cancel
//! ```
//!
//! `task`, `book` and `answer` are pure; `desk` keeps what the tasks run on beside them; `bridge` and `follow` move the
//! messages.

mod answer;
mod book;
mod bridge;
mod desk;
mod follow;
mod places;
mod task;

pub(super) use self::bridge::{Manner, undeclared};
pub(super) use self::desk::Desk;
pub(super) use self::follow::Following;
pub(super) use self::places::Place;
