//! Audit records that are about to be written anew from the replicated log: whether they are what was written, and a
//! copy of them where they are not.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::audit::segment::{Position, SegmentError, SegmentReader};
use crate::audit::verify::{Start, Trust, Verifier};

/// Where damaged files of `dir` are kept for a person to look at.
pub(super) fn place(dir: &Path) -> PathBuf {
    dir.with_extension("damaged")
}

/// What is wrong with the records behind `position`, or with the checkpoints. What a crash leaves is no fault: an end
/// that is torn, or that the replicated log is ahead of.
pub(super) fn damage(
    dir: &Path,
    position: &Position,
    trust: &Trust,
) -> Result<Option<String>, SegmentError> {
    if !dir.exists() {
        return Ok(None);
    }
    let reader = SegmentReader::unbounded(dir);
    let start = Start {
        chain: position.chain,
        frontier: position.frontier.clone(),
    };
    let first = position.frontier.size();
    let mut verifier = Verifier::new(trust, start);
    let mut records = match reader.records(first, u64::MAX) {
        Ok(records) => records,
        Err(error @ SegmentError::Pruned { .. }) => return Ok(Some(error.to_string())),
        Err(error) => return Err(error),
    };
    let unreadable = loop {
        match records.next() {
            Ok(Some(record)) => {
                if let Err(finding) = verifier.push(&record) {
                    return Ok(Some(finding.to_string()));
                }
            }
            Ok(None) => break None,
            Err(error @ SegmentError::Damaged { .. }) => break Some(error),
            Err(error) => return Err(error),
        }
    };
    if let Some(error) = unreadable
        && !records.is_torn()?
    {
        return Ok(Some(error.to_string()));
    }
    let checkpoint = reader.damaged_checkpoint()?;
    Ok(checkpoint.map(|(_, error)| error.to_string()))
}

/// Keeps the records of `dir` and what vouches for them, in the place of what was kept before.
pub(super) fn keep(dir: &Path, position: &Position) -> io::Result<()> {
    let aside = place(dir);
    remove(&aside)?;
    fs::DirBuilder::new().mode(0o700).create(&aside)?;
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<OsString> = names.collect::<io::Result<_>>()?;
    // The only segment that is cut or grows. The others are removed or stay as they are.
    let size = position.frontier.size();
    let last_kept = names.iter().filter_map(|name| first_of(name));
    let last_kept = last_kept.filter(|first| *first < size).max();
    for name in &names {
        let (from, to) = (dir.join(name), aside.join(name));
        let first = first_of(name);
        let is_sealed = from
            .extension()
            .is_some_and(|extension| extension == "sealed");
        let is_small = is_sealed || name == "genesis" || name == "checkpoints";
        if first.is_some() && first != last_kept && fs::hard_link(&from, &to).is_ok() {
            continue;
        }
        if first.is_some() || is_small {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// First record of the segment of this name.
fn first_of(name: &OsStr) -> Option<u64> {
    name.to_str()?.strip_suffix(".seg")?.parse().ok()
}

/// Removes a directory that may not be there.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::segment::{Limits, SegmentStore};
    use crate::audit::{
        AuditCommand, AuditEffect, AuditLog, Frontier, Genesis, Kind, MacKey, MacKeys, Origin,
        Record,
    };
    use crate::secret::Secret;

    const NAME: &str = "00000000000000000000.seg";

    struct World {
        dir: tempfile::TempDir,
        trust: Trust,
        effects: Vec<AuditEffect>,
    }

    impl World {
        /// Twenty records.
        fn new() -> Self {
            let genesis = Genesis {
                log: "c1".to_owned(),
                first_key_id: 1,
                previous: None,
            };
            let (mut log, mut effects) = (AuditLog::default(), Vec::new());
            let begin = AuditCommand::Begin(genesis.clone());
            log.apply(begin, 1, &mut effects).unwrap();
            let line = |local_seq| {
                let origin = Origin {
                    node: "n1",
                    boot: 1,
                    local_seq,
                };
                let mut line = Vec::new();
                Record::new(origin, 1, Kind::Call).write(&mut line);
                line.into()
            };
            let append = AuditCommand::Append {
                node: "n1".to_owned(),
                boot: 1,
                first_local_seq: 1,
                lines: (1..=20).map(line).collect(),
            };
            log.apply(append, 2, &mut effects).unwrap();
            let world = Self {
                dir: tempfile::tempdir().unwrap(),
                trust: Trust {
                    genesis,
                    keys: MacKeys::from_iter([MacKey::new(1, &Secret::from_bytes([1; 32]))]),
                    guards: None,
                    signers: Vec::new(),
                },
                effects,
            };
            let (genesis, keys) = (&world.trust.genesis, world.trust.keys.clone());
            let start = world.position(0);
            let store =
                SegmentStore::open(&world.audit(), genesis, &start, keys, Limits::default());
            store.unwrap().append(&world.effects).unwrap();
            world
        }

        fn audit(&self) -> PathBuf {
            self.dir.path().join("audit")
        }

        fn position(&self, size: u64) -> Position {
            let mut position = Position {
                frontier: Frontier::default(),
                chain: self.trust.genesis.head(),
            };
            for effect in &self.effects {
                if let AuditEffect::Record(record) = effect
                    && record.seq < size
                {
                    position.frontier.append(record.leaf);
                    position.chain = record.chain;
                }
            }
            position
        }

        fn damage(&self, size: u64) -> Option<String> {
            damage(&self.audit(), &self.position(size), &self.trust).unwrap()
        }
    }

    #[test]
    fn what_a_crash_leaves_is_no_damage() {
        let world = World::new();
        let path = world.audit().join(NAME);
        let whole = fs::read(&path).unwrap();
        for size in [0, 7, 20] {
            for length in whole.len() - 300..=whole.len() {
                fs::write(&path, &whole[..length]).unwrap();
                assert_eq!(world.damage(size.min(17)), None, "{length}");
            }
            fs::write(&path, [whole.as_slice(), &[0; 100]].concat()).unwrap();
            assert_eq!(world.damage(size), None, "{size}");
        }
        fs::remove_dir_all(world.audit()).unwrap();
        assert_eq!(world.damage(0), None);
    }

    #[test]
    fn a_flipped_bit_behind_what_was_applied_is_damage() {
        let world = World::new();
        let path = world.audit().join(NAME);
        let whole = fs::read(&path).unwrap();
        for at in [60, whole.len() / 2, whole.len() - 10] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            let found = world.damage(0);
            assert!(found.is_some_and(|what| what.contains("is damaged at byte")));
        }
    }

    #[test]
    fn a_copy_stays_as_it_is_when_the_files_are_cut() {
        for size in [0, 7] {
            let world = World::new();
            let whole = fs::read(world.audit().join(NAME)).unwrap();
            // What was kept before goes.
            let aside = place(&world.audit());
            fs::create_dir(&aside).unwrap();
            fs::write(aside.join("old"), "").unwrap();
            keep(&world.audit(), &world.position(size)).unwrap();
            let (genesis, keys) = (&world.trust.genesis, world.trust.keys.clone());
            let position = world.position(size);
            let store =
                SegmentStore::open(&world.audit(), genesis, &position, keys, Limits::default());
            drop(store.unwrap());
            assert_eq!(fs::read(aside.join(NAME)).unwrap(), whole, "{size}");
            assert!(aside.join("genesis").exists() && aside.join("checkpoints").exists());
            assert!(!aside.join("old").exists());
        }
    }
}
