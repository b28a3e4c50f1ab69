//! CPU time of a process, all threads.

use std::{collections::HashMap, fs, io, time::Duration};

use crate::error::{Error, Result};

/// Clock ticks a second of `/proc/PID/stat`: `USER_HZ`, fixed at 100 on every Linux we build for.
const TICKS_PER_SECOND: u64 = 100;

/// One reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessCpu {
    /// Time of each living thread, from its `schedstat`: to the nanosecond.
    threads: HashMap<u32, Duration>,
    /// Time of the process with its dead threads, from `stat`: to the tick.
    total: Duration,
}

impl ProcessCpu {
    /// Reads `/proc`.
    pub(crate) fn read(pid: u32) -> Result<Self> {
        read(pid).map_err(Error::io(format!("read the CPU time of process {pid}")))
    }

    /// Time used since `before`. Where a thread has ended in between, its time is only known to
    /// the tick, and the coarser figure is used.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let none_ended = before
            .threads
            .keys()
            .all(|thread| self.threads.contains_key(thread));
        if !none_ended || self.threads.is_empty() {
            return self.total.saturating_sub(before.total);
        }
        self.threads
            .iter()
            .map(|(thread, time)| {
                let earlier = before.threads.get(thread).copied().unwrap_or_default();
                time.saturating_sub(earlier)
            })
            .sum()
    }
}

fn read(pid: u32) -> io::Result<ProcessCpu> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let total = total_of(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let mut threads = HashMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        // A thread may end between being listed and being read.
        let Ok(schedstat) = fs::read_to_string(entry.path().join("schedstat")) else {
            continue;
        };
        let thread = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let nanos = schedstat
            .split(' ')
            .next()
            .and_then(|time| time.parse().ok());
        if let (Some(thread), Some(nanos)) = (thread, nanos) {
            threads.insert(thread, Duration::from_nanos(nanos));
        }
    }
    Ok(ProcessCpu { threads, total })
}

/// `utime + stime`, fields 14 and 15; the program's name in field 2 may hold blanks and brackets.
fn total_of(stat: &str) -> Option<Duration> {
    let (_name, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(
        (user + system) * 1000 / TICKS_PER_SECOND,
    ))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use super::{ProcessCpu, total_of};

    fn reading(threads: &[(u32, u64)], total_ms: u64) -> ProcessCpu {
        ProcessCpu {
            threads: threads
                .iter()
                .map(|&(thread, nanos)| (thread, Duration::from_nanos(nanos)))
                .collect::<HashMap<_, _>>(),
            total: Duration::from_millis(total_ms),
        }
    }

    #[test]
    fn threads_that_began_in_between_count_whole() {
        let before = reading(&[(1, 100)], 0);
        let after = reading(&[(1, 150), (2, 7)], 0);
        assert_eq!(after.since(&before), Duration::from_nanos(57));
    }

    #[test]
    fn a_thread_that_ended_makes_the_total_count() {
        let before = reading(&[(1, 100), (2, 5)], 10);
        let after = reading(&[(1, 150)], 30);
        assert_eq!(after.since(&before), Duration::from_millis(20));
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 9 0 0 0 12 3 0 0 20 0 1 0 5 0 0";
        assert_eq!(total_of(stat), Some(Duration::from_millis(150)));
    }

    #[test]
    fn our_own_time_is_readable() {
        let before = ProcessCpu::read(std::process::id()).unwrap();
        let after = ProcessCpu::read(std::process::id()).unwrap();
        assert!(after.since(&before) < Duration::from_secs(60));
    }
}
