//! A child process that can be killed, stopped and continued.

use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Longest start of a process: a node waits up to 30 s for a leader.
const START_MAX: Duration = Duration::from_secs(60);

/// Longest end of a process that was asked to.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Ends with the run.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(super) pid: Pid,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts `command`, whose errors go to `log`.
    pub(crate) fn start(command: std::process::Command, log: File) -> anyhow::Result<Self> {
        let program = command.get_program().display().to_string();
        let mut child = Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{program} cannot be started"))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Self {
            pid: pid.context("no process id")?,
            stdout: BufReader::new(stdout).lines(),
            child,
        })
    }

    /// Next line that it prints.
    pub(crate) async fn line(&mut self) -> anyhow::Result<String> {
        let line = tokio::time::timeout(START_MAX, self.stdout.next_line()).await??;
        line.context("it has ended")
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid, signal).context("the process is gone")
    }

    /// The program that it runs by now.
    pub(crate) fn program(&self) -> anyhow::Result<PathBuf> {
        let link = format!("/proc/{}/exe", self.pid.as_raw_nonzero());
        std::fs::read_link(link).context("the process is gone")
    }

    /// SIGKILL; returns when it is gone, which it may be already.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        if !self.is_alive()? {
            return Ok(());
        }
        self.child
            .kill()
            .await
            .context("the process cannot be killed")
    }

    /// SIGTERM; returns when it is gone.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let ended = tokio::time::timeout(STOP_MAX, self.child.wait()).await;
        ended.context("it does not end at SIGTERM")??;
        Ok(())
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(STOP_MAX, self.child.wait()).await;
        Ok(ended.context("it does not end")??)
    }

    pub(crate) fn is_alive(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}
