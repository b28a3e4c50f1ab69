//! Event log of one stream: numbers its events, keeps them for Last-Event-ID, and holds the producer back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::answer::Event;

use super::ended::EndedBytes;

/// Events that one stream keeps.
const EVENTS_MAX: usize = 512;
/// Bytes that one stream keeps.
const BYTES_MAX: usize = 1 << 20;
/// A reader that takes nothing for so long holds its producer back no more.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Number of a stream within its session; 0 is the GET stream.
pub type StreamId = u32;

/// Names one event to the client: epoch of the session's home, stream, number. Opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// How often the session's home changed.
    pub epoch: u32,
    /// Stream.
    pub stream: StreamId,
    /// Number of the event, from 1; 0 is the priming event.
    pub n: u64,
}

impl EventId {
    /// Reads `epoch-stream-n`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (epoch, stream, n) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            epoch: epoch.parse().ok()?,
            stream: stream.parse().ok()?,
            n: n.parse().ok()?,
        })
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.stream, self.n)
    }
}

/// One stream's log. Shared by the producer (the call) and the reader (the client's connection).
#[derive(Debug)]
pub struct StreamLog {
    id: StreamId,
    epoch: u32,
    log: Mutex<Log>,
    news: Notify,
    room: Notify,
    ended_bytes: Arc<EndedBytes>,
}

/// One message of a log.
#[derive(Debug)]
pub struct Logged {
    data: Bytes,
    /// Id of the question that it puts to the client.
    question: Option<u64>,
    /// The question is closed: nobody is to see it any more.
    is_closed: bool,
}

impl Logged {
    /// A request to the client, which is not shown any more once it is closed.
    pub fn question(id: u64, data: Bytes) -> Self {
        Self {
            question: Some(id),
            ..Self::from(data)
        }
    }
}

impl From<Bytes> for Logged {
    fn from(data: Bytes) -> Self {
        Self {
            data,
            question: None,
            is_closed: false,
        }
    }
}

#[derive(Debug, Default)]
struct Log {
    events: VecDeque<Logged>,
    bytes: usize,
    /// Number of `events[0]`.
    first: u64,
    /// Events below this were handed to a reader.
    handed: u64,
    /// The reader that holds this number is the current one.
    reader: u64,
    attached: bool,
    /// When a reader last attached or took an event.
    taken_at: Option<Instant>,
    ended_at: Option<Instant>,
}

impl Log {
    fn full(&self) -> bool {
        self.events.len() >= EVENTS_MAX || self.bytes >= BYTES_MAX
    }

    /// Makes room from what was handed out already, oldest first.
    fn trim(&mut self) {
        while self.full() && self.first < self.handed {
            self.drop_first();
        }
    }

    /// Makes room from what nobody has taken, too.
    fn trim_unread(&mut self) {
        self.trim();
        while self.full() && !self.events.is_empty() {
            self.drop_first();
            self.handed = self.handed.max(self.first);
        }
    }

    /// Until when a producer waits for the reader; `None` without a reader.
    fn patience(&self) -> Option<Instant> {
        let taken_at = self.taken_at.filter(|_| self.attached)?;
        Some(taken_at + STALL_MAX)
    }

    fn drop_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.data.len();
            self.first += 1;
        }
    }

    fn push(&mut self, event: Logged) {
        self.bytes += event.data.len();
        self.events.push_back(event);
    }

    /// Empties a question; its number stays. Returns the bytes that are free now.
    fn close_question(&mut self, id: u64) -> Option<usize> {
        let of_id = |event: &&mut Logged| event.question == Some(id) && !event.is_closed;
        let event = self.events.iter_mut().find(of_id)?;
        event.is_closed = true;
        let freed = std::mem::take(&mut event.data).len();
        self.bytes -= freed;
        Some(freed)
    }
}

impl StreamLog {
    /// An empty log; `ended_bytes` counts what it holds once it has ended.
    pub fn new(epoch: u32, id: StreamId, ended_bytes: Arc<EndedBytes>) -> Arc<Self> {
        let log = Log {
            first: 1,
            handed: 1,
            ..Log::default()
        };
        Arc::new(Self {
            id,
            epoch,
            log: Mutex::new(log),
            news: Notify::new(),
            room: Notify::new(),
            ended_bytes,
        })
    }

