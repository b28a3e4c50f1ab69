//! A process of our own: its environment, its group, its end.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret;
use tokio::process::{Child as Process, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::confine;
use super::settings::ChildSettings;

/// All that a child gets of our environment: where programs and files are, and how to speak to people.
const ENVIRONMENT_KEPT: [&str; 9] = [
    "PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "TERM",
];

/// How long a child may take to end by itself, after its input closed and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// A process that was just started, and its pipes.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) leader: Leader,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// Starts the program as leader of its own process group.
///
/// # Errors
///
/// Fails when the program cannot be started.
pub(super) async fn start(settings: Arc<ChildSettings>) -> io::Result<Started> {
    // exec waits for the disk that the program is on.
    let spawned = tokio::task::spawn_blocking(move || {
        confine::renounce_rights()?;
        let process = command(&settings)
            .spawn()
            .map_err(|error| unstarted(&settings, &error))?;
        let id = process
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(id) = id {
            // Surely still its own: nobody has waited for it yet.
            confine::limit(id);
        }
        Ok::<_, io::Error>((process, id))
    });
    let (mut process, group) = spawned.await.map_err(io::Error::other)??;
    let pipes = (
        process.stdin.take(),
        process.stdout.take(),
        process.stderr.take(),
    );
    let (Some(group), (Some(stdin), Some(stdout), Some(stderr))) = (group, pipes) else {
        return Err(io::Error::other("the process has no id or no pipes"));
    };
    Ok(Started {
        leader: Leader {
            process,
            group,
            reaped: false,
        },
        stdin,
        stdout,
        stderr,
    })
}

/// Names what could not be started: the system does not say whether it misses the program or the directory.
fn unstarted(settings: &ChildSettings, error: &io::Error) -> io::Error {
    let program = &settings.command;
    let place = match &settings.cwd {
        Some(cwd) => format!(" in {}", cwd.display()),
        None => String::new(),
    };
    let what = format!("`{program}` cannot be started{place}: {error}");
    io::Error::new(error.kind(), what)
}

fn command(settings: &ChildSettings) -> Command {
    let mut command = std::process::Command::new(&settings.command);
    command.args(&settings.args).env_clear();
    for name in ENVIRONMENT_KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for (name, value) in &settings.env {
        command.env(name, value.expose_secret());
    }
    if let Some(directory) = &settings.cwd {
        command.current_dir(directory);
    }
    command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut command = Command::from(command);
    // The last resort, with `Leader::drop`; it reaps, too.
    command.kill_on_drop(true);
    command
}

/// The process that we started. Its group never outlives it.
#[derive(Debug)]
pub(super) struct Leader {
    process: Process,
    group: Pid,
    reaped: bool,
}

impl Leader {
    /// Process id.
    pub(super) fn pid(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits for its end, reaps it and ends what is left of its group. Says how it ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn ended(&mut self) -> String {
        let status = self.process.wait().await;
        // At once: while a process of the group lives, the kernel does not give the number to another, and when
        // none is left this very moment is too short for it to be given again.
        self.signal(Signal::KILL);
        self.reaped = true;
        status.map_or_else(|error| format!("was lost: {error}"), describe)
    }

    /// Ends it, after its input was closed: waits, SIGTERM, waits, SIGKILL, all to the group.
    pub(super) async fn stop(&mut self) -> String {
        for signal in [Signal::TERM, Signal::KILL] {
            if let Ok(how) = timeout(GRACE, self.ended()).await {
                return how;
            }
            self.signal(signal);
        }
        self.ended().await
    }

    /// Ends it now.
    pub(super) async fn kill(&mut self) -> String {
        self.signal(Signal::KILL);
        self.ended().await
    }

    fn signal(&self, signal: Signal) {
        // The only failure is that nobody is left to hear it.
        let _gone = kill_process_group(self.group, signal);
    }
}

/// The last resort, should the task that owns the process be dropped with the runtime: the group is still surely
/// ours, because its leader was not reaped.
impl Drop for Leader {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
