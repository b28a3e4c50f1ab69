//! `Audit`: what the stages call.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::event::{ArgsHash, Completed, Received, write_caller};
use super::line::{Event, Line, event, key};
use super::sink::{self, Sink};
use super::writer::Writer;
use crate::call::Caller;
use crate::config;
use crate::error::CallError;
use crate::stamp::Stamp;

/// Above this many bytes that wait to be written, no call starts.
const BUFFER_BYTES_MAX: usize = 8 << 20;
/// Kept free for the ends of calls that have started. Beyond, lines are lost, and counted.
const RESERVE_BYTES: usize = 8 << 20;
/// From here on the writer doesn't wait for more.
const HURRY_BYTES: usize = 1 << 20;
/// Longest name in an event of operation or security, in bytes.
const WORD_BYTES_MAX: usize = 512;

/// The audit log of this node.
#[derive(Debug)]
pub struct Audit {
    shared: Arc<Shared>,
}

/// Lines were still waiting when the time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes of audit lines could not be written in time")]
pub struct FlushError {
    /// How many bytes.
    pub bytes: u64,
}

/// What the callers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Wakes the writer.
    pub(super) wake: Condvar,
    /// Wakes those who wait for the writer.
    pub(super) drained: Condvar,
    clock: fn() -> SystemTime,
    /// The member `at`: `node/boot`, which with the time and the id names a record for ever.
    at: Box<[u8]>,
}

/// State under the lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) buffer: Vec<u8>,
    stamp: Stamp,
    /// Bytes that were ever put into the buffer, and those of them that are written.
    appended: u64,
    pub(super) written: u64,
    /// Lines that found no room.
    pub(super) lost: u64,
    /// The last attempt to write failed.
    pub(super) failed: bool,
    /// The writer waits for the first line.
    pub(super) idle: bool,
    pub(super) reopen: bool,
    /// Number of the last flush that was asked for, and of the last one that is done.
    pub(super) flush_wanted: u64,
    pub(super) flush_done: u64,
    pub(super) stop: bool,
}

impl State {
    /// Whether the writer has something to do at once.
    pub(super) fn urgent(&self) -> bool {
        self.reopen
            || self.stop
            || self.flush_done < self.flush_wanted
            || self.buffer.len() >= HURRY_BYTES
    }
}

#[cfg(test)]
impl Audit {
    /// With its file in `dir`.
    pub(crate) fn in_dir(dir: &std::path::Path, clock: fn() -> SystemTime) -> Self {
        let file = config::Audit::File(dir.join("audit.jsonl"));
        Self::open(&file, "n1", 1, clock).unwrap()
    }
}

impl Audit {
    /// Opens the log and starts the thread that writes it. `node` and `boot` stand in every line; `clock` stamps them.
    ///
    /// # Errors
    ///
    /// The file can't be opened for appending, or the thread can't be started.
    pub fn open(
        settings: &config::Audit,
        node: &str,
        boot: u64,
        clock: fn() -> SystemTime,
    ) -> io::Result<Self> {
        Self::start(sink::open(settings)?, &format!("{node}/{boot}"), clock)
    }

