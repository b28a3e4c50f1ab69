//! Tasks of one session, as data: whose id is known here, what was answered already, what is held.

use std::collections::{BTreeSet, VecDeque};

use lockgate_proto::jsonrpc::encode_str;
use serde::{Deserialize, Serialize};

/// Tasks remembered per session; the oldest goes first. A receiver may delete tasks (2025-11-25, "TTL and Resource
/// Management"). Source: as many as the session itself remembers.
const TASKS_MAX: usize = 1_024;
/// Bytes of all answers that are held for one session; the oldest go first.
const HELD_BYTES_MAX: usize = 4 << 20;
/// Longest time that an answer is held, in milliseconds, and how long it is when the client names none.
const HELD_MS_MAX: u64 = 600_000;
/// Keys of questions remembered per task.
const ANSWERED_MAX: usize = 1_024;
/// When a client is to ask for a held answer, in milliseconds: it is there.
const POLL_MS: u64 = 100;

/// All tasks of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Tasks {
    /// Tasks of our own that were made so far.
    last: u64,
    /// The oldest first.
    tasks: VecDeque<Task>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    /// The server's id, or ours for an answer that is held.
    id: String,
    /// Tool that was called.
    pub(super) tool: String,
    pub(super) phase: Phase,
    /// Keys of questions that the client has answered.
    answered: BTreeSet<String>,
}

/// Who knows what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// The server.
    Open,
    /// The client has cancelled it: "Once a task is cancelled, it MUST remain in `cancelled` status even if execution
    /// continues" (2025-11-25), which the extension does not promise. A raw `Task`.
    Cancelled(String),
    /// We do.
    Held(Held),
}

/// The answer of a server that made no task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// Raw result.
    pub(super) result: String,
    /// Time stamp.
    at: String,
    ttl_ms: u64,
    until_ms: u64,
}

/// An answer that is to be held.
#[derive(Clone, Debug)]
pub(in super::super) struct Given<'a> {
    /// Name of the server.
    pub(in super::super) server: &'a str,
    pub(in super::super) tool: &'a str,
    /// Raw result.
    pub(in super::super) result: &'a str,
    /// What the client asked for.
    pub(in super::super) ttl_ms: Option<u64>,
    /// Time stamp of now.
    pub(in super::super) at: &'a str,
    /// Now, in milliseconds since 1970.
    pub(in super::super) wall_ms: u64,
}

impl Tasks {
    /// A task that the server has made.
    pub(in super::super) fn begin(&mut self, id: &str, tool: &str) {
        self.tasks.retain(|task| task.id != id);
        self.push(id.to_owned(), tool, Phase::Open);
    }

    /// Holds an answer as a finished task. Returns the raw `Task` that its client is told of: "Tasks MUST begin in the
    /// `working` status".
    pub(in super::super) fn hold(&mut self, given: &Given<'_>, now_ms: u64) -> String {
        self.last += 1;
        let ttl_ms = given.ttl_ms.unwrap_or(HELD_MS_MAX).min(HELD_MS_MAX);
        let held = Held {
            result: given.result.to_owned(),
            at: given.at.to_owned(),
            ttl_ms,
            until_ms: now_ms.saturating_add(ttl_ms),
        };
        // Unlike the ids of other servers of the same client, and of what was before a server was replaced.
        let id = format!("{}-{:x}-{}", given.server, given.wall_ms, self.last);
        let told = held.task(&id, "working");
        self.push(id, given.tool, Phase::Held(held));
        let mut n_bytes: usize = self.held().map(|held| held.result.len()).sum();
        while n_bytes > HELD_BYTES_MAX {
            let is_held = |task: &Task| matches!(task.phase, Phase::Held(_));
            let Some(at) = self.tasks.iter().position(is_held) else {
                break;
            };
            if let Some(Task {
                phase: Phase::Held(held),
                ..
            }) = self.tasks.remove(at)
            {
                n_bytes -= held.result.len();
            }
        }
        told
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        self.tasks.iter().filter_map(|task| match &task.phase {
            Phase::Held(held) => Some(held),
            Phase::Open | Phase::Cancelled(_) => None,
        })
    }

    fn push(&mut self, id: String, tool: &str, phase: Phase) {
        if self.tasks.len() >= TASKS_MAX {
            self.tasks.pop_front();
        }
        self.tasks.push_back(Task {
            id,
            tool: tool.to_owned(),
            phase,
            answered: BTreeSet::new(),
        });
    }

    /// The task with this id, if this session has made it and it is still kept.
    pub(super) fn get(&self, id: &str, now_ms: u64) -> Option<&Task> {
        let task = self.tasks.iter().find(|task| task.id == id)?;
        let is_over = matches!(&task.phase, Phase::Held(held) if held.until_ms <= now_ms);
        (!is_over).then_some(task)
    }

