//! The thread that brings what was put into sled to the disk, while others go on.
//!
//! sled believes that what it has written is on the disk, though without a sync of ours a power loss can take that away.
//! At the beginning of each segment of its file, of 512 KiB, it notes up to where the log before it is whole, and does not
//! look whether it is when it recovers. The part of a segment that waits for a sync is first vouched for by the second
//! segment behind it. So no more may wait than sled writes into one segment.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::StoreError;

/// So many bytes of sled's file wait until a sync begins. Below the bound by what is written during one.
const SYNC_BYTES: usize = 144 << 10;
/// Whoever adds more waits for a sync to end. Half a segment, because sled frees segments in bursts: for changes that
/// should take 310 KiB it wrote up to 530.
pub(super) const UNSYNCED_BYTES_MAX: usize = 256 << 10;

/// Handle of the thread, which ends with it.
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Number of the last write that is in sled as a whole.
    applied: u64,
    /// Of the last one that a sync covers.
    synced: u64,
    /// Bytes that no sync that has ended covers.
    unsynced: usize,
    /// How many of them the sync covers that is under way.
    syncing: usize,
    asked: bool,
    closing: bool,
    failure: Failure,
}

/// There is no second attempt: after a failed sync nothing is known about the disk.
#[derive(Default)]
enum Failure {
    #[default]
    None,
    New(StoreError),
    Told,
}

impl Syncer {
    /// Starts the thread, with `sync` as what it does about `path`. Writes up to `stored` are on the disk.
    pub(super) fn start(
        path: &Path,
        stored: u64,
        sync: impl Fn() -> Result<(), StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::default());
        {
            let mut state = shared.lock();
            state.applied = stored;
            state.synced = stored;
        }
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("cluster-log-sync".to_owned());
        let name = path.to_owned();
        let thread = thread.spawn(move || theirs.run(|| attempt(&name, &sync)));
        let thread = thread.map_err(|source| StoreError::Io {
            what: "start the thread for",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
            path: path.to_owned(),
        })
    }

    /// Says that so many bytes were put into sled. Waits when too many do.
    pub(super) fn put(&self, bytes: usize) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        state.unsynced += bytes;
        if state.unsynced - state.syncing >= SYNC_BYTES {
            self.ask(&mut state);
        }
        self.wait(state, |state| state.unsynced <= UNSYNCED_BYTES_MAX)
    }

    /// Says that the write of this number is in sled as a whole.
    pub(super) fn applied(&self, number: u64) {
        self.shared.lock().applied = number;
    }

    /// Begins a sync soon, and waits until one has ended that covers the write of this number, which was applied.
    pub(super) fn free(&self, upto: u64) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        self.ask(&mut state);
        self.wait(state, |state| state.synced >= upto)
    }

    /// Whether all went well so far.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.wait(self.shared.lock(), |_| true)
    }

    fn ask(&self, state: &mut State) {
        state.asked = true;
        self.shared.changed.notify_all();
    }

    fn wait(
        &self,
        mut state: MutexGuard<'_, State>,
        is_done: impl Fn(&State) -> bool,
    ) -> Result<(), StoreError> {
        loop {
            match &mut state.failure {
                Failure::None => {}
                failure => return Err(failure.tell(&self.path)),
            }
            if is_done(&state) {
                return Ok(());
            }
            let changed = self.shared.changed.wait(state);
            state = changed.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The thread holds the store open, so it has to be gone before the store can be opened again.
impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It catches what panics.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    /// Nothing that holds this lock can leave the state half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, sync: impl Fn() -> Result<(), StoreError>) {
        loop {
            let mut state = self.lock();
            while !state.asked && !state.closing {
                let changed = self.changed.wait(state);
                state = changed.unwrap_or_else(PoisonError::into_inner);
            }
            if state.closing {
                return;
            }
            state.asked = false;
            // What is put in from here on may or may not be covered.
            let upto = state.applied;
            state.syncing = state.unsynced;
            drop(state);
            let synced = sync();
            let mut state = self.lock();
            match synced {
                Ok(()) => {
                    state.synced = upto;
                    state.unsynced -= state.syncing;
                    state.syncing = 0;
                }
                Err(error) => state.failure = Failure::New(error),
            }
            let failed = !matches!(state.failure, Failure::None);
            drop(state);
            self.changed.notify_all();
            if failed {
                return;
            }
        }
    }
}

