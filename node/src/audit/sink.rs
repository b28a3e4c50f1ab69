//! Where lines go: standard output, or a file that is appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config;

/// Takes bytes. Blocks.
pub(super) trait Sink: Send {
    /// Takes some of `bytes` and says how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Goes on in a new file if the old one was moved away.
    fn reopen(&mut self) -> io::Result<()>;
    /// Returns when what was written will survive a power loss.
    fn sync(&mut self) -> io::Result<()>;
    /// Whether nothing can ever be written again, if a write fails like this.
    fn is_over(&self, _error: &io::Error) -> bool {
        false
    }
}

/// Opens what the configuration names, if it names something.
pub(super) fn open(settings: &config::Audit) -> io::Result<Option<Box<dyn Sink>>> {
    Ok(match settings {
        config::Audit::None => None,
        // A descriptor of our own: the standard library's handle buffers, and after an error doesn't say how much.
        config::Audit::Stdout => Some(Box::new(Stdout(File::from(
            io::stdout().as_fd().try_clone_to_owned()?,
        )))),
        config::Audit::File(path) => Some(Box::new(AppendFile {
            file: open_file(path)?,
            path: path.clone(),
        })),
    })
}

struct Stdout(File);

impl Sink for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whoever reads our output keeps it; a pipe has nothing to sync.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Nobody can become its reader any more.
    fn is_over(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::BrokenPipe
    }
}

struct AppendFile {
    file: File,
    path: PathBuf,
}

impl Sink for AppendFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open_file(&self.path)?;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A file whose last line was cut off by a crash gets an end of line first, so that only that line is lost.
fn open_file(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    // Named pipes and devices, /dev/stderr for one, have no end to look at.
    if file.metadata()?.is_file() && file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}
