//! Messages on their way to one reader, bounded in number and bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use lockgate_proto::jsonrpc::{Frame, Kind};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Messages that wait for a slow reader. The bytes are bounded apart, by the longest line.
pub(super) const FRAMES_MAX: usize = 256;

/// What happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The reader will get it.
    Taken,
    /// The reader is too slow: it will not get this one.
    Full,
    /// The reader is gone or the queue has ended.
    Closed,
}

/// Why a queue ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Done,
    /// The channel ended before the server had the request, or the server sent it back unread.
    NotSent(Arc<str>),
    /// The channel ended, and the server may have acted.
    Broken(Arc<str>),
    /// The server answered, but not in MCP.
    Garbled(Arc<str>),
    /// The transport refused the request with an HTTP status.
    Refused(u16),
}

/// What the reader gets.
#[derive(Debug)]
pub(super) enum Item {
    /// A message.
    Frame(Frame),
    /// Nothing more.
    End(End),
    /// Another reader has taken over.
    Replaced,
}

/// A queue with one reader at a time. Writers never wait: what does not fit is refused.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    reader: u64,
    end: Option<End>,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            bytes_max,
        }
    }

    /// Takes a message if fewer than `frames_max` wait and their bytes have room.
    pub(super) fn offer(&self, frame: Frame, frames_max: usize) -> Admission {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return Admission::Closed;
        }
        let fits = state.bytes + frame.bytes().len() <= self.bytes_max;
        if state.frames.len() >= frames_max || !fits {
            return Admission::Full;
        }
        state.push(frame);
        drop(state);
        self.wake.notify_waiters();
        Admission::Taken
    }

    /// Takes the last message of a call, whatever else waits, and ends in order.
    pub(super) fn finish(&self, frame: Frame) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.push(frame);
            state.end = Some(End::Done);
        }
        drop(state);
        self.wake.notify_waiters();
    }

    /// Ends; what waits is still read.
    pub(super) fn end(&self, end: End) {
        self.state.lock().end.get_or_insert(end);
        self.wake.notify_waiters();
    }

    /// Takes the waiting requests out, in order.
    pub(super) fn take_requests(&self) -> Vec<Frame> {
        let mut state = self.state.lock();
        let (requests, rest) = state
            .frames
            .drain(..)
            .partition(|frame| frame.kind() == Kind::Request);
        state.frames = rest;
        state.bytes = state.frames.iter().map(|frame| frame.bytes().len()).sum();
        Vec::from(requests)
    }

    /// Becomes the reader; a reader before it gets [`Item::Replaced`].
    pub(super) fn read(&self) -> u64 {
        let mut state = self.state.lock();
        state.reader += 1;
        let reader = state.reader;
        drop(state);
        self.wake.notify_waiters();
        reader
    }

    /// Whether `reader` is the one in charge.
    pub(super) fn is_read_by(&self, reader: u64) -> bool {
        self.state.lock().reader == reader
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().frames.is_empty()
    }

    /// Next message for `reader`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a message is either returned or still here.
    pub(super) async fn next(&self, reader: u64) -> Item {
        loop {
            let woken = self.wake.notified();
            tokio::pin!(woken);
            // Before the look, so that nothing falls between look and wait.
            woken.as_mut().enable();
            let item = self.state.lock().take(reader);
            if let Some(item) = item {
                return item;
            }
            woken.await;
        }
    }
}

impl State {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes().len();
        self.frames.push_back(frame);
    }

    fn take(&mut self, reader: u64) -> Option<Item> {
        if reader != self.reader {
            return Some(Item::Replaced);
        }
        if let Some(frame) = self.frames.pop_front() {
            self.bytes -= frame.bytes().len();
            return Some(Item::Frame(frame));
        }
        self.end.clone().map(Item::End)
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    fn frame(text: &str) -> Frame {
        Frame::parse(text.to_owned().into(), &Limits::default()).unwrap()
    }

    fn news() -> Frame {
        frame(r#"{"jsonrpc":"2.0","method":"n"}"#)
    }

    fn result() -> Frame {
        frame(r#"{"jsonrpc":"2.0","id":1,"result":1}"#)
    }

    async fn kinds(queue: &Queue, reader: u64) -> String {
        let mut seen = String::new();
        loop {
            match queue.next(reader).await {
                Item::Frame(frame) => match frame.kind() {
                    Kind::Request => seen.push('?'),
                    Kind::Notification => seen.push('n'),
                    Kind::Result | Kind::Error => seen.push('='),
                },
                Item::End(end) => return format!("{seen} {end:?}"),
                Item::Replaced => return format!("{seen} replaced"),
            }
        }
    }

    #[tokio::test]
    async fn the_result_has_room_in_a_full_queue() {
        let queue = Queue::new(1 << 20);
        assert_eq!(queue.offer(news(), 2), Admission::Taken);
        assert_eq!(queue.offer(news(), 2), Admission::Taken);
        assert_eq!(queue.offer(news(), 2), Admission::Full);
        queue.finish(result());
        assert_eq!(queue.offer(news(), 2), Admission::Closed);
        assert_eq!(kinds(&queue, 0).await, "nn= Done");
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let queue = Queue::new(news().bytes().len() * 2);
        for expected in [Admission::Taken, Admission::Taken, Admission::Full] {
            assert_eq!(queue.offer(news(), FRAMES_MAX), expected);
        }
    }

    #[tokio::test]
    async fn what_waits_is_read_before_the_end() {
        let queue = Queue::new(1 << 20);
        queue.offer(news(), FRAMES_MAX);
        queue.end(End::Broken("gone".into()));
        queue.end(End::Done);
        assert_eq!(kinds(&queue, 0).await, r#"n Broken("gone")"#);
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_told_that_it_was_replaced() {
        let queue = Queue::new(1 << 20);
        let first = queue.read();
        let (seen, second) = tokio::join!(kinds(&queue, first), async { queue.read() });
        assert_eq!(seen, " replaced");
        assert!(queue.is_read_by(second));
        queue.offer(news(), FRAMES_MAX);
        queue.end(End::Done);
        assert_eq!(kinds(&queue, second).await, "n Done");
    }

    #[tokio::test]
    async fn requests_can_be_taken_out() {
        let queue = Queue::new(1 << 20);
        queue.offer(news(), FRAMES_MAX);
        queue.offer(
            frame(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#),
            FRAMES_MAX,
        );
        queue.offer(news(), FRAMES_MAX);
        assert_eq!(queue.take_requests().len(), 1);
        queue.end(End::Done);
        assert_eq!(kinds(&queue, 0).await, "nn Done");
    }
}
