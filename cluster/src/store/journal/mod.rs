//! The journal: writes in their order, each on the disk with one sync, until they are in the store for certain.
//!
//! Two files, which are overwritten from their beginnings in turn and never cut: a write to blocks that the file
//! already has needs no change of the file system's own data, which its sync would have to wait for. What is left of
//! their last use lies behind what is written, and is known by its smaller numbers.

mod file;
mod frame;
mod turns;

use std::path::Path;

use self::file::JournalFile;
use self::frame::BLOCK;
use self::turns::Turns;
use super::{Change, StoreError};

/// The two files, open.
#[derive(Debug)]
pub(super) struct Journal {
    files: [JournalFile; 2],
    turns: Turns,
    /// The frame that is written, kept for its room.
    buffer: Vec<u8>,
}

/// Place of a frame that was read.
#[derive(Debug)]
struct Found {
    number: u64,
    file: usize,
    at: usize,
    end: usize,
}

impl Journal {
    /// Opens the journal of `dir`, or creates it, and passes on the changes of each write after number `stored`, in
    /// order. A frame that was cut off is followed by nothing younger; one that is damaged before others is refused.
    pub(super) fn open(
        dir: &Path,
        stored: u64,
        mut each: impl FnMut(u64, Vec<Change>) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let files = [
            JournalFile::open(dir, "journal-0")?,
            JournalFile::open(dir, "journal-1")?,
        ];
        let contents = [files[0].read()?, files[1].read()?];
        let mut found: Vec<Found> = Vec::new();
        for (file, bytes) in contents.iter().enumerate() {
            found.extend(scan(file, files[file].salt(), bytes));
        }
        found.sort_by_key(|frame| frame.number);
        let mut last = stored;
        for frame in found.iter().filter(|frame| frame.number > stored) {
            if frame.number != last + 1 {
                return Err(missing(&files[frame.file], &found, last + 1, frame));
            }
            last = frame.number;
            let bytes = &contents[frame.file][frame.at..];
            let whole = frame::decode(files[frame.file].salt(), bytes);
            let changes = whole.and_then(|whole| frame::changes(whole.body));
            let changes = changes.ok_or_else(|| {
                let what = "it holds something that this program cannot read".to_owned();
                files[frame.file].damaged(frame.at, what)
            })?;
            each(frame.number, changes)?;
        }
        Ok(Self {
            files,
            turns: Turns::new(BLOCK as u64),
            buffer: Vec::new(),
        })
    }

    /// Adds a write, and returns when it is on the disk. Before what a file holds is overwritten, `free` waits until the
    /// store has all writes up to the given one.
    pub(super) fn append(
        &mut self,
        number: u64,
        changes: &[Change],
        free: impl FnOnce(u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let spot = self.turns.spot();
        if let Some(upto) = spot.frees {
            free(upto)?;
        }
        self.files[spot.file].write(spot.at, &mut self.buffer, number, changes)?;
        self.turns.wrote(spot, number, self.buffer.len());
        Ok(())
    }
}

/// All whole frames of a file.
fn scan(file: usize, salt: u32, bytes: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = BLOCK;
    while at < bytes.len() {
        let frame = frame::decode(salt, &bytes[at..]);
        let end = at + frame.map_or(BLOCK, |frame| frame.bytes);
        if let Some(frame) = frame {
            let number = frame.number;
            found.push(Found {
                number,
                file,
                at,
                end,
            });
        }
        at = end;
    }
    found
}

/// Write `number` is not where it should be, though `younger` is there.
fn missing(file: &JournalFile, found: &[Found], number: u64, younger: &Found) -> StoreError {
    let before = found
        .iter()
        .filter(|frame| frame.file == younger.file && frame.end <= younger.at);
    let at = before.map(|frame| frame.end).max().unwrap_or(BLOCK);
    let what = if younger.number < number {
        format!("write {} is there twice", younger.number)
    } else {
        format!(
            "write {number} is missing, though write {} is there",
            younger.number
        )
    };
    file.damaged(at, what)
}

#[cfg(test)]
mod tests;