impl Failure {
    fn tell(&mut self, path: &Path) -> StoreError {
        match std::mem::replace(self, Self::Told) {
            Self::New(error) => error,
            Self::None | Self::Told => StoreError::Io {
                what: "sync",
                path: path.to_owned(),
                source: io::Error::other("a sync before has failed"),
            },
        }
    }
}

/// A full disk makes sled panic as well as return errors.
fn attempt(path: &Path, sync: &impl Fn() -> Result<(), StoreError>) -> Result<(), StoreError> {
    catch_unwind(AssertUnwindSafe(sync)).unwrap_or_else(|_panic| {
        Err(StoreError::Io {
            what: "sync",
            path: path.to_owned(),
            source: io::Error::other("the store has panicked"),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// One whose syncs say when they begin, and end as the test wants.
    fn syncer() -> (Syncer, Receiver<()>, SyncSender<Result<(), StoreError>>) {
        let (begun, begins) = sync_channel(9);
        let (end, ends) = sync_channel(9);
        let ends = Mutex::new(ends);
        let sync = move || {
            begun.send(()).unwrap();
            ends.lock().unwrap().recv().unwrap()
        };
        (
            Syncer::start(Path::new("log"), 4, sync).unwrap(),
            begins,
            end,
        )
    }

    fn failed() -> StoreError {
        StoreError::Io {
            what: "sync",
            path: PathBuf::from("log"),
            source: io::Error::from_raw_os_error(5),
        }
    }

    #[test]
    fn much_is_synced_while_others_go_on() {
        let (syncer, begins, end) = syncer();
        syncer.put(SYNC_BYTES - 1).unwrap();
        assert!(begins.try_recv().is_err());
        syncer.put(1).unwrap();
        begins.recv().unwrap();
        let meanwhile = UNSYNCED_BYTES_MAX - SYNC_BYTES;
        syncer.put(meanwhile).unwrap();
        end.send(Ok(())).unwrap();
        // What came during the first sync counts for the next one.
        syncer.put(SYNC_BYTES - meanwhile).unwrap();
        begins.recv().unwrap();
        end.send(Ok(())).unwrap();
    }

    #[test]
    fn too_much_waits() {
        let (syncer, begins, end) = syncer();
        thread::scope(|scope| {
            let writer = scope.spawn(|| syncer.put(UNSYNCED_BYTES_MAX + 1));
            begins.recv().unwrap();
            assert!(!writer.is_finished());
            end.send(Ok(())).unwrap();
            writer.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_sync_covers_what_was_applied_before_it_began() {
        let (syncer, begins, end) = syncer();
        syncer.free(4).unwrap();
        begins.recv().unwrap();
        syncer.applied(5);
        end.send(Ok(())).unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| syncer.free(5));
            begins.recv().unwrap();
            end.send(Ok(())).unwrap();
            waits.join().unwrap().unwrap();
        });
        assert_eq!(syncer.shared.lock().synced, 5);
    }

    #[test]
    fn nothing_is_well_after_a_failed_sync() {
        let (syncer, begins, end) = syncer();
        syncer.check().unwrap();
        end.send(Err(failed())).unwrap();
        let told = syncer.free(9).unwrap_err();
        assert_eq!(told.to_string(), "cannot sync `log`");
        begins.recv().unwrap();
        for told in [syncer.check(), syncer.free(1), syncer.put(1)] {
            assert!(told.is_err());
        }
    }

    #[test]
    fn a_panic_is_a_failed_sync() {
        let sync = || panic!("as sled does");
        let syncer = Syncer::start(Path::new("log"), 0, sync).unwrap();
        assert!(syncer.free(1).is_err());
    }
}
