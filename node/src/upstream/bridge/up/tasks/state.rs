//! Tasks of one session, as data: whose id is known here, what was answered already, what is held.

use std::collections::{BTreeSet, VecDeque};

use lockgate_proto::jsonrpc::{Span, Splice, encode_str};
use serde::{Deserialize, Serialize};

use crate::upstream::bridge::tasks;

/// Tasks remembered per session; the oldest goes first. A receiver may delete tasks (2025-11-25, "TTL and Resource
/// Management"). Source: as many as the session itself remembers.
const TASKS_MAX: usize = 1_024;
/// Bytes of all that is remembered for one session; the oldest held answers go first, then the oldest tasks.
const BYTES_MAX: usize = 4 << 20;
/// Longest id of a server's task. Source: longer ones fit no header that has to name them.
const ID_BYTES_MAX: usize = 1_024;
/// Bytes of all keys of questions remembered per task.
const ANSWERED_BYTES_MAX: usize = 64 << 10;
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

/// There is no room for it, however much else goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct TooLarge;

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
}

impl Tasks {
    /// A task that the server has made.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] for an id that no request could name.
    pub(in super::super) fn begin(&mut self, id: &str, tool: &str) -> Result<(), TooLarge> {
        if id.len() > ID_BYTES_MAX {
            return Err(TooLarge);
        }
        self.forget(id);
        self.push(Task::new(id.to_owned(), tool, Phase::Open))
    }

    /// Holds an answer as a finished task. Returns its id, and the raw `Task` that its client is told of: "Tasks MUST
    /// begin in the `working` status".
    ///
    /// # Errors
    ///
    /// [`TooLarge`]; nothing is held then.
    pub(in super::super) fn hold(
        &mut self,
        given: &Given<'_>,
        now_ms: u64,
    ) -> Result<(String, String), TooLarge> {
        self.expire(now_ms);
        self.last += 1;
        let ttl_ms = given.ttl_ms.unwrap_or(HELD_MS_MAX).min(HELD_MS_MAX);
        let held = Held {
            result: given.result.to_owned(),
            at: given.at.to_owned(),
            ttl_ms,
            until_ms: now_ms.saturating_add(ttl_ms),
        };
        // Unlike the ids of other servers of the same client, and of what was before a server was replaced.
        let id = format!("{}-{:x}-{}", given.server, now_ms, self.last);
        let told = held.task(&id, "working");
        self.push(Task::new(id.clone(), given.tool, Phase::Held(held)))?;
        Ok((id, told))
    }

    /// Bytes of all that is remembered.
    pub(in super::super) fn n_bytes(&self) -> usize {
        self.tasks.iter().map(Task::n_bytes).sum()
    }

    /// Forgets the answers whose time is over.
    pub(in super::super) fn expire(&mut self, now_ms: u64) {
        self.tasks.retain(|task| !task.is_over(now_ms));
    }

    /// Remembers the newest task; others go where it has no room.
    fn push(&mut self, task: Task) -> Result<(), TooLarge> {
        let n_bytes = task.n_bytes();
        if n_bytes > BYTES_MAX {
            return Err(TooLarge);
        }
        self.make_room(n_bytes);
        self.tasks.push_back(task);
        Ok(())
    }

    /// Makes room for one task of so many bytes, which is not among them.
    fn make_room(&mut self, n_bytes: usize) {
        if self.tasks.len() >= TASKS_MAX {
            self.tasks.pop_front();
        }
        let mut all = self.n_bytes() + n_bytes;
        while all > BYTES_MAX {
            let is_held = |task: &Task| matches!(task.phase, Phase::Held(_));
            let at = self.tasks.iter().position(is_held).unwrap_or(0);
            let Some(gone) = self.tasks.remove(at) else {
                return;
            };
            all -= gone.n_bytes();
        }
    }

    /// The task with this id, if this session has made it and it is still kept.
    pub(super) fn get(&self, id: &str, now_ms: u64) -> Option<&Task> {
        let task = self.tasks.iter().find(|task| task.id == id)?;
        (!task.is_over(now_ms)).then_some(task)
    }

    /// The client has cancelled it; `told` is the raw `Task` that it was told.
    pub(super) fn cancel(&mut self, id: &str, told: String) {
        let Some(at) = self.tasks.iter().position(|task| task.id == id) else {
            return;
        };
        let Some(mut task) = self.tasks.remove(at) else {
            return;
        };
        task.phase = Phase::Cancelled(told);
        // Of one whose state is larger than all that may be kept, its server is asked no more, either.
        let _kept = self.push(task);
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
        let mut n_bytes: usize = task.answered.iter().map(String::len).sum();
        for key in keys {
            n_bytes += key.len();
            if task.answered.len() >= ANSWERED_MAX || n_bytes > ANSWERED_BYTES_MAX {
                break;
            }
            task.answered.insert(key);
        }
        self.make_room(0);
    }

    /// Forgets a task that nobody can ask for.
    pub(super) fn forget(&mut self, id: &str) {
        self.tasks.retain(|task| task.id != id);
    }
}

impl Task {
    fn new(id: String, tool: &str, phase: Phase) -> Self {
        Self {
            id,
            tool: tool.to_owned(),
            phase,
            answered: BTreeSet::new(),
        }
    }

