//! What a child may not do, beyond what its user may not: gain rights by running a program, leave a memory dump behind,
//! or open descriptors without end. Linux only; elsewhere nothing is done.

use std::io;

use rustix::process::Pid;

/// Most descriptors that a child may have open, if we may have more ourselves. Source: an order of magnitude above what
/// servers that watch a tree of files were seen to need, two below what a system has to give away.
#[cfg(target_os = "linux")]
const DESCRIPTORS_MAX: u64 = 16_384;

/// Keeps what this thread starts from now on from gaining rights through set-user-id programs and file capabilities.
/// The thread loses the same for good, which costs it nothing: it runs no programs of its own.
///
/// # Errors
///
/// Fails on a kernel older than 3.5.
pub(super) fn renounce_rights() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Limits a process that was just started: no memory dump, which would hold its secrets, and an end to its descriptors.
/// What it has started in the meantime goes without.
pub(super) fn limit(process: Pid) {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

        let ours = getrlimit(Resource::Nofile);
        let capped = |ours: Option<u64>| Some(ours.unwrap_or(u64::MAX).min(DESCRIPTORS_MAX));
        let descriptors = Rlimit {
            current: capped(ours.current),
            maximum: capped(ours.maximum),
        };
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        for (resource, limit) in [(Resource::Core, none), (Resource::Nofile, descriptors)] {
            match prlimit(Some(process), resource, limit) {
                // One that has ended already needs no limit.
                Ok(_) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => {
                    tracing::warn!(?resource, %error, "a child could not be limited");
                }
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _unlimited = process;
}
