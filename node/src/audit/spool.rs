//! Files in which records are until the log of the cluster has them, and in which the next life of the node finds what
//! this one owed.
//!
//! ```text
//! <dir>/<boot>-<first local_seq>.jsonl
//! {"lockgate_spool":1,"open":[1030,1033]}      intents before this file whose outcome was not known yet
//! {"v":1,"at":…,"node":"n1","boot":7,"local_seq":1041,…}
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lockgate_proto::jsonrpc::{elements, find};

/// A file is followed by another when it has grown to this.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The spool of this life of the node, open for appending.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    boot: u64,
    file: File,
    path: PathBuf,
    /// What lies behind was never acknowledged, and is written over.
    end: u64,
    /// Earlier files.
    full: VecDeque<Full>,
}

/// A file that is not written to any more.
#[derive(Debug)]
struct Full {
    path: PathBuf,
    /// Its last record.
    last: u64,
    /// `None` once the disk has it.
    file: Option<File>,
}

impl Spool {
    /// Begins the spool of life `boot` in `dir`.
    pub(super) fn create(dir: &Path, boot: u64) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let (path, file, end) = begin(dir, boot, 1, &BTreeSet::new())?;
        Ok(Self {
            dir: dir.to_owned(),
            boot,
            file,
            path,
            end,
            full: VecDeque::new(),
        })
    }

    /// Appends whole lines. After an error they are not there.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all_at(lines, self.end)?;
        self.end += lines.len() as u64;
        Ok(())
    }

    /// Writes to `file` from now on, as a disk that has changed. Returns where it has written before.
    #[cfg(test)]
    pub(super) fn write_to(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    /// The files that the disk may not have yet, to be synced.
    pub(super) fn unsynced(&self) -> io::Result<Vec<File>> {
        let full = self.full.iter().filter_map(|full| full.file.as_ref());
        full.chain([&self.file]).map(File::try_clone).collect()
    }

    /// Those of them that were there when `last` was the last record are on the disk.
    pub(super) fn on_synced(&mut self, last: u64) {
        for full in self.full.iter_mut().filter(|full| full.last <= last) {
            full.file = None;
        }
    }

    /// Whether the next release begins another file.
    pub(super) fn is_full(&self) -> bool {
        self.end >= FILE_BYTES_MAX
    }

    /// Removes all files of this life.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        for full in self.full.drain(..) {
            fs::remove_file(full.path)?;
        }
        Ok(())
    }

    /// The log has everything through `committed`; `next` is the record that is next, and `open` the intents whose
    /// outcome is not known yet. What was recorded is written, if the file is full.
    pub(super) fn release(
        &mut self,
        committed: u64,
        next: u64,
        open: &BTreeSet<u64>,
    ) -> io::Result<()> {
        while let Some(full) = self.full.front()
            && full.last <= committed
        {
            fs::remove_file(&full.path)?;
            self.full.pop_front();
        }
        if !self.is_full() {
            return Ok(());
        }
        let (path, file, end) = begin(&self.dir, self.boot, next, open)?;
        self.end = end;
        self.full.push_back(Full {
            path: std::mem::replace(&mut self.path, path),
            last: next - 1,
            file: Some(std::mem::replace(&mut self.file, file)),
        });
        Ok(())
    }
}

fn begin(
    dir: &Path,
    boot: u64,
    first: u64,
    open: &BTreeSet<u64>,
) -> io::Result<(PathBuf, File, u64)> {
    let path = dir.join(format!("{boot:020}-{first:020}.jsonl"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&path)?;
    let open: Vec<String> = open.iter().map(u64::to_string).collect();
    let header = format!("{{\"lockgate_spool\":1,\"open\":[{}]}}\n", open.join(","));
    file.write_all_at(header.as_bytes(), 0)?;
    File::open(dir)?.sync_all()?;
    Ok((path, file, header.len() as u64))
}

/// What one earlier life of the node has left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) boot: u64,
    /// Its records, each with its number: without a gap, but for what [`Leftover::owe`] leaves.
    pub(super) lines: Vec<(u64, Vec<u8>)>,
    /// Intents without an outcome.
    pub(super) open: BTreeSet<u64>,
    pub(super) paths: Vec<PathBuf>,
    /// Where the whole lines of the last file end.
    end: u64,
}

/// What lives before `boot` have left in `dir`, oldest first.
pub(super) fn leftovers(dir: &Path, boot: u64) -> io::Result<Vec<Leftover>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        files.extend(place(&path).map(|(boot, first)| (boot, first, path)));
    }
    files.sort();
    let mut found: Vec<Leftover> = Vec::new();
    for (life, _, path) in files {
        if life >= boot {
            continue;
        }
        if found.last().is_none_or(|last| last.boot != life) {
            found.push(Leftover {
                boot: life,
                ..Leftover::default()
            });
        }
        if let Some(life) = found.last_mut() {
            life.end = life.add(&fs::read(&path)?);
            life.paths.push(path);
        }
    }
    Ok(found)
}