    pub(super) fn start(
        sink: Box<dyn Sink>,
        at: &str,
        clock: fn() -> SystemTime,
    ) -> io::Result<Self> {
        let state = State {
            buffer: Vec::new(),
            stamp: Stamp::new(),
            appended: 0,
            written: 0,
            lost: 0,
            failed: false,
            idle: false,
            reopen: false,
            flush_wanted: 0,
            flush_done: 0,
            stop: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            drained: Condvar::new(),
            clock,
            at: Line::fragment(|line| line.text(key!("at"), at, WORD_BYTES_MAX)),
        });
        let writer = Writer::new(Arc::clone(&shared), sink);
        // Ends after `close`. A thread, not a task: it blocks on the disk.
        let _detached = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self { shared })
    }

    /// Records that a call has come in. Before this has said yes, nothing may be sent for it.
    ///
    /// # Errors
    ///
    /// [`CallError::AuditUnavailable`] when the log can't be written or too much waits to be written.
    pub fn received(&self, event: &Received<'_>) -> Result<(), CallError> {
        let args = event.arguments.map(ArgsHash::of);
        self.shared
            .intent(event!("received"), |line| event.write(line, args.as_ref()))
    }

    /// Records how a call ended. A call that was received always finds room here, unless thousands of them end while
    /// the disk refuses; what is lost then is counted, and told by a `security` line as soon as there is room.
    pub fn completed(&self, event: &Completed<'_>) {
        self.shared
            .outcome(event!("completed"), |line| event.write(line));
    }

    /// Records that `who` is about to do `action` on `target`.
    ///
    /// # Errors
    ///
    /// [`CallError::AuditUnavailable`] as for a call: what can't be recorded must not be done.
    pub fn admin(&self, who: &str, action: &str, target: &str) -> Result<(), CallError> {
        self.shared.intent(event!("admin"), |line| {
            line.text(key!("who"), who, WORD_BYTES_MAX);
            line.text(key!("action"), action, WORD_BYTES_MAX);
            line.text(key!("target"), target, WORD_BYTES_MAX);
        })
    }

    /// Records something that a known caller did against security: a session id of somebody else, for example.
    /// `what` is a fixed word, `detail` what it was about.
    pub fn security(&self, what: &'static str, caller: &Caller, detail: &str) {
        self.shared.outcome(event!("security"), |line| {
            line.plain(key!("what"), what);
            write_caller(line, caller);
            line.text(key!("detail"), detail, WORD_BYTES_MAX);
        });
    }

    /// Records that somebody at `peer` was refused for `why`, before it was known who.
    pub fn credential_refused(&self, why: &str, peer: &str) {
        self.shared.outcome(event!("security"), |line| {
            line.plain(key!("what"), "credential_refused");
            line.text(key!("peer"), peer, WORD_BYTES_MAX);
            line.text(key!("detail"), why, WORD_BYTES_MAX);
        });
    }

    /// Whether calls are taken: the last write succeeded and there is room.
    pub fn is_healthy(&self) -> bool {
        self.shared.state.lock().has_room(0)
    }

    /// Asks for the file to be opened anew, after it was moved away (log rotation). Lines that wait go into the new
    /// file; a failure shows as any failure to write does.
    pub fn reopen(&self) {
        self.shared.state.lock().reopen = true;
        self.shared.wake.notify_one();
    }

    /// Waits until what was recorded before is written and synced. Blocks the thread for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`FlushError`] when it is not written by then.
    pub fn flush(&self, limit: Duration) -> Result<(), FlushError> {
        let mut state = self.shared.state.lock();
        state.flush_wanted += 1;
        let ours = state.flush_wanted;
        self.shared.wake.notify_one();
        let waited =
            self.shared
                .drained
                .wait_while_for(&mut state, |state| state.flush_done < ours, limit);
        if waited.timed_out() {
            return Err(FlushError {
                bytes: state.appended - state.written,
            });
        }
        Ok(())
    }

    /// [`Audit::flush`], and the end of the writer's thread. What is recorded afterwards is not written.
    ///
    /// # Errors
    ///
    /// As for [`Audit::flush`].
    pub fn close(&self, limit: Duration) -> Result<(), FlushError> {
        let flushed = self.flush(limit);
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_one();
        flushed
    }
}

impl State {
    fn has_room(&self, reserve: usize) -> bool {
        if reserve > 0 {
            return self.buffer.len() < BUFFER_BYTES_MAX + reserve;
        }
        !self.failed && !self.stop && self.buffer.len() < BUFFER_BYTES_MAX
    }
}

impl Shared {
    /// A line without which nothing may happen.
    fn intent(&self, event: Event, fill: impl FnOnce(&mut Line<'_>)) -> Result<(), CallError> {
        let mut state = self.state.lock();
        if !state.has_room(0) {
            return Err(CallError::AuditUnavailable);
        }
        self.put(&mut state, event, fill);
        self.rouse(state);
        Ok(())
    }

    /// A line about what has happened already.
    fn outcome(&self, event: Event, fill: impl FnOnce(&mut Line<'_>)) {
        let mut state = self.state.lock();
        if !state.has_room(RESERVE_BYTES) {
            state.lost += 1;
            return;
        }
        self.put(&mut state, event, fill);
        self.rouse(state);
    }

    /// Writes one line into the buffer.
    pub(super) fn put(&self, state: &mut State, event: Event, fill: impl FnOnce(&mut Line<'_>)) {
        let State { buffer, stamp, .. } = state;
        let before = buffer.len();
        let mut line = Line::open(buffer, event);
        line.plain(key!("ts"), stamp.at((self.clock)()));
        line.members(&self.at);
        fill(&mut line);
        line.close();
        state.appended += (state.buffer.len() - before) as u64;
    }

    /// Wakes the writer if it sleeps, or if it should stop gathering. A wake is a system call, so it is not made for
    /// every line.
    fn rouse(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let wake = state.idle || state.buffer.len() >= HURRY_BYTES;
        state.idle = false;
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }
}
