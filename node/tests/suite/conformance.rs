//! The public conformance suites.

use serde_json::json;

use crate::gateway::Gateway;
use crate::peers::{World, check, install, python, script};

#[test]
fn nothing_fails_through_the_gateway_that_passes_directly() {
    let world = World::start();
    let servers =
        json!({ "http": world.server("fixture"), "stdio": world.server("fixture_stdio") });
    let gateway = Gateway::start(&world, &servers, true);
    check(
        script("conformance.py")
            .args(["--direct", &world.twin_url("fixture")])
            .args(["--through", &format!("http={}", gateway.scoped("http"))])
            .args(["--through", &format!("stdio={}", gateway.scoped("stdio"))])
            .arg("--out")
            .arg(world.scratch("conformance")),
    );
}

/// Each cell is a client of one era in front of a server that has only the other.
#[test]
fn a_client_of_either_era_finds_a_whole_server_in_one_of_the_other() {
    let world = World::start_by(&mut script("serve_fixtures.py"));
    let gateway = Gateway::start(&world, &world.servers(), true);
    let mut run = script("conformance_eras.py");
    for (client, server) in [("session", "stateless"), ("stateless", "session")] {
        let twin = world.twin_url(&format!("{client}_http"));
        run.args(["--direct", &format!("{client}-client={twin}")]);
        for over in ["http", "stdio"] {
            let url = gateway.scoped(&format!("{server}_{over}"));
            run.args(["--cell", &format!("{client}-client/{over}={url}")]);
        }
    }
    check(run.arg("--out").arg(world.scratch("conformance")));
    // What the bridges made of the suite's messages, by the published schema of those who got it.
    let record = |name: &str| world.scratch("").join(format!("{name}.jsonl"));
    let mut judge = python("wire_schema.py");
    for (server, revision) in [("session", "2025-11-25"), ("stateless", "2026-07-28")] {
        for over in ["http", "stdio"] {
            let record = record(&format!("{server}_{over}"));
            judge.arg(format!("{revision}={}", record.display()));
        }
    }
    check(&mut judge);
}

#[test]
fn the_suite_finds_no_fault_in_the_client_that_the_gateway_is() {
    let folder = tempfile::tempdir().unwrap();
    install();
    check(
        script("conformance_client.py")
            .args(["--gateway", env!("CARGO_BIN_EXE_lockgate"), "--out"])
            .arg(folder.path()),
    );
}

#[test]
fn tasks_lose_nothing() {
    let world = World::start_by(&mut script("serve_fixtures.py"));
    let servers = json!({ "tasks": world.server("tasks") });
    let gateway = Gateway::start(&world, &servers, true);
    check(
        script("conformance_tasks.py")
            .args(["--direct", &world.twin_url("tasks")])
            .args(["--through", &gateway.scoped("tasks")])
            .arg("--out")
            .arg(world.scratch("conformance")),
    );
}
