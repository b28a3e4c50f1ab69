//! Which of the two files the next frame goes to, and where.

/// A file that has grown so far is left for the other one. Reading both takes a few milliseconds of a start, and writes
/// of one block fill one in a thousand.
pub(super) const FILE_BYTES: u64 = 4 << 20;

/// The two files take turns: while one is written, what is in the other gets into the store, after which that one may
/// be overwritten from its beginning.
///
/// ```text
/// file 0  [ 1 2 3 4 ]      [ 8 9 10 .. ]  over 1 to 4, once they are in the store
/// file 1           [ 5 6 7 ]
/// ```
#[derive(Debug)]
pub(super) struct Turns {
    file: usize,
    at: u64,
    /// Number of the last frame of each file.
    last: [u64; 2],
    /// Where the first frame of a file is.
    start: u64,
}

/// Place of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) file: usize,
    pub(super) at: u64,
    /// It is the first one of its file: writes up to this number must be in the store before it is overwritten.
    pub(super) frees: Option<u64>,
}

impl Turns {
    /// Begins with two files that hold nothing that the store lacks.
    pub(super) fn new(start: u64) -> Self {
        Self {
            file: 0,
            at: start,
            last: [0; 2],
            start,
        }
    }

    /// Where the next frame goes.
    pub(super) fn spot(&self) -> Spot {
        if self.at < FILE_BYTES {
            let (file, at) = (self.file, self.at);
            let frees = None;
            return Spot { file, at, frees };
        }
        let file = 1 - self.file;
        Spot {
            file,
            at: self.start,
            frees: Some(self.last[file]),
        }
    }

    /// The frame of this number is on the disk.
    pub(super) fn wrote(&mut self, spot: Spot, number: u64, bytes: usize) {
        self.file = spot.file;
        self.at = spot.at + bytes as u64;
        self.last[spot.file] = number;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const START: u64 = 4096;

    #[test]
    fn a_full_file_is_left_for_the_other() {
        let mut turns = Turns::new(START);
        let spot = |file, at, frees| Spot { file, at, frees };
        assert_eq!(turns.spot(), spot(0, START, None));
        turns.wrote(turns.spot(), 1, 4096);
        assert_eq!(turns.spot(), spot(0, 2 * START, None));
        turns.wrote(turns.spot(), 2, 5 << 20);
        assert_eq!(turns.spot(), spot(1, START, Some(0)));
        turns.wrote(turns.spot(), 3, 5 << 20);
        assert_eq!(turns.spot(), spot(0, START, Some(2)));
    }

    proptest! {
        /// At no moment, in the middle of an overwriting neither, is a write missing that the store may lack.
        #[test]
        fn what_the_store_may_lack_is_in_a_file(
            steps in prop::collection::vec((1_u64..600, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut turns = Turns::new(START);
            // Where each frame is: its end and its number by file and beginning.
            let mut files: [BTreeMap<u64, (u64, u64)>; 2] = Default::default();
            let mut stored = 0;
            for (number, (blocks, progress)) in (1..).zip(steps) {
                let spot = turns.spot();
                // The store gets ahead as it likes, and as far as it is waited for.
                stored += progress.index(usize::try_from(number - stored).unwrap()) as u64;
                stored = stored.max(spot.frees.unwrap_or(0));
                let bytes = blocks * 4096;
                let end = spot.at + bytes;
                files[spot.file].retain(|at, (past, _)| *past <= spot.at || end <= *at);
                for lacking in stored + 1..number {
                    let kept = |file: &BTreeMap<_, _>| file.values().any(|(_, held)| *held == lacking);
                    prop_assert!(files.iter().any(kept), "{} of {}", lacking, number);
                }
                files[spot.file].insert(spot.at, (end, number));
                turns.wrote(spot, number, usize::try_from(bytes).unwrap());
            }
        }
    }
}
