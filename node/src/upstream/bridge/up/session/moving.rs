//! A session that leaves a node, and goes on at another.
//!
//! ```text
//! session, its streams ──[leave]──► state ──[written, read elsewhere]──► state ──[resume]──► session, its streams
//! ```
//! Neither its client nor its server hears of that. What has no place in the state is made again: the streams of calls
//! from what is known of each, those of news from what the session wants to hear.

use lockgate_proto::jsonrpc::Kind;

use super::begun::{First, Left};
use super::*;
use crate::upstream::bridge::down::Kept;
use crate::upstream::bridge::up::stream::Leg;

impl Session {
    /// Ends on this node, to go on elsewhere: gives what it is made of. `streams` are those of its calls. A call whose
    /// server has the word does not go on, as nobody could say whether it was done: it ends as if its client left.
    pub(in super::super) async fn leave(self, mut streams: Vec<UpStream>) -> State {
        streams.retain_mut(UpStream::leave);
        let inner = &self.inner;
        inner.ear.close().await;
        *inner.seat.lock() = None;
        let state = inner.state.lock().clone();
        // Now they may take what they have left with them.
        drop(streams);
        state
    }

    /// Goes on here with what it was elsewhere. Gives the streams of the calls that go on, too.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] for the tasks that it remembers. Nothing was done then, and another node may have room.
    pub(in super::super) async fn resume(
        shared: Arc<Shared>,
        key: SessionKey,
        mut state: State,
        now_ms: u64,
    ) -> Result<(Self, Vec<UpStream>), NoRoom> {
        state.tasks.expire(now_ms);
        let calls = state.calls.clone();
        let session = Self::over(shared, key, state, Clock::set_to(now_ms));
        session.weigh(&session.state().tasks)?;
        let inner = &session.inner;
        inner.ear.turn().await.again(&inner.shared, &inner.key);
        let calls = calls.into_iter();
        let streams = calls.filter_map(|(serial, begun)| session.take_up(serial, begun));
        let streams = streams.collect();
        Ok((session, streams))
    }

    /// A stream in the place of one that was left, or lost. `None`, and the end of the call, where its server had the
    /// word.
    fn take_up(&self, serial: Serial, begun: Begun) -> Option<UpStream> {
        let First(first) = begun.first;
        let call = Call {
            session: self.clone(),
            asked: begun.asked,
            first,
            class: begun.class,
        };
        let mut stream = UpStream::over(call, serial, self.waker(serial), begun.followed);
        let mut update = None;
        if let Some(left) = begun.left {
            stream.refitted = left.is_refitted;
            stream.queue = left.unread.into_iter().map(|Kept(frame)| frame).collect();
            update = left.update;
        }
        let last = stream.queue.back().map(Frame::kind);
        if matches!(last, Some(Kind::Result | Kind::Error)) {
            // It is over, but for what the client has to read.
            self.end(serial);
        } else if self.state().rounds.is_with_client(serial) {
            stream.leg = Leg::Asking;
        } else if let Some(Kept(frame)) = update {
            stream.sent = frame.clone();
            stream.leg = Leg::Sending(stream.call.sending(frame));
        } else if stream.followed.is_some() {
            stream.poll();
        } else {
            return None;
        }
        Some(stream)
    }
}

impl UpStream {
    /// Raw id of the client's request.
    pub(in super::super) fn request_id(&self) -> &str {
        self.call.id()
    }

    /// Leaves what it knows with its session. Whether the call goes on without it.
    fn leave(&mut self) -> bool {
        let goes_on = match &self.leg {
            Leg::Asking | Leg::Waiting(_) => true,
            Leg::Reading(_) | Leg::Sending(_) => self.followed.is_some(),
            Leg::Done => !self.queue.is_empty(),
        };
        if !goes_on {
            return false;
        }
        let has_sent = matches!(self.leg, Leg::Reading(_) | Leg::Sending(_));
        let is_update = has_sent && self.sent.method() == method::TASKS_UPDATE;
        let begun = Begun {
            // A task that nobody follows any more is cancelled, and this one is.
            followed: self.followed.take(),
            left: Some(Left {
                is_refitted: self.refitted,
                update: is_update.then(|| Kept(self.sent.clone())),
                unread: self.queue.drain(..).map(Kept).collect(),
            }),
            ..Begun::new(&self.call, None)
        };
        self.call.session.state().calls.insert(self.serial, begun);
        true
    }
}