    /// Number of the stream.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Appends a message; waits while the log is full of events that its reader has not taken yet. Without a reader,
    /// or with one that takes nothing, the oldest event goes instead. After the end, nothing is appended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the message is appended at the very end or not at all.
    pub async fn push(&self, event: impl Into<Logged>) {
        let event = event.into();
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            // Registered before the look, so that no room between look and wait is missed.
            room.as_mut().enable();
            let patience = {
                let mut log = self.log.lock();
                if log.ended_at.is_some() {
                    return;
                }
                log.trim();
                let patience = log.patience().filter(|until| Instant::now() < *until);
                if patience.is_none() {
                    log.trim_unread();
                }
                match patience {
                    // A single message above the bound still passes when the log is empty.
                    Some(until) if log.full() && !log.events.is_empty() => until,
                    _ => {
                        log.push(event);
                        break;
                    }
                }
            };
            // Either way the log is looked at again.
            let _in_time = tokio::time::timeout_at(patience, room).await;
        }
        self.news.notify_waiters();
    }

    /// Appends a message at once. When the log is full the oldest event goes: for streams that nobody may ever read.
    pub fn push_lossy(&self, event: impl Into<Logged>) {
        {
            let mut log = self.log.lock();
            if log.ended_at.is_some() {
                return;
            }
            log.trim_unread();
            log.push(event.into());
        }
        self.news.notify_waiters();
    }

    /// The client has answered this question, or its server waits for the answer no more: a reader that goes back
    /// does not see it again. Other events keep their ids.
    pub fn close_question(&self, id: u64) {
        let freed = {
            let mut log = self.log.lock();
            let freed = log.close_question(id).unwrap_or_default();
            if log.ended_at.is_some() {
                self.ended_bytes.take_off(freed);
            }
            freed
        };
        if freed > 0 {
            self.room.notify_waiters();
        }
    }

    /// Appends the last message and ends. It has always room: no other can follow it.
    pub fn finish(&self, data: Bytes, now: Instant) {
        self.close(Some(data), now);
    }

    /// No more events. Wakes producer and reader.
    pub fn end(&self, now: Instant) {
        self.close(None, now);
    }

    fn close(&self, last: Option<Bytes>, now: Instant) {
        {
            let mut log = self.log.lock();
            if log.ended_at.is_some() {
                return;
            }
            if let Some(last) = last {
                log.trim();
                log.push(last.into());
            }
            log.ended_at = Some(now);
            self.ended_bytes.add(log.bytes);
        }
        self.news.notify_waiters();
        self.room.notify_waiters();
    }

    /// When it ended.
    pub fn ended_at(&self) -> Option<Instant> {
        self.log.lock().ended_at
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.log.lock().bytes
    }

    /// Whether a reader holds it.
    pub fn attached(&self) -> bool {
        self.log.lock().attached
    }

    /// Whether every event was handed out and no more will come.
    pub fn is_drained(&self) -> bool {
        let log = self.log.lock();
        log.ended_at.is_some() && log.handed >= log.first + log.events.len() as u64
    }

    /// Attaches a reader after event `after` (`None`: after what was handed out). The reader before it ends.
    /// `None` when events after `after` are gone already: a gap is never hidden.
    pub fn attach(self: &Arc<Self>, after: Option<u64>) -> Option<Reader> {
        let mut log = self.log.lock();
        let next = after.map_or(log.handed, |n| n + 1);
        if next < log.first || next > log.first + log.events.len() as u64 {
            return None;
        }
        log.reader += 1;
        log.attached = true;
        log.taken_at = Some(Instant::now());
        let reader = Reader {
            stream: Arc::clone(self),
            number: log.reader,
            next,
        };
        drop(log);
        self.news.notify_waiters();
        Some(reader)
    }
}

impl Drop for StreamLog {
    fn drop(&mut self) {
        let log = self.log.get_mut();
        if log.ended_at.is_some() {
            self.ended_bytes.take_off(log.bytes);
        }
    }
}

/// Takes events from a log, in order. Dropping it leaves the log for a resume.
#[derive(Debug)]
pub struct Reader {
    stream: Arc<StreamLog>,
    number: u64,
    next: u64,
}

enum Taken {
    Event(Bytes),
    Wait,
    End,
}

impl Reader {
    /// Next event; `None` at the end, or when another reader took over.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let stream = Arc::clone(&self.stream);
            let news = stream.news.notified();
            tokio::pin!(news);
            // Registered before the look, so that no event between look and wait is missed.
            news.as_mut().enable();
            match self.take() {
                Taken::Event(data) => {
                    let id = EventId {
                        epoch: stream.epoch,
                        stream: stream.id,
                        n: self.next - 1,
                    };
                    return Some(Event {
                        id: Some(id.to_string()),
                        retry_ms: None,
                        data,
                    });
                }
                Taken::End => return None,
                Taken::Wait => news.await,
            }
        }
    }

    fn take(&mut self) -> Taken {
        let mut log = self.stream.log.lock();
        if log.reader != self.number || self.next < log.first {
            return Taken::End;
        }
        let at = |next: u64| usize::try_from(next - log.first).unwrap_or(usize::MAX);
        while log
            .events
            .get(at(self.next))
            .is_some_and(|event| event.is_closed)
        {
            self.next += 1;
        }
        let data = log
            .events
            .get(at(self.next))
            .map(|event| event.data.clone());
        match data {
            Some(data) => {
                self.next += 1;
                log.handed = log.handed.max(self.next);
                log.taken_at = Some(Instant::now());
                drop(log);
                self.stream.room.notify_waiters();
                Taken::Event(data)
            }
            None => {
                // What was passed over counts as handed out.
                log.handed = log.handed.max(self.next);
                if log.ended_at.is_some() {
                    Taken::End
                } else {
                    Taken::Wait
                }
            }
        }
    }

    /// The event that opens a resumable stream (2025-11-25, "Resumability"): an id, a retry time, no data.
    pub fn priming(&self) -> Event {
        let id = EventId {
            epoch: self.stream.epoch,
            stream: self.stream.id,
            n: self.next - 1,
        };
        Event {
            id: Some(id.to_string()),
            retry_ms: Some(RETRY_MS),
            data: Bytes::new(),
        }
    }

    /// As a stream, opened by `first`.
    pub fn into_stream(self, first: Option<Event>) -> impl Stream<Item = Event> + Send + 'static {
        futures_util::stream::unfold((self, first), |(mut reader, first)| async move {
            let event = match first {
                Some(event) => event,
                None => reader.next().await?,
            };
            Some((event, (reader, None)))
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut log = self.stream.log.lock();
        if log.reader == self.number {
            log.attached = false;
            drop(log);
            // A producer that waited for this reader goes on without it.
            self.stream.room.notify_waiters();
        }
    }
}

/// How long a client waits before it resumes. Source: SDK clients give up after two tries (`CONTINUITY.md` 4).
const RETRY_MS: u64 = 500;

#[cfg(test)]
mod tests;
