//! The thread that writes the buffer out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};

use super::handle::Shared;
use super::line::{event, key};
use super::sink::Sink;

/// Lines that come within this time are written together.
const COALESCE: Duration = Duration::from_millis(5);
/// Between attempts when writing fails.
const RETRY: Duration = Duration::from_millis(100);
/// A buffer that a burst has made larger gives its memory back.
const IDLE_BYTES_MAX: usize = 1 << 20;

/// State of the thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    sink: Box<dyn Sink>,
    /// Taken out of the shared buffer and not written yet from `offset` on.
    pending: Vec<u8>,
    offset: usize,
}

/// What to do next, as read from the shared state.
struct Orders {
    reopen: bool,
    /// Number of a flush that is done once what was taken is written and synced.
    flush: Option<u64>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, sink: Box<dyn Sink>) -> Self {
        Self {
            shared,
            sink,
            pending: Vec::new(),
            offset: 0,
        }
    }

    /// Runs until it is told to stop and has tried to write what there is.
    pub(super) fn run(mut self) {
        loop {
            let orders = self.await_orders();
            let result = self.carry_out(&orders);
            let failed = result.is_err();
            let wait = match result {
                Ok(()) => None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                // A full pipe, set not to block by whoever made it, is no failure; the bound of the buffer holds.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(COALESCE),
                Err(error) => {
                    self.note_failure(&error);
                    Some(RETRY)
                }
            };
            let mut state = self.shared.state.lock();
            if state.stop && (wait.is_some() || self.pending.is_empty() && state.buffer.is_empty())
            {
                return;
            }
            // The order stands until it is carried out.
            state.reopen |= failed && orders.reopen;
            if let Some(wait) = wait {
                self.shared.wake.wait_for(&mut state, wait);
            }
        }
    }

    /// Waits for lines or orders, lets lines gather for a moment, and takes them.
    fn await_orders(&mut self) -> Orders {
        let mut state = self.shared.state.lock();
        while self.pending.is_empty() && state.buffer.is_empty() && !state.urgent() {
            state.idle = true;
            self.shared.wake.wait(&mut state);
        }
        state.idle = false;
        if self.pending.is_empty() && !state.urgent() {
            self.shared.wake.wait_for(&mut state, COALESCE);
        }
        if self.pending.is_empty() {
            std::mem::swap(&mut state.buffer, &mut self.pending);
        }
        let flush = (state.flush_done < state.flush_wanted && state.buffer.is_empty())
            .then_some(state.flush_wanted);
        Orders {
            reopen: std::mem::take(&mut state.reopen),
            flush,
        }
    }

    fn carry_out(&mut self, orders: &Orders) -> io::Result<()> {
        if orders.reopen {
            self.sink.reopen()?;
            // The part of a line that is in the old file would make no sense without its beginning in the new one.
            let written = &self.pending[..self.offset];
            self.offset = written
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
        }
        while self.offset < self.pending.len() {
            match self.sink.write(&self.pending[self.offset..])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => self.offset += n,
            }
        }
        if orders.flush.is_some() {
            self.sink.sync()?;
        }
        self.note_success(orders);
        Ok(())
    }

    fn note_success(&mut self, orders: &Orders) {
        let n_bytes = self.pending.len() as u64;
        self.pending.clear();
        self.offset = 0;
        if self.pending.capacity() > IDLE_BYTES_MAX {
            self.pending.shrink_to(IDLE_BYTES_MAX);
        }
        let mut state = self.shared.state.lock();
        state.written += n_bytes;
        state.flush_done = orders.flush.unwrap_or(state.flush_done);
        let recovered = std::mem::replace(&mut state.failed, false);
        let lost = std::mem::take(&mut state.lost);
        if lost > 0 {
            self.shared.put(&mut state, event!("security"), |line| {
                line.plain(key!("what"), "audit_lines_lost");
                line.number(key!("count"), lost);
            });
        }
        drop(state);
        self.shared.drained.notify_all();
        if recovered {
            info!(lost, "audit log takes records again");
        }
    }

    fn note_failure(&self, error: &io::Error) {
        let already = std::mem::replace(&mut self.shared.state.lock().failed, true);
        if self.sink.is_over(error) {
            self.shared.over.cancel();
            // Whoever has just looked has begun to wait by now.
            drop(self.shared.state.lock());
            self.shared.drained.notify_all();
        } else if !already {
            error!(%error, "audit log cannot be written, calls are refused until it can");
        }
    }
}
