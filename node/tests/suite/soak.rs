//! One gateway for a long time under everything that the other tests do once.

use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::{Gateway, TOKEN};
use crate::peers::{World, check, script};

/// How long, in seconds; for a run by hand or by `.ci/long`.
const SECONDS_ENV: &str = "PEERS_SOAK_SECONDS";
const SECONDS_DEFAULT: u64 = 600;
/// Rounds after which everything that is allocated once is there.
const WARM_ROUNDS: usize = 3;
/// Growth of its own memory, over the whole soak, that the fragments of an allocator and the snapshot that is being written
/// explain: some six megabytes.
const GROWTH_PERCENT_MAX: u64 = 20;

#[test]
#[expect(clippy::print_stdout, reason = "the figures go into the report")]
#[ignore = "takes minutes: run by .ci/long"]
fn memory_and_children_stay_level() {
    let seconds = std::env::var(SECONDS_ENV)
        .ok()
        .and_then(|text| text.parse().ok());
    let length = Duration::from_secs(seconds.unwrap_or(SECONDS_DEFAULT));
    let world = World::start();
    let gateway = Gateway::start(&world, &world.servers(), false);
    gateway.fill_log();
    let began = Instant::now();
    let mut rounds = Vec::new();
    while began.elapsed() < length || rounds.len() <= WARM_ROUNDS {
        check(
            script("interop.py")
                .arg("--world")
                .arg(world.file())
                .args(["--gateway", &gateway.merged(), "--token", TOKEN])
                .args(["--client", "python-legacy", "--client", "node"]),
        );
        assert_eq!(gateway.n_zombies(), 0, "children that nobody waited for");
        rounds.push(gateway.resident_kib());
    }
    let (level, last) = (rounds[WARM_ROUNDS], rounds[rounds.len() - 1]);
    println!("resident KiB after each round: {rounds:?}");
    assert!(
        last * 100 <= level * (100 + GROWTH_PERCENT_MAX),
        "memory grew: {rounds:?}"
    );
}
