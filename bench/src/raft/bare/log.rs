//! The log of the bare engine: all of it in memory, and on the disk, too, if it has one.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    ops::RangeBounds,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openraft::{
    EntryPayload, LogState, OptionalSend, RaftLogReader,
    entry::RaftEntry as _,
    storage::{IOFlushed, RaftLogStorage},
};

use super::{Entry, LogId, TypeConfig, Vote, disk::Disk};

/// Log and vote of one node. Clones are readers of the same log.
#[derive(Clone, Debug)]
pub(super) struct LogStore {
    state: Arc<Mutex<State>>,
    disk: Option<Disk>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<u64, Entry>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
}

impl LogStore {
    pub(super) fn new(disk: Option<Disk>) -> Self {
        Self {
            state: Arc::default(),
            disk,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is written of an entry: where it stands, and what it says.
fn record(entry: &Entry) -> (u64, Vec<u8>) {
    let mut bytes = entry
        .log_id
        .committed_leader_id()
        .term
        .to_le_bytes()
        .to_vec();
    if let EntryPayload::Normal(write) = &entry.payload {
        bytes.extend_from_slice(&write.register.to_le_bytes());
        bytes.extend_from_slice(&write.value);
    }
    (entry.index(), bytes)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let state = self.state();
        Ok(state
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.state().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.state();
        let last = state.entries.last_key_value();
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: last.map(|(_, entry)| entry.log_id).or(state.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.state().vote = Some(*vote);
        match &self.disk {
            Some(disk) => disk.vote(format!("{vote}").into_bytes()).await,
            None => Ok(()),
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.state().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.state().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        {
            let mut state = self.state();
            for entry in entries {
                if self.disk.is_some() {
                    records.push(record(&entry));
                }
                state.entries.insert(entry.index(), entry);
            }
        }
        match &self.disk {
            Some(disk) => disk.append(records, callback).await,
            None => {
                callback.io_completed(Ok(()));
                Ok(())
            }
        }
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |last| last.index() + 1);
        let removed = self.state().entries.split_off(&from);
        match (&self.disk, removed.last_key_value()) {
            (Some(disk), Some((last, _))) => disk.remove(from..last + 1).await,
            _ => Ok(()),
        }
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let first = {
            let mut state = self.state();
            state.purged = Some(upto);
            let kept = state.entries.split_off(&(upto.index() + 1));
            let removed = std::mem::replace(&mut state.entries, kept);
            removed.first_key_value().map(|(first, _)| *first)
        };
        match (&self.disk, first) {
            (Some(disk), Some(first)) => disk.remove(first..upto.index() + 1).await,
            _ => Ok(()),
        }
    }
}
