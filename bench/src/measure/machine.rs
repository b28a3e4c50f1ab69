//! What the figures were measured on.

use std::{fs, thread};

use serde::Serialize;

use crate::affinity;

/// The machine, as far as a reader needs it to judge figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// Processor.
    pub(crate) processor: String,
    /// Cores.
    pub(crate) cores: usize,
    /// Kernel.
    pub(crate) kernel: String,
    /// One, five and fifteen minute load when the run began: other work on the machine shows here.
    pub(crate) load_before: String,
    /// Whether we, and what we started, ran before other work on the machine.
    pub(crate) is_preferred: bool,
}

impl Machine {
    /// Reads `/proc`; what cannot be read stays empty.
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = text("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(String::new, |(_colon, name)| name.to_owned());
        let load: Vec<String> = text("/proc/loadavg")
            .split(' ')
            .take(3)
            .map(str::to_owned)
            .collect();
        Self {
            processor,
            cores: thread::available_parallelism().map_or(0, usize::from),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: load.join(" "),
            is_preferred: affinity::is_preferred(),
        }
    }
}
