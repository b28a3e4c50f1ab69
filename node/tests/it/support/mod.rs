//! What every outside test stands on: the built gateway, a raw client, and small servers that misbehave on demand.

mod answer;
mod client;
mod fleet;
mod gateway;
mod people;
mod port;
mod process;
mod socket;
mod upstream;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::answer::{Answer, Events};
pub(crate) use self::client::{Client, LATEST};
pub(crate) use self::fleet::{Fleet, Node as FleetNode, lockgate, succeeded};
pub(crate) use self::gateway::{BINARY, DEMO, Gateway};
pub(crate) use self::people::{ANN, BOB};
pub(crate) use self::port::Port;
pub(crate) use self::process::Process;
pub(crate) use self::socket::{Socket, text_frame};
pub(crate) use self::upstream::{Mode, Push, Upstream};

/// Longest wait for anything that has to happen; only a failing test lasts that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `holds` says so.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits for `future`, which a sound gateway ends.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("{what}: not within {PATIENCE:?}"),
    }
}
