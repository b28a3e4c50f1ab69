//! A disk of a node's own, whose power can be cut: a file system in a file. Needs root, loop devices and `xfs_io`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::tool::run;

/// Sparse: what a node does not write takes no room.
const BYTES: u64 = 512 << 20;

/// Mounted where the node keeps its files; taken down when dropped.
#[derive(Debug)]
pub(super) struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Whether this process may have one. Otherwise says why not.
    pub(super) fn check() -> anyhow::Result<()> {
        ensure!(rustix::process::geteuid().is_root(), "not root");
        for tool in [["xfs_io", "-V"], ["mkfs.ext4", "-V"], ["strace", "-V"]] {
            run(&tool).with_context(|| format!("`{}` is needed", tool[0]))?;
        }
        let dir = tempfile::tempdir()?;
        // Root in a container may not be allowed to.
        let disk = Self::create(&dir.path().join("mounted"));
        disk.context("loop devices are not to be had")?.unmount()
    }

    /// Makes an empty one at `at`.
    pub(super) fn create(at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at)?;
        let disk = Self {
            image: at.with_extension("image"),
            at: at.to_owned(),
        };
        File::create(&disk.image)?.set_len(BYTES)?;
        run(&["mkfs.ext4", "-q", "-F", path(&disk.image)?])?;
        disk.mount()?;
        Ok(disk)
    }

    /// What was not written through by now is gone, and nothing gets there any more.
    pub(super) fn cut_power(&self) -> anyhow::Result<()> {
        run(&["xfs_io", "-x", "-c", "shutdown", path(&self.at)?]).map(drop)
    }

    /// Gives the power back, when nobody uses the disk any more.
    pub(super) fn restore(&self) -> anyhow::Result<()> {
        self.unmount()?;
        self.mount()
    }

    /// Takes all room that is left.
    pub(super) fn fill(&self) -> anyhow::Result<()> {
        let ballast = self.ballast();
        File::create(&ballast)?;
        let mut bytes = 0_u64;
        // Beside what the node writes meanwhile, so that the last of it may take more than one attempt.
        for piece in [64_u64 << 20, 1 << 20, 4 << 10, 4 << 10] {
            loop {
                let length = (bytes + piece).to_string();
                if run(&["fallocate", "-l", &length, path(&ballast)?]).is_err() {
                    break;
                }
                bytes += piece;
            }
        }
        ensure!(bytes > 0, "the disk cannot be filled");
        Ok(())
    }

    /// Gives it back.
    pub(super) fn make_room(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    fn mount(&self) -> anyhow::Result<()> {
        // What is not synced stays in memory for as long as a run may take.
        let options = "loop,commit=300";
        run(&["mount", "-o", options, path(&self.image)?, path(&self.at)?]).map(drop)
    }

    fn unmount(&self) -> anyhow::Result<()> {
        run(&["umount", path(&self.at)?]).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the node that was killed a moment ago may still be on its way out.
        let _not_mounted = path(&self.at).and_then(|at| run(&["umount", "-l", at]));
    }
}

/// Takes down what runs left mounted whose process is gone. `run_of` knows the process by the name of a directory.
pub(super) fn sweep(run_of: impl Fn(&str) -> Option<u32>) -> anyhow::Result<()> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    for at in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let dead = at.split('/').filter_map(&run_of);
        if dead.into_iter().any(|run| !super::tool::is_alive(run)) {
            run(&["umount", "-l", at])?;
        }
    }
    Ok(())
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path is not text")
}
