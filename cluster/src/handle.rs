//! `Cluster`: all that the gateway sees of the replicated truth.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use aws_lc_rs::rand;
use tokio::sync::{mpsc, oneshot, watch};

use crate::Clock;
use crate::command::{Command, NodesCommand, Reply, SecretsCommand, Speaks};
use crate::committer::{self, Committer, Message};
use crate::error::{OpenError, ProposeError, ReadError};
use crate::keyring::Keyring;
use crate::machine::Machine;
use crate::secret::Secret;
use crate::store::{self, DurableLog, Lock};
use crate::view::View;

/// Name of the node in a cluster of one.
const SOLE_NODE: &str = "n1";
/// Proposals that may wait for the thread that commits them.
const INBOX_MAX: usize = 1024;

/// The replicated truth. Cheap to clone; all clones are one.
///
/// One node holds it in an embedded store. What is proposed is on the disk before the answer comes.
#[derive(Clone, Debug)]
pub struct Cluster {
    inbox: mpsc::Sender<Message>,
    views: watch::Receiver<Arc<View>>,
}

impl Cluster {
    /// Opens the state in `data_dir`, which is created when it is missing, and counts the start of this node. The
    /// first time ever it also draws the keyring. Reads and writes files, so call it before the node serves.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when another process has the directory, or when something in it is missing, damaged or open to
    /// others. Nothing is ever replaced by an empty state.
    pub fn open(data_dir: &Path, clock: Clock) -> Result<Self, OpenError> {
        store::create_private_dir(data_dir)?;
        let lock = Lock::take(data_dir)?;
        let dir = data_dir.join("cluster");
        store::create_private_dir(&dir)?;
        let key = store::read_or_create_key(&dir)?;
        let (mut log, loaded) = DurableLog::open(&dir)?;
        let snapshot_index = loaded.snapshot.as_ref().map_or(0, |(index, _)| *index);
        let mut machine = committer::replay(&log, loaded)?;

        let at_ms = committer::now_ms(clock);
        if machine.parts().secrets().keyring().is_none() {
            let keyring = Keyring::generate().ok_or(OpenError::NoRandomness)?;
            let envelope = keyring.to_envelope(&key).ok_or(OpenError::NoRandomness)?;
            committer::commit_one(
                &mut machine,
                &mut log,
                at_ms,
                SecretsCommand::InstallKeyring { envelope }.into(),
            )?;
        }
        if machine.parts().nodes().cluster().is_none() {
            let found = NodesCommand::Found {
                cluster: draw()?,
                name: SOLE_NODE.into(),
                address: String::new(),
                speaks: Speaks::ours(),
            };
            committer::commit_one(&mut machine, &mut log, at_ms, found.into())?;
        }
        let keyring = open_keyring(&machine, &key, &dir)?;
        committer::commit_one(
            &mut machine,
            &mut log,
            at_ms,
            NodesCommand::Boot {
                name: SOLE_NODE.into(),
                address: String::new(),
                nonce: draw()?,
                speaks: Speaks::ours(),
            }
            .into(),
        )?;

        let view = View::new(
            machine.parts().clone(),
            Arc::new(keyring),
            Arc::from(SOLE_NODE),
        );
        let (publish, views) = watch::channel(Arc::new(view));
        let (inbox, messages) = mpsc::channel(INBOX_MAX);
        let committer = Committer {
            machine,
            log,
            lock,
            clock,
            views: publish,
            snapshot_index,
        };
        // Ends when the last handle is gone or `close` is called; a thread of its own because it waits for the disk.
        let spawned = thread::Builder::new()
            .name("cluster-commit".to_owned())
            .spawn(move || committer.run(messages));
        match spawned {
            Ok(_detached) => Ok(Self { inbox, views }),
            Err(source) => Err(OpenError::Io {
                what: "start the thread for",
                path: dir,
                source,
            }),
        }
    }

    /// Carries out `command`: when the answer is there, the change is on the disk and in [`Cluster::view`].
    ///
    /// # Errors
    ///
    /// [`ProposeError::Refused`] when the state doesn't allow it; the other cases mean that this node takes no
    /// changes any more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the command back.
    pub async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        let (reply, answer) = oneshot::channel();
        self.inbox
            .send(Message::Propose { command, reply })
            .await
            .map_err(|_| ProposeError::Closed)?;
        // A committer that ended before it answered can't say whether the command was written.
        answer.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Waits until everything that was answered before is in the state, and returns it (a linearizable read).
    ///
    /// # Errors
    ///
    /// [`ReadError`] when this node can't tell what the newest state is.
    pub async fn read(&self) -> Result<Arc<View>, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.inbox
            .send(Message::Read { reply })
            .await
            .map_err(|_| ReadError::Closed)?;
        answer.await.map_err(|_| ReadError::Closed)
    }

    /// The state as this node knows it. Never waits.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// Follows the state: every change of it, the latest only. The channel closes when this node takes no changes any
    /// more, which after anything but [`Cluster::close`] means that its store has failed and the node should stop.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// Finishes what was proposed before and releases the data directory. Later proposals are refused.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inbox.send(Message::Close { done }).await.is_ok() {
            // An error means that the committer has ended by itself, and with it its hold on the directory.
            let _ended = closed.await;
        }
    }
}

fn draw<const N: usize>() -> Result<[u8; N], OpenError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| OpenError::NoRandomness)?;
    Ok(bytes)
}

fn open_keyring(machine: &Machine, key: &Secret, dir: &Path) -> Result<Keyring, OpenError> {
    machine
        .parts()
        .secrets()
        .keyring()
        .and_then(|envelope| Keyring::from_envelope(envelope, key))
        .ok_or_else(|| OpenError::KeyFileForeign {
            path: dir.join("key"),
        })
}
