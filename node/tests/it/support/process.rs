//! What the system says about a process.

use std::fs;

/// A process by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(pub(crate) u32);

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) descriptors: usize,
    pub(crate) children: usize,
}

impl Process {
    pub(crate) fn usage(self) -> Usage {
        Usage {
            descriptors: self.descriptors(),
            children: self.children().len(),
        }
    }

    fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0))
            .unwrap()
            .count()
    }

    /// Resident memory, in KiB.
    pub(crate) fn rss_kib(self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Child processes, those that are zombies among them.
    pub(crate) fn children(self) -> Vec<Self> {
        let mut children = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.0)).unwrap() {
            // A thread may end while we look.
            let list =
                fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
            children.extend(
                list.split_whitespace()
                    .map(|pid| Self(pid.parse().unwrap())),
            );
        }
        children
    }

    /// State letter of `/proc/PID/stat`; `None` when it is gone.
    pub(crate) fn state(self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    pub(crate) fn zombies(self) -> usize {
        let children = self.children();
        children
            .iter()
            .filter(|child| child.state() == Some('Z'))
            .count()
    }

    /// Sends a signal; one that has ended by itself needs none.
    pub(crate) fn signal(self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.0)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let _gone = rustix::process::kill_process(pid.unwrap(), signal);
    }
}
