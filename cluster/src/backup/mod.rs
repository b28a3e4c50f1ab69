//! Snapshots for operators: the whole replicated state in one file, to be kept elsewhere and to begin another cluster
//! with. The file is the engine's own (`raft/snapshot`), versioned and checksummed; what it holds of secrets is sealed
//! with the cluster's key, which is not in it.

mod inspect;
mod restore;
mod salvage;
mod save;
#[cfg(test)]
mod tests;

pub use self::inspect::{SnapshotError, SnapshotSummary, inspect_snapshot};
pub use self::restore::{RestoreError, RestoreOptions, Restored, restore_snapshot};
pub use self::salvage::{SalvageError, Salvaged, salvage_snapshot};
pub use self::save::{SaveError, SavedSnapshot};