    /// The client has cancelled it; `told` is the raw `Task` that it was told.
    pub(super) fn cancel(&mut self, id: &str, told: String) {
        if let Some(task) = self.tasks.iter_mut().find(|task| task.id == id) {
            task.phase = Phase::Cancelled(told);
        }
    }

    /// Which of these questions nobody has answered yet. A server may list answered ones for a while: its
    /// acknowledgement "is eventually consistent".
    pub(super) fn is_answered(&self, id: &str, key: &str) -> bool {
        let task = self.tasks.iter().find(|task| task.id == id);
        task.is_some_and(|task| task.answered.contains(key))
    }

    /// The client has answered these questions.
    pub(super) fn note_answered(&mut self, id: &str, keys: impl Iterator<Item = String>) {
        let Some(task) = self.tasks.iter_mut().find(|task| task.id == id) else {
            return;
        };
        let room = ANSWERED_MAX.saturating_sub(task.answered.len());
        task.answered.extend(keys.take(room));
    }

    /// Forgets a task that nobody can ask for.
    pub(super) fn forget(&mut self, id: &str) {
        self.tasks.retain(|task| task.id != id);
    }
}

impl Held {
    /// Raw `Task`.
    fn task(&self, id: &str, status: &str) -> String {
        format!(
            r#"{{"taskId":{},"status":"{status}","createdAt":"{at}","lastUpdatedAt":"{at}","ttl":{},"pollInterval":{POLL_MS}}}"#,
            encode_str(id),
            self.ttl_ms,
            at = self.at,
        )
    }

    /// Raw `Task` of one that has ended.
    pub(super) fn finished(&self, id: &str) -> String {
        self.task(id, "completed")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn given(result: &str, ttl_ms: Option<u64>) -> Given<'_> {
        Given {
            server: "up",
            tool: "a",
            result,
            ttl_ms,
            at: "2026-11-21T00:00:00.000Z",
            wall_ms: 16,
        }
    }

    #[test]
    fn a_held_answer_begins_as_work_and_is_found_finished() {
        let mut tasks = Tasks::default();
        let told = tasks.hold(&given(r#"{"content":[]}"#, Some(5)), 16);
        assert_eq!(
            told,
            r#"{"taskId":"up-10-1","status":"working","createdAt":"2026-11-21T00:00:00.000Z","lastUpdatedAt":"2026-11-21T00:00:00.000Z","ttl":5,"pollInterval":100}"#
        );
        let task = tasks.get("up-10-1", 20).unwrap();
        let Phase::Held(held) = &task.phase else {
            panic!("{task:?}");
        };
        assert_eq!(
            held.finished("up-10-1"),
            told.replace("working", "completed")
        );
        assert_eq!(held.result, r#"{"content":[]}"#);
        assert_eq!(tasks.get("up-10-1", 21), None);
    }

    #[test]
    fn an_id_of_somebody_else_is_unknown() {
        let mut tasks = Tasks::default();
        tasks.begin("t", "a");
        assert_eq!(tasks.get("t", 0).unwrap().tool, "a");
        assert_eq!(tasks.get("u", 0), None);
        tasks.forget("t");
        assert_eq!(tasks.get("t", 0), None);
    }

    #[test]
    fn a_cancelled_task_stays_cancelled() {
        let mut tasks = Tasks::default();
        tasks.begin("t", "a");
        tasks.cancel("t", "{}".to_owned());
        assert_eq!(
            tasks.get("t", 0).unwrap().phase,
            Phase::Cancelled("{}".to_owned())
        );
    }

    #[test]
    fn an_answered_question_is_not_asked_again() {
        let mut tasks = Tasks::default();
        tasks.begin("t", "a");
        tasks.note_answered("t", ["k".to_owned()].into_iter());
        assert!(tasks.is_answered("t", "k"));
        assert!(!tasks.is_answered("t", "l"));
        assert!(!tasks.is_answered("u", "k"));
    }

    proptest! {
        #[test]
        fn what_is_kept_has_its_bounds_and_survives_a_move(
            sizes in proptest::collection::vec(0_usize..2_000_000, 0..12),
            begun in 0_usize..1_100,
        ) {
            let mut tasks = Tasks::default();
            for n in 0..begun {
                tasks.begin(&n.to_string(), "a");
            }
            for size in sizes {
                tasks.hold(&given(&"x".repeat(size), None), 0);
            }
            prop_assert!(tasks.tasks.len() <= TASKS_MAX);
            prop_assert!(tasks.held().map(|held| held.result.len()).sum::<usize>() <= HELD_BYTES_MAX);
            let bytes = bincode::serde::encode_to_vec(&tasks, bincode::config::standard()).unwrap();
            let (back, _): (Tasks, usize) =
                bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
            prop_assert_eq!(back, tasks);
        }
    }
}
