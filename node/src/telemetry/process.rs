//! What the system says about this process.

use std::fs;

/// Use of resources at one moment. `None` where the system has no `/proc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Memory in RAM, in bytes.
    pub rss_bytes: Option<u64>,
    /// File descriptors.
    pub open_fds: Option<u64>,
}

impl Process {
    /// Asks the system. Reads two small files of `/proc`, which never wait for a disk.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").ok();
        Self {
            rss_bytes: status.as_deref().and_then(rss_bytes),
            open_fds: open_fds(),
        }
    }
}

/// `VmRSS` of `/proc/self/status`, which is always in kB.
fn rss_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn open_fds() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that is being read.
    u64::try_from(entries).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(
            rss_bytes("Name:\tx\nVmRSS:\t    1234 kB\n"),
            Some(1_263_616)
        );
        assert_eq!(rss_bytes("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_descriptors() {
        let process = Process::read();
        assert!(process.rss_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(process.open_fds.is_some_and(|fds| fds >= 3));
    }
}