    fn is_over(&self, now_ms: u64) -> bool {
        matches!(&self.phase, Phase::Held(held) if held.until_ms <= now_ms)
    }

    /// Bytes of its texts.
    fn n_bytes(&self) -> usize {
        let phase = match &self.phase {
            Phase::Open => 0,
            Phase::Cancelled(told) => told.len(),
            Phase::Held(held) => held.result.len() + held.at.len(),
        };
        let answered: usize = self.answered.iter().map(String::len).sum();
        self.id.len() + self.tool.len() + phase + answered
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
        // "If the tool result has `isError` set to `true`, the task should reach `failed` status."
        if !tasks::is_error(&self.result) {
            return self.task(id, "completed");
        }
        let task = self.task(id, "failed");
        let mut splice = Splice::new(&task);
        let whole = Span::new(0, task.len());
        splice.set_member(whole, "statusMessage", tasks::TOOL_FAILED);
        String::from_utf8_lossy(&splice.finish()).into_owned()
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
        }
    }

    #[test]
    fn a_held_answer_begins_as_work_and_is_found_finished() {
        let mut tasks = Tasks::default();
        let (_, told) = tasks
            .hold(&given(r#"{"content":[]}"#, Some(5)), 16)
            .unwrap();
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
        tasks.begin("t", "a").unwrap();
        assert_eq!(tasks.get("t", 0).unwrap().tool, "a");
        assert_eq!(tasks.get("u", 0), None);
        tasks.forget("t");
        assert_eq!(tasks.get("t", 0), None);
    }

    #[test]
    fn a_cancelled_task_stays_cancelled() {
        let mut tasks = Tasks::default();
        tasks.begin("t", "a").unwrap();
        tasks.cancel("t", "{}".to_owned());
        assert_eq!(
            tasks.get("t", 0).unwrap().phase,
            Phase::Cancelled("{}".to_owned())
        );
    }

    #[test]
    fn an_answered_question_is_not_asked_again() {
        let mut tasks = Tasks::default();
        tasks.begin("t", "a").unwrap();
        tasks.note_answered("t", ["k".to_owned()].into_iter());
        assert!(tasks.is_answered("t", "k"));
        assert!(!tasks.is_answered("t", "l"));
        assert!(!tasks.is_answered("u", "k"));
    }

    #[test]
    fn a_result_that_is_an_error_is_a_failed_task() {
        let mut tasks = Tasks::default();
        let result = r#"{"content":[],"isError":true}"#;
        let (id, _) = tasks.hold(&given(result, None), 0).unwrap();
        let Phase::Held(held) = &tasks.get(&id, 0).unwrap().phase else {
            panic!("not held");
        };
        let told = held.finished(&id);
        assert!(told.contains(r#""status":"failed""#), "{told}");
        assert!(
            told.contains(r#""statusMessage":"the tool reported an error""#),
            "{told}"
        );
    }

    #[test]
    fn what_is_too_large_is_refused_and_takes_nothing_with_it() {
        let mut tasks = Tasks::default();
        let (id, _) = tasks.hold(&given("{}", None), 0).unwrap();
        let large = "x".repeat(BYTES_MAX);
        assert_eq!(tasks.hold(&given(&large, None), 0), Err(TooLarge));
        assert_eq!(tasks.begin(&large, "a"), Err(TooLarge));
        assert!(tasks.get(&id, 0).is_some());
    }

    #[test]
    fn an_answer_goes_when_its_time_is_over() {
        let mut tasks = Tasks::default();
        tasks.hold(&given("{}", Some(5)), 0).unwrap();
        tasks.hold(&given("{}", Some(50)), 5).unwrap();
        assert_eq!(tasks.tasks.len(), 1);
        tasks.expire(55);
        assert_eq!(tasks.n_bytes(), 0);
    }

    proptest! {
        #[test]
        fn what_is_kept_has_its_bounds_and_survives_a_move(
            steps in proptest::collection::vec((0_u8..4, 0_usize..5_000_000), 0..16),
            begun in 0_usize..1_100,
        ) {
            let mut tasks = Tasks::default();
            for n in 0..begun {
                tasks.begin(&n.to_string(), "a").unwrap();
            }
            for (what, size) in steps {
                let text = "x".repeat(size);
                match what {
                    0 => {
                        let id = text.get(..size % 2_000).unwrap_or_default();
                        if tasks.begin(id, "a").is_ok() {
                            prop_assert!(tasks.get(id, 0).is_some());
                        }
                    }
                    1 => tasks.note_answered("1", [text].into_iter()),
                    2 => tasks.cancel("2", text),
                    // What its client was just told of is found.
                    _ => if let Ok((id, _)) = tasks.hold(&given(&text, None), 0) {
                        prop_assert!(tasks.get(&id, 0).is_some());
                    } else {
                        prop_assert!(size > BYTES_MAX - 1_000);
                    },
                }
                prop_assert!(tasks.tasks.len() <= TASKS_MAX);
                prop_assert!(tasks.n_bytes() <= BYTES_MAX);
            }
            let bytes = bincode::serde::encode_to_vec(&tasks, bincode::config::standard()).unwrap();
            let (back, _): (Tasks, usize) =
                bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
            prop_assert_eq!(back, tasks);
        }
    }
}
