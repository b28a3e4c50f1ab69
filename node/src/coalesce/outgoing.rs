//! What the owner of one socket has written, on its way to the kernel.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::runtime::Handle;

use super::queue::{self, Thread};
use crate::task::spawn_named;

/// A write up to this size may wait for others: to copy it is cheap beside what it costs to send it.
pub(super) const SMALL_BYTES_MAX: usize = 2 << 10;
/// Most bytes of one socket that wait.
pub(super) const WAITING_BYTES_MAX: usize = 4 << 10;
/// Parts of a write up to this size together are copied into one buffer, which costs the kernel less than several.
const JOINED_BYTES_MAX: usize = 1 << 10;

/// The writing side of a socket, shared by its owner and the thread that it is enlisted with.
#[derive(Debug)]
pub(super) struct Outgoing(Mutex<State>);

#[derive(Debug)]
struct State {
    socket: OwnedWriteHalf,
    /// Taken from the owner, and not by the kernel. Without room while empty: most connections are silent.
    waiting: BytesMut,
    /// How much the kernel has taken.
    written: u64,
    /// With whom the socket is enlisted.
    enlisted: Option<Thread>,
    /// The kernel has no room for `waiting`, which a task of its own writes as soon as there is.
    full: Option<Rest>,
    /// Why `waiting` could not be written: the owner hears it next.
    error: Option<io::Error>,
    /// To be told of an error, and when there is room again.
    owner: Option<Waker>,
}

/// The task that waits for room.
#[derive(Debug, Default)]
struct Rest(Option<Waker>);

impl Outgoing {
    pub(super) fn new(socket: OwnedWriteHalf) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            socket,
            waiting: BytesMut::new(),
            written: 0,
            enlisted: None,
            full: None,
            error: None,
            owner: None,
        })))
    }

    pub(super) fn written(&self) -> u64 {
        self.0.lock().written
    }

    /// Drops what waits; returns how much the kernel has taken, which is all that it will.
    pub(super) fn abandon(&self) -> u64 {
        let mut state = self.0.lock();
        state.waiting = BytesMut::new();
        let written = state.written;
        let rest = state.full.as_mut().and_then(|rest| rest.0.take());
        drop(state);
        // It ends, and with it its hold on the socket.
        if let Some(rest) = rest {
            rest.wake();
        }
        written
    }

    pub(super) fn poll_write(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        let mut state = self.0.lock();
        if let Some(error) = state.error.take() {
            return Poll::Ready(Err(error));
        }
        if let Some(here) = queue::here()
            && state.may_wait(len, here)
            && queue::is_behind()
        {
            let is_enlisted = state.enlisted.replace(here).is_some();
            slices
                .iter()
                .for_each(|slice| state.waiting.extend_from_slice(slice));
            state.note_owner(cx);
            drop(state);
            if !is_enlisted {
                queue::enlist(Arc::downgrade(self));
            }
            return Poll::Ready(Ok(len));
        }
        ready!(self.poll_pushed(&mut state, cx))?;
        let n = ready!(state.poll_write_now(cx, slices, len))?;
        // Lossless: a buffer is no longer than the address space.
        state.written += n as u64;
        Poll::Ready(Ok(n))
    }

    /// Ready when nothing waits, and when what waits leaves by itself.
    pub(super) fn poll_flush(self: &Arc<Self>, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        let leaves = state.full.is_none()
            && state.error.is_none()
            && (state.waiting.is_empty()
                || state.enlisted.is_some() && state.enlisted == queue::here());
        if leaves {
            return Poll::Ready(Ok(()));
        }
        self.poll_pushed(&mut state, cx)
    }

    pub(super) fn poll_shutdown(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        ready!(self.poll_pushed(&mut state, cx))?;
        Pin::new(&mut state.socket).poll_shutdown(cx)
    }

    /// The thread that this was enlisted with writes what waits.
    pub(super) fn depart(self: &Arc<Self>) {
        let mut state = self.0.lock();
        state.enlisted = None;
        self.push(&mut state);
        // Who waits for room hears of it later.
        let owner = match state.full {
            None => state.owner.take(),
            Some(_) => None,
        };
        let has_failed = state.error.is_some();
        drop(state);
        if let Some(owner) = owner
            && has_failed
        {
            owner.wake();
        }
    }

    /// The owner goes: what waits leaves now, or, if there is no room, as soon as there is.
    pub(super) fn leave(self: &Arc<Self>) {
        let mut state = self.0.lock();
        state.owner = None;
        self.push(&mut state);
    }

    /// Ready when nothing waits any more.
    fn poll_pushed(self: &Arc<Self>, state: &mut State, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.push(state);
        if let Some(error) = state.error.take() {
            return Poll::Ready(Err(error));
        }
        if state.full.is_some() {
            state.note_owner(cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the kernel what waits; a task of its own waits for room if there is none.
    fn push(self: &Arc<Self>, state: &mut State) {
        if state.full.is_some() {
            return;
        }
        let pushed = state.poll_waiting(|socket, bytes| match socket.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            written => Poll::Ready(written),
        });
        // Without a runtime the process is about to end.
        if pushed.is_pending() && Handle::try_current().is_ok() {
            state.full = Some(Rest::default());
            let rest = Arc::clone(self);
            // Ends when the kernel has taken everything, when the connection breaks, and when it is abandoned.
            drop(spawn_named("socket rest", async move {
                poll_fn(|cx| rest.poll_rest(cx)).await;
            }));
        }
    }

    fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        let done = state.poll_waiting(|socket, bytes| Pin::new(socket).poll_write(cx, bytes));
        if done.is_pending() {
            state.full = Some(Rest(Some(cx.waker().clone())));
            return Poll::Pending;
        }
        state.full = None;
        let owner = state.owner.take();
        drop(state);
        if let Some(owner) = owner {
            owner.wake();
        }
        Poll::Ready(())
    }
}

