//! A program under our care: bound to its cores, watched until it is ready, asked for more if it listens, ended with us.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::Instant;

use crate::{
    affinity,
    error::{Error, Result},
};

/// Longest wait for a program's first line.
const READY_WAIT: Duration = Duration::from_secs(20);
/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 16 << 10;

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// Name in errors; its log is `NAME.log`.
    pub(crate) name: &'a str,
    /// Core; all of them without.
    pub(crate) cpu: Option<usize>,
    /// Program.
    pub(crate) program: &'a OsStr,
    /// Its arguments.
    pub(crate) arguments: &'a [&'a str],
    /// Environment beside our own.
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// Where its standard error goes.
    pub(crate) directory: &'a Path,
    /// Whether it takes lines and answers each with one.
    pub(crate) is_asked: bool,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    /// Kept open: a program whose output is closed may end itself.
    stdout: ChildStdout,
    /// The first line that it wrote.
    pub(crate) first_line: String,
    /// Time from its start to that line.
    pub(crate) ready_after: Duration,
}

impl Process {
    /// Starts a program and waits for its first line.
    pub(crate) fn start(launch: &Launch<'_>) -> Result<Self> {
        let log = launch.directory.join(format!("{}.log", launch.name));
        let stderr = File::create(&log).map_err(Error::io(format!("create {}", log.display())))?;
        let started = Instant::now();
        let mut child = affinity::pinned(launch.cpu, launch.program)?
            .args(launch.arguments)
            .envs(launch.environment.iter().copied())
            .stdin(if launch.is_asked {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(Error::io(format!("start `{}`", launch.name)))?;
        let line = child
            .stdout
            .take()
            .ok_or_else(|| "it has no output".to_owned())
            .and_then(|mut stdout| Ok((next_line(&mut stdout, READY_WAIT)?, stdout)));
        match line {
            Ok((first_line, stdout)) => Ok(Self {
                name: launch.name.to_owned(),
                stdin: child.stdin.take(),
                child,
                stdout,
                first_line,
                ready_after: started.elapsed(),
            }),
            Err(why) => {
                end(&mut child);
                let log = fs::read_to_string(&log).unwrap_or_default();
                Err(Error::NotReady {
                    name: launch.name.to_owned(),
                    why: format!("{why}\n{}", log.trim_end()),
                })
            }
        }
    }

    /// Starts a verb of this very program.
    pub(crate) fn start_verb(
        name: &str,
        cpu: Option<usize>,
        arguments: &[&str],
        directory: &Path,
        is_asked: bool,
    ) -> Result<Self> {
        Self::start(&Launch {
            name,
            cpu,
            program: &affinity::own_program()?,
            arguments,
            environment: &[],
            directory,
            is_asked,
        })
    }

    /// Sends it a line, and waits up to `limit` for its answer.
    pub(crate) fn ask(&mut self, line: &str, limit: Duration) -> Result<String> {
        let sent = match &mut self.stdin {
            Some(stdin) => stdin.write_all(format!("{line}\n").as_bytes()),
            None => Err(std::io::ErrorKind::Unsupported.into()),
        };
        sent.map_err(Error::io(format!("ask `{}`", self.name)))?;
        next_line(&mut self.stdout, limit).map_err(|why| Error::NotReady {
            name: self.name.clone(),
            why: format!("asked for `{line}`: {why}"),
        })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// A process must not outlive the error that ends the suite.
impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself, which is all that is wanted.
    let _ended = child.kill();
    let _reaped = child.wait();
}

fn next_line(stdout: &mut ChildStdout, limit: Duration) -> Result<String, String> {
    let started = Instant::now();
    let mut line = Vec::new();
    let mut byte = [0_u8; 256];
    loop {
        let left = limit.saturating_sub(started.elapsed());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut watched = [PollFd::new(stdout, PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(0) => return Err(format!("it wrote no line within {limit:?}")),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.to_string()),
        }
        let n = stdout.read(&mut byte).map_err(|error| error.to_string())?;
        line.extend_from_slice(&byte[..n]);
        if let Some(end) = memchr::memchr(b'\n', &line) {
            line.truncate(end);
            return String::from_utf8(line).map_err(|error| error.to_string());
        }
        if n == 0 {
            return Err("it ended".to_owned());
        }
        if line.len() > LINE_BYTES_MAX {
            return Err("its line does not end".to_owned());
        }
    }
}
