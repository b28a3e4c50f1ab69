//! Which version of the program speaks what, as data. A format is used only when every voter has announced it; so
//! versions N and N+1 work side by side, and nothing new appears in the log before the last voter is upgraded.

/// Formats that a build reads and writes, each as its newest number. It reads all older ones, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Entries of the log.
    pub entry: u32,
    /// Snapshots.
    pub snapshot: u32,
    /// Messages between nodes, and what clients carry from one node to another: session ids, cursors, states.
    pub wire: u32,
}

/// One released version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// First version of the program for which the row holds.
    pub since: &'static str,
    /// What it speaks.
    pub formats: Formats,
}

/// All versions that changed a format, oldest first. A row is added in the commit that changes one, and never edited
/// after its release.
pub const RELEASES: &[Release] = &[Release {
    since: "0.1.0",
    formats: Formats {
        entry: 1,
        snapshot: 2,
        wire: 2,
    },
}];

/// What this build speaks.
pub const OURS: Formats = RELEASES[RELEASES.len() - 1].formats;

impl Formats {
    /// What both can use.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        Self {
            entry: self.entry.min(other.entry),
            snapshot: self.snapshot.min(other.snapshot),
            wire: self.wire.min(other.wire),
        }
    }

    /// What all of `announced` can use, and this build. Without any, what this build speaks.
    #[must_use]
    pub fn common_of(announced: impl IntoIterator<Item = Self>) -> Self {
        announced.into_iter().fold(OURS, Self::common)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWER: Formats = Formats {
        entry: 7,
        snapshot: 1,
        wire: 9,
    };

    #[test]
    fn formats_never_go_back_from_release_to_release() {
        for pair in RELEASES.windows(2) {
            assert_eq!(pair[0].formats.common(pair[1].formats), pair[0].formats);
        }
    }

    #[test]
    fn the_oldest_voter_decides_format_by_format() {
        let old = Formats {
            entry: 1,
            snapshot: 1,
            wire: 1,
        };
        assert_eq!(Formats::common_of([NEWER, old, NEWER]), old);
        assert_eq!(Formats::common_of([NEWER]), OURS.common(NEWER));
    }
}
