//! Memory of a process.

use std::fs;

use serde::Serialize;

use crate::error::{Error, Result};

/// Memory in bytes, from `/proc/PID/smaps_rollup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Pages in memory, those shared with other processes included.
    pub(crate) rss: u64,
    /// The same with shared pages divided among their users.
    pub(crate) pss: u64,
}

impl Memory {
    /// Reads `/proc`.
    pub(crate) fn read(pid: u32) -> Result<Self> {
        let unreadable = || Error::io(format!("read the memory of process {pid}"));
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).map_err(unreadable())?;
        parse(&text).ok_or_else(|| unreadable()(std::io::ErrorKind::InvalidData.into()))
    }
}

fn parse(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    Some(Memory {
        rss: field("Rss:")?,
        pss: field("Pss:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Memory, parse};

    #[test]
    fn kilobytes_become_bytes() {
        let text = "55-7ff ---p 00000000 00:00 0 [rollup]\nRss:                1024 kB\nPss:                 512 kB\nPss_Dirty:           100 kB\n";
        let memory = Memory {
            rss: 1 << 20,
            pss: 512 << 10,
        };
        assert_eq!(parse(text), Some(memory));
    }

    #[test]
    fn our_own_memory_is_readable() {
        assert!(Memory::read(std::process::id()).unwrap().pss > 0);
    }
}
