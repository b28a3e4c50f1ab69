//! Tools of the system, run to their end.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, bail, ensure};

/// Runs a command to its end and returns what it printed.
pub(super) fn run(command: &[&str]) -> anyhow::Result<String> {
    let [program, arguments @ ..] = command else {
        bail!("no command");
    };
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("`{program}` cannot be started"))?;
    let stderr = String::from_utf8_lossy(&stderr);
    ensure!(
        status.success(),
        "`{}`: {status}: {}",
        command.join(" "),
        stderr.trim()
    );
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Whether there is a process of that number.
pub(super) fn is_alive(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}
