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
use super::event_id::{EventId, LineId, Place, StreamId};

/// Events that one stream keeps.
const EVENTS_MAX: usize = 512;
/// Bytes that one stream keeps.
const BYTES_MAX: usize = 1 << 20;
/// A reader that takes nothing for so long holds its producer back no more.
const STALL_MAX: Duration = Duration::from_secs(30);

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
    /// The one line of readers that was given it.
    given_to: Option<LineId>,
}

impl Logged {
    /// A request to the client, which is not shown any more once it is closed.
    pub fn question(id: u64, data: Bytes) -> Self {
        Self {
            question: Some(id),
            ..Self::from(data)
        }
    }

    fn is_for(&self, line: LineId) -> bool {
        !self.is_closed && self.given_to.is_none_or(|given| given == line)
    }
}

impl From<Bytes> for Logged {
    fn from(data: Bytes) -> Self {
        Self {
            data,
            question: None,
            is_closed: false,
            given_to: None,
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
    /// Line of the next reader that begins one.
    next_line: LineId,
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

    /// Attaches a reader. At a `place` it goes on in the line of readers that got as far as there; without one it
    /// begins a line of its own, after what was handed out. The reader before it ends. `None` when events after the
    /// place are gone already: a gap is never hidden.
    ///
    /// Each event is given to one line alone ("Multiple Connections" of the transport): a client whose listening
    /// stream was taken over by another of its own may go on with the old one, and hears nothing a second time.
    pub fn attach(self: &Arc<Self>, place: Option<Place>) -> Option<Reader> {
        let mut log = self.log.lock();
        let next = place.map_or(log.handed, |place| place.n + 1);
        if next < log.first || next > log.first + log.events.len() as u64 {
            return None;
        }
        let line = match place {
            Some(place) if place.line >= log.next_line => return None,
            Some(place) => place.line,
            None => {
                log.next_line += 1;
                log.next_line - 1
            }
        };
        log.reader += 1;
        log.attached = true;
        log.taken_at = Some(Instant::now());
        let reader = Reader {
            stream: Arc::clone(self),
            number: log.reader,
            line,
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
    line: LineId,
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
                    return Some(Event {
                        id: Some(self.position().to_string()),
                        retry_ms: None,
                        data,
                    });
                }
                Taken::End => return None,
                Taken::Wait => news.await,
            }
        }
    }

    /// Whether the stream has ended and has nothing more for this reader.
    pub fn is_over(&self) -> bool {
        let log = self.stream.log.lock();
        let mut left = log.events.iter().zip(log.first..);
        log.ended_at.is_some() && !left.any(|(event, n)| n >= self.next && event.is_for(self.line))
    }

    fn take(&mut self) -> Taken {
        let mut log = self.stream.log.lock();
        if log.reader != self.number || self.next < log.first {
            return Taken::End;
        }
        let first = log.first;
        let at = |next: u64| usize::try_from(next - first).unwrap_or(usize::MAX);
        let passed_over = |event: &Logged| !event.is_for(self.line);
        while log.events.get(at(self.next)).is_some_and(passed_over) {
            self.next += 1;
        }
        let found = log.events.get_mut(at(self.next));
        let data = found.map(|event| {
            event.given_to = Some(self.line);
            event.data.clone()
        });
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

    /// Id of the last event that was taken.
    fn position(&self) -> EventId {
        EventId {
            epoch: self.stream.epoch,
            stream: self.stream.id,
            place: Place {
                line: self.line,
                n: self.next - 1,
            },
        }
    }

    /// The event that opens a resumable stream (2025-11-25, "Resumability"): an id, a retry time, no data.
    pub fn priming(&self) -> Event {
        Event {
            id: Some(self.position().to_string()),
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
