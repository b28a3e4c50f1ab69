//! Cores and priority of this thread, or of a program that replaces this process.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use rustix::{
    process::{
        Signal, getpid, getpriority_process, set_parent_process_death_signal, setpriority_process,
        setsid,
    },
    thread::{CpuSet, sched_setaffinity},
};

use crate::{
    cli::PinArgs,
    error::{Error, Result},
};

/// Niceness of the group that the kernel makes of a session.
const AUTOGROUP: &str = "/proc/self/autogroup";
/// What the kernel says about this process.
const STAT: &str = "/proc/self/stat";
/// Niceness of everything that is measured: before ordinary work, behind what the kernel needs.
const NICE: i32 = -15;

/// Binds the calling thread, and every thread and child that it starts later, to one core.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(Error::Argument {
            key: "--cpu",
            value: cpu.to_string(),
            why: format!("the kernel counts cores below {}", CpuSet::MAX_CPU),
        });
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
        .map_err(|errno| Error::io(format!("use core {cpu}"))(errno.into()))
}

/// Lets the calling thread, and every thread and child that it starts later, run on every core that there is.
fn unpin() -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in 0..CpuSet::MAX_CPU {
        // Those that are not there, or not for us, are left out by the kernel.
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|errno| Error::io("use all cores")(errno.into()))
}

/// Whether this process runs before other work on the machine.
pub(crate) fn is_preferred() -> bool {
    // Where the kernel groups processes by session, the group's niceness is the one that counts.
    fs::read_to_string(AUTOGROUP).map_or_else(
        |_no_groups| getpriority_process(None).is_ok_and(|nice| nice == NICE),
        |group| group.trim_end().ends_with(&format!("nice {NICE}")),
    )
}

/// Whether this process leads a session of its own.
pub(crate) fn leads_session() -> bool {
    // Not `getsid`: the session of a process in a container may have been begun outside of it, and then its
    // number is 0, which rustix does not take for one of a process.
    let session = fs::read_to_string(STAT)
        .ok()
        .and_then(|stat| session_of(&stat));
    session == Some(getpid().as_raw_nonzero().get())
}

/// Field 6 of `/proc/PID/stat`; the program's name in field 2 may hold blanks and brackets.
fn session_of(stat: &str) -> Option<i32> {
    let (_name, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// Puts this process, and every child that it starts later, before other work on the machine,
/// as far as that is allowed.
///
/// # Errors
/// There is no session of our own: going on without would take the caller's shell along.
fn prefer() -> Result<()> {
    if !leads_session() {
        setsid().map_err(io::Error::from).map_err(Error::io(
            "begin a session (a shell's job cannot; use `setsid -w`)",
        ))?;
    }
    let _refused = fs::write(AUTOGROUP, NICE.to_string());
    let _refused = setpriority_process(None, NICE);
    Ok(())
}

/// Replaces this process by a program that is bound to one core or to none. The kernel ends it together with
/// the process that asked, so that a suite which is killed leaves nothing behind.
pub(crate) fn exec_pinned(args: &PinArgs) -> Result<ExitCode> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Error::Argument {
            key: "COMMAND",
            value: String::new(),
            why: "name a program after `--`".to_owned(),
        });
    };
    match args.cpu {
        Some(cpu) => pin(cpu)?,
        None => unpin()?,
    }
    if args.prefer {
        prefer()?;
    }
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(io::Error::from)
        .map_err(Error::io("tie the program to its parent"))?;
    let cause = Command::new(program).args(arguments).exec();
    Err(Error::io(format!("start {}", program.display()))(cause))
}

/// A command that runs `program` on core `cpu` or on all of them, preferred; its arguments follow.
pub(crate) fn pinned(cpu: Option<usize>, program: &OsStr) -> Result<Command> {
    let mut command = Command::new(own_program()?);
    command.args(["pin", "--prefer"]);
    if let Some(cpu) = cpu {
        command.args(["--cpu", &cpu.to_string()]);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// Path of this very program.
pub(crate) fn own_program() -> Result<OsString> {
    env::current_exe()
        .map(PathBuf::into_os_string)
        .map_err(Error::io("find our own program"))
}

#[cfg(test)]
mod tests {
    use super::session_of;

    #[test]
    fn sessions_are_read_behind_any_name_and_outside_of_the_container() {
        assert_eq!(session_of("2504 (cat) R 2496 2496 1955 0 -1"), Some(1955));
        assert_eq!(session_of("7 (a b) c) S 1 7 0 0 -1"), Some(0));
        assert_eq!(session_of("7 (a b"), None);
    }
}