impl State {
    /// Whether `len` bytes may join what waits for `here` to park.
    fn may_wait(&self, len: usize, here: Thread) -> bool {
        (1..=SMALL_BYTES_MAX).contains(&len)
            && self.waiting.len() + len <= WAITING_BYTES_MAX
            && self.full.is_none()
            && self.enlisted.is_none_or(|thread| thread == here)
    }

    fn note_owner(&mut self, cx: &Context<'_>) {
        match &mut self.owner {
            Some(owner) => owner.clone_from(cx.waker()),
            None => self.owner = Some(cx.waker().clone()),
        }
    }

    /// Writes what waits. Ready when nothing does any more, be it because of an error.
    fn poll_waiting(
        &mut self,
        mut write: impl FnMut(&mut OwnedWriteHalf, &[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<()> {
        while !self.waiting.is_empty() {
            match ready!(write(&mut self.socket, &self.waiting)) {
                Ok(0) => self.fail(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.waiting.advance(n);
                    // Lossless: as above.
                    self.written += n as u64;
                }
                Err(error) => self.fail(error),
            }
        }
        self.waiting = BytesMut::new();
        Poll::Ready(())
    }

    fn fail(&mut self, error: io::Error) {
        self.waiting.clear();
        self.error = Some(error);
    }

    fn poll_write_now(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.socket);
        match slices {
            [bytes] => socket.poll_write(cx, bytes),
            _ if len > JOINED_BYTES_MAX => socket.poll_write_vectored(cx, slices),
            _ => {
                let mut joined = [0; JOINED_BYTES_MAX];
                let mut rest = &mut joined[..len];
                for slice in slices {
                    // They fill `rest` exactly.
                    let (room, behind) = rest.split_at_mut(slice.len());
                    room.copy_from_slice(slice);
                    rest = behind;
                }
                socket.poll_write(cx, &joined[..len])
            }
        }
    }
}
