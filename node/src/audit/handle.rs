//! `Audit`: what the stages call.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use lockgate_cluster::audit::{Hash, Kind};
use parking_lot::{Condvar, Mutex};
use tokio_util::sync::CancellationToken;

use super::event::{
    ArgsHash, Completed, Deed, Received, WORD_BYTES_MAX, fill_caller, write_caller,
};
use super::ledger::{Intent, Ledger};
use super::line::{Event, Line, event, key};
use super::redact::redact;
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

/// The audit log as the stages of a call see it: the way into the log of the cluster, and lines for whoever wants
/// those besides.
#[derive(Debug)]
pub struct Audit {
    /// `None` unless the configuration asks for lines.
    shared: Option<Arc<Shared>>,
    ledger: Option<Arc<Ledger>>,
    /// What is hidden in arguments in there. `None` when they are not recorded.
    redact: Option<Arc<config::Redact>>,
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
    /// Fires when nothing can ever be written again.
    pub(super) over: CancellationToken,
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
    /// Opens what lines go to, if they go anywhere, and starts the thread that writes them. `node` and `boot` stand in
    /// every line; `clock` stamps them.
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
        match sink::open(settings)? {
            Some(sink) => Self::start(sink, &format!("{node}/{boot}"), clock),
            None => Ok(Self {
                shared: None,
                ledger: None,
                redact: None,
            }),
        }
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
            over: CancellationToken::new(),
            clock,
            at: Line::fragment(|line| line.text(key!("at"), at, WORD_BYTES_MAX)),
        });
        let writer = Writer::new(Arc::clone(&shared), sink);
        // Ends after `close`. A thread, not a task: it blocks on the disk.
        let _detached = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            shared: Some(shared),
            ledger: None,
            redact: None,
        })
    }

    /// Records that a call has come in. Before this has said yes, nothing may be sent for it.
    ///
    /// # Errors
    ///
    /// [`CallError::AuditUnavailable`] when the log can't be written or too much waits to be written.
    pub fn received(&self, event: &Received<'_>) -> Result<Option<Intent>, CallError> {
        let recorded = self.redact.as_deref().zip(event.arguments);
        let redacted = recorded.map(|(rules, arguments)| redact(rules, arguments));
        let hash = match &redacted {
            Some(redacted) if !redacted.is_whole => None,
            _ => event.arguments.map(|text| Hash::of(text.as_bytes())),
        };
        let intent = match &self.ledger {
            Some(ledger) => {
                let kind = match event.decision.allowed {
                    true => Kind::Call,
                    false => Kind::Decision,
                };
                let shown = redacted.as_ref().map(|redacted| redacted.json.as_str());
                Some(ledger.intend(kind, event.is_awaited, |record| {
                    event.fill(record, hash, shown)
                })?)
            }
            None => None,
        };
        let Some(shared) = &self.shared else {
            return Ok(intent);
        };
        let args = hash.as_ref().map(ArgsHash::of);
        let written = shared.intent(event!("received"), |line| event.write(line, args.as_ref()));
        if let (Err(_), Some(ledger)) = (&written, &self.ledger) {
            // Nothing follows it.
            ledger.tell(intent, Kind::Call, |record| {
                record.status = Some("no_audit")
            });
        }
        written.map(|()| intent)
    }

    /// Waits until the record is as safe as the mode of the log demands before a call goes out.
    ///
    /// # Errors
    ///
    /// [`CallError::AuditUnavailable`] when the log does not take it in time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settled(&self, local_seq: Option<u64>) -> Result<(), CallError> {
        match (&self.ledger, local_seq) {
            (Some(ledger), Some(local_seq)) => ledger.settled(local_seq).await,
            _ => Ok(()),
        }
    }

    /// Lets records go into the log of the cluster, too; with the arguments of calls without what `redact` hides, or
    /// with their hash alone.
    #[must_use]
    pub fn with_ledger(mut self, ledger: Arc<Ledger>, redact: Option<Arc<config::Redact>>) -> Self {
        self.ledger = Some(ledger);
        self.redact = redact;
        self
    }

    /// The way into the log of the cluster.
    pub fn ledger(&self) -> Option<&Arc<Ledger>> {
        self.ledger.as_ref()
    }

    /// Waits until all records are in the log of the cluster, and forgets the spool then.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what is not in the log by then stays in the spool.
    pub async fn drained(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.drained().await;
            if let Err(error) = ledger.retire() {
                tracing::warn!(%error, "audit spool stays, the next start drains it");
            }
        }
    }

    /// Records how a call ended. A call that was received always finds room here, unless thousands of them end while
    /// the disk refuses; what is lost then is counted, and told by a `security` line as soon as there is room.
    /// Returns the number of its record.
    pub fn completed(&self, event: &Completed<'_>) -> Option<u64> {
        if let Some(shared) = &self.shared {
            shared.outcome(event!("completed"), |line| event.write(line));
        }
        let ledger = self.ledger.as_ref()?;
        ledger.tell(event.intent, Kind::Call, |record| event.fill(record))
    }

    /// Records that an operator is about to do something.
    ///
    /// # Errors
    ///
    /// [`CallError::AuditUnavailable`] as for a call: what can't be recorded must not be done.
    pub fn admin(&self, deed: &Deed<'_>) -> Result<Option<Intent>, CallError> {
        let intent = match &self.ledger {
            Some(ledger) => {
                Some(ledger.intend(deed.kind(), false, |record| deed.fill(record, None))?)
            }
            None => None,
        };
        let Some(shared) = &self.shared else {
            return Ok(intent);
        };
        let written = shared.intent(event!("admin"), |line| deed.write(line, None));
        if let (Err(_), Some(ledger)) = (&written, &self.ledger) {
            // Nothing follows it.
            ledger.tell(intent, deed.kind(), |record| {
                record.status = Some("no_audit")
            });
        }
        written.map(|()| intent)
    }

    /// Records how that ended: `ok`, or the word of the refusal. `intent` is what [`Self::admin`] has returned for it.
    pub fn admin_ended(&self, deed: &Deed<'_>, intent: Option<Intent>, status: &str) {
        if let Some(shared) = &self.shared {
            shared.outcome(event!("admin"), |line| deed.write(line, Some(status)));
        }
        if let Some(ledger) = &self.ledger {
            ledger.tell(intent, deed.kind(), |record| {
                deed.fill(record, Some(status))
            });
        }
    }

    /// Records something that a known caller did against security: a session id of somebody else, for example.
    /// `what` is a fixed word, `detail` what it was about.
    pub fn security(&self, what: &'static str, caller: &Caller, detail: &str) {
        if let Some(shared) = &self.shared {
            shared.outcome(event!("security"), |line| {
                line.plain(key!("what"), what);
                write_caller(line, caller);
                line.text(key!("detail"), detail, WORD_BYTES_MAX);
            });
        }
        if let Some(ledger) = &self.ledger {
            ledger.tell(None, Kind::Security, |record| {
                fill_caller(record, caller);
                record.method = Some(what);
                record.tool = Some(detail);
            });
        }
    }

    /// Records that somebody at `peer` was refused for `why`, before it was known who.
    pub fn credential_refused(&self, why: &str, peer: &str) {
        if let Some(shared) = &self.shared {
            shared.outcome(event!("security"), |line| {
                line.plain(key!("what"), "credential_refused");
                line.text(key!("peer"), peer, WORD_BYTES_MAX);
                line.text(key!("detail"), why, WORD_BYTES_MAX);
            });
        }
        if let Some(ledger) = &self.ledger {
            ledger.tell(None, Kind::Auth, |record| {
                record.endpoint = Some(peer);
                record.method = Some("credential_refused");
                record.status = Some(why);
            });
        }
    }

    /// Whether calls are taken: the last write succeeded and there is room.
    pub fn is_healthy(&self) -> bool {
        let (ledger, shared) = (self.ledger.as_ref(), self.shared.as_ref());
        ledger.is_none_or(|ledger| ledger.is_healthy())
            && shared.is_none_or(|shared| shared.state.lock().has_room(0))
    }

    /// Returns when whoever read the lines on standard output has gone: no line can be written any more, and so no call
    /// be let through.
    pub async fn unread(&self) {
        match &self.shared {
            Some(shared) => shared.over.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Asks for the file to be opened anew, after it was moved away (log rotation). Lines that wait go into the new
    /// file; a failure shows as any failure to write does.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.state.lock().reopen = true;
            shared.wake.notify_one();
        }
    }

    /// Waits until the lines that were recorded before are written and synced. Blocks the thread for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`FlushError`] when it is not written by then.
    pub fn flush(&self, limit: Duration) -> Result<(), FlushError> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let mut state = shared.state.lock();
        state.flush_wanted += 1;
        let ours = state.flush_wanted;
        shared.wake.notify_one();
        let waited = shared.drained.wait_while_for(
            &mut state,
            |state| state.flush_done < ours && !shared.over.is_cancelled(),
            limit,
        );
        if waited.timed_out() || state.flush_done < ours {
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
        if let Some(shared) = &self.shared {
            shared.state.lock().stop = true;
            shared.wake.notify_one();
        }
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