impl Leftover {
    /// Adds the lines of one file, and returns where the whole ones end. A torn end was never acknowledged.
    fn add(&mut self, bytes: &[u8]) -> u64 {
        let mut end = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(()) = line
                .strip_suffix(b"\n")
                .and_then(|line| self.add_line(line))
            else {
                break;
            };
            end += line.len() as u64;
        }
        end
    }

    /// Adds one line, if it is one.
    fn add_line(&mut self, line: &[u8]) -> Option<()> {
        let text = std::str::from_utf8(line).ok()?;
        let value = |key| find(text, key).map(|span| span.of(text));
        if value("lockgate_spool").is_some() {
            let open = value("open").unwrap_or_default();
            // Where earlier files are left, too, this says nothing new.
            self.open
                .extend(elements(open).filter_map(|one| one.of(open).parse::<u64>().ok()));
            return Some(());
        }
        let local_seq = follow(&mut self.open, text)?;
        self.lines.push((local_seq, line.to_vec()));
        Some(())
    }

    /// Closes every open intent with the line that `close` makes for its number and that of the intent. They become
    /// part of the life that they end, durably and behind `last`, the last record of it that the log has: whoever drains
    /// this again sends the same.
    pub(super) fn owe(
        &mut self,
        last: u64,
        mut close: impl FnMut(u64, u64) -> Vec<u8>,
    ) -> io::Result<()> {
        let Some(path) = self.paths.last().filter(|_| !self.open.is_empty()) else {
            return Ok(());
        };
        let last = self.lines.last().map_or(last, |(own, _)| last.max(*own));
        let mut written = Vec::new();
        for (local_seq, intent) in (last + 1..).zip(std::mem::take(&mut self.open)) {
            let line = close(local_seq, intent);
            written.extend_from_slice(&line);
            written.push(b'\n');
            self.lines.push((local_seq, line));
        }
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(self.end)?;
        file.write_all_at(&written, self.end)?;
        file.sync_all()
    }
}

/// Notes in `open` what a record says of calls: that one is going to be made, or how it ended. Returns the record's number;
/// `None` when it is none.
pub(super) fn follow(open: &mut BTreeSet<u64>, line: &str) -> Option<u64> {
    let value = |key| find(line, key).map(|span| span.of(line));
    let local_seq = value("local_seq")?.parse().ok()?;
    match value("intent").and_then(|intent| intent.parse().ok()) {
        Some(intent) => drop(open.remove(&intent)),
        None if value("kind") == Some("\"call\"") => drop(open.insert(local_seq)),
        None => {}
    }
    Some(local_seq)
}

fn place(path: &Path) -> Option<(u64, u64)> {
    if path.extension()? != "jsonl" {
        return None;
    }
    let (boot, first) = path.file_stem()?.to_str()?.split_once('-')?;
    Some((boot.parse().ok()?, first.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(local_seq: u64, rest: &str) -> String {
        format!("{{\"v\":1,\"local_seq\":{local_seq},\"kind\":\"call\"{rest}}}\n")
    }

    #[test]
    fn what_a_life_owes_is_found_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path(), 7).unwrap();
        let lines = [line(1, ""), line(2, ""), line(3, ",\"intent\":1")];
        spool.write(lines.concat().as_bytes()).unwrap();
        spool.write(b"{\"v\":1,\"loc").unwrap();
        assert_eq!(leftovers(dir.path(), 7).unwrap(), []);
        let found = leftovers(dir.path(), 8).unwrap();
        assert_eq!((found[0].boot, found[0].lines[0].0), (7, 1));
        assert_eq!(found[0].lines.len(), 3);
        assert_eq!(found[0].open, BTreeSet::from([2]));
    }

    #[test]
    fn what_closes_an_intent_is_the_same_however_often_a_life_is_drained() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path(), 7).unwrap();
        spool
            .write([line(1, ""), line(2, "")].concat().as_bytes())
            .unwrap();
        spool.write(b"torn").unwrap();
        let mut first = leftovers(dir.path(), 8).unwrap().remove(0);
        let close = |seq, intent| {
            let line = line(seq, &format!(",\"intent\":{intent}"));
            line.trim_end().as_bytes().to_vec()
        };
        // The log has a record that a power loss took from the spool.
        first.owe(3, close).unwrap();
        let numbers =
            |life: &Leftover| -> Vec<u64> { life.lines.iter().map(|(n, _)| *n).collect() };
        assert_eq!(numbers(&first), [1, 2, 4, 5]);
        let mut again = leftovers(dir.path(), 8).unwrap().remove(0);
        again.owe(5, close).unwrap();
        assert_eq!(again.lines, first.lines);
        assert_eq!(again.open, BTreeSet::new());
    }

    #[test]
    fn a_full_file_goes_when_the_log_has_it_and_its_debts_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path(), 7).unwrap();
        spool.end = FILE_BYTES_MAX;
        let open = BTreeSet::from([5]);
        spool.release(3, 10, &open).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        // The disk may have neither of them.
        assert_eq!(spool.unsynced().unwrap().len(), 2);
        spool.on_synced(8);
        assert_eq!(spool.unsynced().unwrap().len(), 2);
        spool.on_synced(9);
        assert_eq!(spool.unsynced().unwrap().len(), 1);
        spool.release(9, 12, &open).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        spool.write(line(10, ",\"intent\":4").as_bytes()).unwrap();
        let found = leftovers(dir.path(), 8).unwrap();
        assert_eq!((found[0].lines[0].0, found[0].lines.len()), (10, 1));
        assert_eq!(found[0].open, open);
    }
}
