//! Room on disks: what is to be done when there is none, and how that is told from other failures.

use std::io::{self, ErrorKind};

/// What to do about a disk without room.
pub(crate) const MAKE_ROOM: &str =
    "make room on that disk, or raise the quota there; what was acknowledged is kept";

/// Whether a write failed because there is no room. A bound on the size of files (`ulimit -f`) leaves none either.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// From now on a write beyond the bound on the size of files fails. Otherwise the system ends the process without a
/// word, by `SIGXFSZ`.
///
/// Processes that this one starts are ended as ever: what a handler catches is not caught after `exec`.
pub(crate) fn outlive_file_bound() {
    #[cfg(unix)]
    {
        use rustix::process::Signal;
        use tokio::signal::unix::{SignalKind, signal};

        // A handler stays when its runtime is gone. Without event loop nothing is started that writes.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        if let Ok(runtime) = runtime {
            let _entered = runtime.enter();
            let _handled = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn every_bound_on_what_may_be_written_is_a_lack_of_room() {
        // ENOSPC, EDQUOT and EFBIG of Linux.
        for (code, is_so) in [(28, true), (122, true), (27, true), (13, false), (5, false)] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(is_full(&error), is_so, "{error}");
        }
    }
}
