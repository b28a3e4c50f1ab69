//! The tasks of one process: its two pipes, its log, and the one that waits for its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::port::{LineSink, LineSource, Sink, Source, SourceError};
use super::process::{Leader, Started};
use super::stderr;
use crate::task::spawn_named;
use crate::upstream::transport::channel::{Hub, Queued};

/// How long the rest of the output is read once the process has ended. It is there already, unless a process that
/// left the group holds the pipe.
const REST: Duration = Duration::from_secs(1);

/// The tasks round one process. All of them end with it.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) hub: Arc<Hub>,
    /// Asks for the end.
    pub(super) stop: CancellationToken,
    /// Place among the processes that may live; given back when this one is reaped.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// Why a process is ended.
enum Why {
    Exited(String),
    Stopped,
    OutputClosed,
    Output(SourceError),
    InputClosed,
}

impl Supervisor {
    /// Starts the tasks. They end with the process; the process ends when `stop` is cancelled.
    pub(super) fn spawn(
        self,
        started: Started,
        lines: mpsc::Receiver<Queued>,
        line_bytes_max: usize,
    ) {
        let Started {
            leader,
            stdin,
            stdout,
            stderr,
        } = started;
        let hub = &self.hub;
        let source = LineSource::new(stdout, line_bytes_max);
        let output = spawn_named("stdio-output", read(source, Arc::clone(hub)));
        let input = write(LineSink::new(stdin), lines, Arc::clone(hub));
        let input = spawn_named("stdio-input", input);
        let log = stderr::log_lines(hub.server().clone(), stderr);
        let log = spawn_named("stdio-stderr", log);
        // Detached: it ends with the process, which every way out of `run` has reaped.
        let _detached = spawn_named("stdio-child", self.run(leader, [input, log], output));
    }

    async fn run(
        self,
        mut leader: Leader,
        [mut input, log]: [JoinHandle<()>; 2],
        mut output: JoinHandle<Result<(), SourceError>>,
    ) {
        let server = self.hub.server().clone();
        let pid = leader.pid();
        info!(%server, pid, "child started");
        let why = tokio::select! {
            how = leader.ended() => Why::Exited(how),
            () = self.stop.cancelled() => Why::Stopped,
            end = &mut output => match end {
                Ok(Err(error)) => Why::Output(error),
                _ => Why::OutputClosed,
            },
            _ = &mut input => Why::InputClosed,
        };
        if !matches!(why, Why::InputClosed) {
            // Closes the child's input. Afterwards the count of delivered lines is final.
            input.abort();
            let _aborted = input.await;
        }
        let output_is_open = !matches!(why, Why::Output(_) | Why::OutputClosed);
        let how = match why {
            Why::Exited(how) => how,
            Why::Stopped => format!("stopped: {}", leader.stop().await),
            Why::OutputClosed => format!("closed its output and {}", leader.stop().await),
            Why::InputClosed => format!("closed its input and {}", leader.stop().await),
            Why::Output(error) => {
                leader.kill().await;
                error.to_string()
            }
        };
        if output_is_open && timeout(REST, &mut output).await.is_err() {
            output.abort();
        }
        if self.stop.is_cancelled() {
            info!(%server, pid, how, "child ended");
        } else {
            warn!(%server, pid, how, "child ended by itself");
        }
        self.hub.on_ended(&how);
        drop(self.place);
        let rest = log.abort_handle();
        if timeout(REST, log).await.is_err() {
            rest.abort();
        }
    }
}

async fn read(mut source: impl Source, hub: Arc<Hub>) -> Result<(), SourceError> {
    while let Some(down) = source.next().await? {
        hub.on_down(down);
    }
    Ok(())
}

async fn write(mut sink: impl Sink, mut lines: mpsc::Receiver<Queued>, hub: Arc<Hub>) {
    while let Some(queued) = lines.recv().await {
        let n = queued.up.n;
        if let Err(error) = sink.write(queued.up.clone()).await {
            debug!(server = %hub.server(), %error, "input closed");
            return;
        }
        hub.on_delivered(n);
    }
}
