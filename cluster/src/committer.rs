//! The thread that owns machine and log: it takes proposals in order, makes a batch of what has queued up durable
//! with one sync, applies it, publishes the state, and only then answers.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::{Buf, Bytes};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, warn};

use crate::Clock;
use crate::command::wire::{WireError, decode_entry, encode_entry};
use crate::command::{Command, Entry, Reply};
use crate::error::ProposeError;
use crate::machine::{Machine, Position, Refusal, snapshot};
use crate::store::{DurableLog, Lock, StoreError};
use crate::view::View;

/// Proposals that one sync may cover.
const BATCH_MAX: usize = 256;
/// Entries after which the log is replaced by a snapshot.
const ENTRIES_PER_SNAPSHOT: u64 = 4096;

/// What the handle sends.
#[derive(Debug)]
pub(crate) enum Message {
    /// Carry this out.
    Propose {
        command: Command,
        reply: oneshot::Sender<Result<Reply, ProposeError>>,
    },
    /// Answer with the state after everything that came before.
    Read { reply: oneshot::Sender<Arc<View>> },
    /// Finish what came before, release the data directory, answer, end.
    Close { done: oneshot::Sender<()> },
}

/// State of the thread.
pub(crate) struct Committer {
    pub(crate) machine: Machine,
    pub(crate) log: DurableLog,
    pub(crate) lock: Lock,
    pub(crate) clock: Clock,
    pub(crate) views: watch::Sender<Arc<View>>,
    pub(crate) snapshot_index: u64,
}

type Waiting = oneshot::Sender<Result<Reply, ProposeError>>;

impl Committer {
    /// Runs until the handle is gone, asks to close, or the store fails. After a failed sync nothing that this
    /// process believes about the disk can be trusted, so there is no second attempt.
    pub(crate) fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        while let Some(first) = inbox.blocking_recv() {
            let mut proposals = Vec::new();
            let mut last = None;
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Propose { command, reply } => proposals.push((command, reply)),
                    other => {
                        last = Some(other);
                        break;
                    }
                }
                if proposals.len() < BATCH_MAX {
                    next = inbox.try_recv().ok();
                }
            }
            if self.commit(proposals).is_err() {
                return;
            }
            match last {
                Some(Message::Read { reply }) => {
                    // Whoever asked may have gone; then nobody needs the answer.
                    let _gone = reply.send(Arc::clone(&self.views.borrow()));
                }
                Some(Message::Close { done }) => {
                    // All of it goes before the answer: whoever has it must find the directory free, the views
                    // ended, and no inbox that still takes a proposal which nobody would answer.
                    let Self {
                        log, lock, views, ..
                    } = self;
                    drop(inbox);
                    drop(log);
                    drop(lock);
                    drop(views);
                    let _gone = done.send(());
                    return;
                }
                Some(Message::Propose { .. }) | None => {}
            }
        }
    }

    fn commit(&mut self, proposals: Vec<(Command, Waiting)>) -> Result<(), StoreError> {
        if proposals.is_empty() {
            return Ok(());
        }
        let (commands, waiting): (Vec<_>, Vec<_>) = proposals.into_iter().unzip();
        let results = match persist_and_apply(
            &mut self.machine,
            &mut self.log,
            now_ms(self.clock),
            commands,
        ) {
            Ok(results) => results,
            Err(failure) => {
                error!(
                    error = &failure as &dyn std::error::Error,
                    "store failed, no further change is taken"
                );
                for reply in waiting {
                    let _gone = reply.send(Err(ProposeError::Unknown));
                }
                return Err(failure);
            }
        };
        let view = self.views.borrow().after(self.machine.parts().clone());
        self.views.send_replace(Arc::new(view));
        for (reply, result) in waiting.into_iter().zip(results) {
            let _gone = reply.send(result.map_err(ProposeError::Refused));
        }
        self.compact_when_due();
        Ok(())
    }

    /// A compaction that fails loses nothing: the entries are still there.
    fn compact_when_due(&mut self) {
        let index = self.machine.position().index;
        if index - self.snapshot_index < ENTRIES_PER_SNAPSHOT {
            return;
        }
        if let Err(failure) = self.log.compact(index, &frame(&self.machine)) {
            warn!(
                error = &failure as &dyn std::error::Error,
                "log not compacted"
            );
        }
        // Also after a failure: the next attempt is due after as many entries again.
        self.snapshot_index = index;
    }
}

/// Carries out one command before the thread runs.
pub(crate) fn commit_one(
    machine: &mut Machine,
    log: &mut DurableLog,
    at_ms: u64,
    command: Command,
) -> Result<(), StoreError> {
    // What is proposed at that time can't be refused: the caller has seen the state.
    let _accepted = persist_and_apply(machine, log, at_ms, vec![command])?;
    Ok(())
}

/// Milliseconds since 1970. A clock before that is a broken clock; what it stamps is shown, never compared.
pub(crate) fn now_ms(clock: Clock) -> u64 {
    let since_epoch = clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

fn persist_and_apply(
    machine: &mut Machine,
    log: &mut DurableLog,
    at_ms: u64,
    commands: Vec<Command>,
) -> Result<Vec<Result<Reply, Refusal>>, StoreError> {
    let entries: Vec<Entry> = commands
        .into_iter()
        .map(|command| Entry {
            at_ms,
            leader_us: 0,
            origin: None,
            command,
        })
        .collect();
    let first = machine.position().index + 1;
    let bodies: Vec<_> = entries
        .iter()
        .map(|entry| encode_entry(entry).to_vec())
        .collect();
    log.append(first, &bodies)?;
    let apply = |(index, entry)| machine.apply(Position { term: 1, index }, entry).result;
    Ok((first..).zip(entries).map(apply).collect())
}

/// Rebuilds the machine from what the log held.
pub(crate) fn replay(
    log: &DurableLog,
    loaded: crate::store::Loaded,
) -> Result<Machine, StoreError> {
    let mut machine = match loaded.snapshot {
        Some((index, body)) => {
            let machine = unframe(body.into()).ok_or_else(|| log.unreadable(index))?;
            if machine.position().index != index {
                return Err(log.unreadable(index));
            }
            machine
        }
        None => Machine::default(),
    };
    for (index, body) in loaded.entries {
        let entry = decode_entry(body.into()).map_err(|_| log.unreadable(index))?;
        // A refused command was refused the first time, too.
        let _same_as_then = machine.apply(Position { term: 1, index }, entry);
    }
    Ok(machine)
}

/// All records of a snapshot, each behind its length.
fn frame(machine: &Machine) -> Vec<u8> {
    let mut body = Vec::new();
    for record in snapshot::records(machine) {
        body.extend_from_slice(&(record.len() as u64).to_le_bytes());
        body.extend_from_slice(&record);
    }
    body
}

fn unframe(mut body: Bytes) -> Option<Machine> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let len = usize::try_from(body.try_get_u64_le().ok()?).ok()?;
        if len > body.len() {
            return None;
        }
        records.push(Ok::<_, WireError>(body.split_to(len)));
    }
    snapshot::restore(records).ok()
}
