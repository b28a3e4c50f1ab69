//! The handle as the gateway uses it: on real files, across restarts, and on files that were damaged.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a test should panic with a backtrace"
)]

mod audit;
mod crash;
mod damage;
mod restart;
mod segments;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockgate_cluster::{Cluster, Command, KeyMac, NewKey, RegistryCommand};

/// What the clock of the tests says.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_709_210_096_007)
}

#[track_caller]
fn open(dir: &Path) -> Cluster {
    Cluster::open(dir, noon).unwrap()
}

fn key(id: &str, value: u8) -> Command {
    RegistryCommand::CreateKey(NewKey {
        id: id.to_owned(),
        mac: KeyMac([value; 32]),
        principal: "ci-bot".into(),
        tenant: Some("acme".into()),
        roles: vec!["engineer".into()],
    })
    .into()
}
