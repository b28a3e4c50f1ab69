//! A disk that says that it has written, and has not: `strace` answers a node's syncs in the kernel's stead.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::process::Pid;
use tokio::time::{Duration, Instant, sleep};

const SYNCS: &str = "fsync,fdatasync,sync_file_range,msync,syncfs";
/// Longest time until it has the node.
const ATTACH_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Lies until the node ends.
#[derive(Debug)]
pub(crate) struct Liar {
    tracer: Child,
    log: PathBuf,
}

impl Liar {
    /// Begins to lie to the process `node`, which syncs something now and then, and writes its lies to `log`. Returns
    /// after the first lie.
    pub(super) async fn attach(node: Pid, log: &Path) -> anyhow::Result<Self> {
        let tracer = Command::new("strace")
            .args(["-f", "-qq", "-p", &node.as_raw_nonzero().to_string()])
            .arg(format!("--trace={SYNCS}"))
            .arg(format!("--inject={SYNCS}:retval=0"))
            .arg("-o")
            .arg(log)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("`strace` cannot be started")?;
        let liar = Self {
            tracer,
            log: log.to_owned(),
        };
        let begin = Instant::now();
        while liar.lies()? == 0 {
            anyhow::ensure!(
                begin.elapsed() < ATTACH_MAX,
                "`strace` does not get hold of it"
            );
            sleep(POLL).await;
        }
        Ok(liar)
    }

    /// Syncs that were none.
    pub(crate) fn lies(&self) -> anyhow::Result<usize> {
        let text = match std::fs::read_to_string(&self.log) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            text => text?,
        };
        Ok(text
            .lines()
            .filter(|line| line.contains("(INJECTED)"))
            .count())
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        // It ends with its node, which it must not outlive.
        let _gone = self.tracer.kill();
        let _reaped = self.tracer.wait();
    }
}
