//! Clients and servers of others, with the gateway between them.

use serde_json::json;

use crate::gateway::{Gateway, TOKEN};
use crate::peers::{World, check, folder, node, script};

/// In front of servers of which some have only sessions; for a client that prefers the stateless era it bridges.
fn play_with_all(client: &str) {
    let world = World::start();
    let gateway = Gateway::start(&world, &world.servers(), false);
    play(&world, "--gateway", &gateway, client);
}

/// In front of servers that have both eras.
fn play_with_dual(client: &str) {
    let world = World::start();
    let gateway = Gateway::start(&world, &world.dual_servers(), false);
    play(&world, "--gateway-dual", &gateway, client);
}

fn play(world: &World, option: &str, gateway: &Gateway, client: &str) {
    check(
        script("interop.py")
            .arg("--world")
            .arg(world.file())
            .args([option, &gateway.merged(), "--token", TOKEN])
            .args(["--client", client]),
    );
}

#[test]
fn the_python_client_sees_no_difference_when_it_chooses_the_era() {
    play_with_all("python-auto");
}

#[test]
fn the_python_client_sees_no_difference_when_it_insists_on_the_session_era() {
    play_with_all("python-legacy");
}

#[test]
fn the_python_client_sees_no_difference_when_it_chooses_the_era_of_servers_with_both() {
    play_with_dual("python-auto-dual");
}

#[test]
fn the_python_client_sees_no_difference_when_it_insists_on_the_stateless_era() {
    play_with_dual("python-2026-07-28");
}

/// Behind the gateway a server speaks the transport of 2024-11-05, which it is not told about; its twin on the direct
/// side speaks Streamable HTTP.
fn play_over_sse(client: &str) {
    let world = World::start();
    let gateway = Gateway::start(&world, &world.servers_over_sse(), false);
    assert_eq!(gateway.transport("everything"), "sse");
    play(&world, "--gateway", &gateway, client);
}

#[test]
fn the_typescript_client_does_not_see_the_old_transport_behind_the_gateway() {
    play_over_sse("node");
}

#[test]
fn the_python_client_does_not_see_the_old_transport_behind_the_gateway() {
    play_over_sse("python-legacy");
}

#[test]
fn the_typescript_client_sees_no_difference() {
    play_with_all("node");
}

/// Each with the SDK, or the reference server, of the era that the other side does not speak.
#[test]
fn tasks_of_either_era_are_those_of_the_other() {
    let world = World::start_by(&mut script("serve_fixtures.py"));
    let mut tasks = world.server("tasks");
    tasks["era"] = json!("stateless");
    let packages = folder().join(".cache/npm/node_modules");
    let everything = json!({
        "command": packages.join("node/bin/node"),
        "args": [packages.join("@modelcontextprotocol/server-everything/dist/index.js"), "stdio"],
        "env": { "PATH": std::env::var("PATH").unwrap() },
        "era": "session",
    });
    let servers = json!({ "tasks": tasks, "everything": everything });
    let gateway = Gateway::start(&world, &servers, true);
    check(node("tasks_session.mjs").arg(gateway.scoped("tasks")));
    check(script("tasks_stateless.py").arg(gateway.scoped("everything")));
}
