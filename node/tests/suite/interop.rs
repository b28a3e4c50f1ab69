//! Clients and servers of others, with the gateway between them.

use crate::gateway::{Gateway, TOKEN};
use crate::peers::{World, check, script};

/// A gateway in front of servers of which some have only the session era offers no other.
fn play_with_all(client: &str) {
    let world = World::start();
    let gateway = Gateway::start(&world, &world.servers(), false);
    play(&world, "--gateway", &gateway, client);
}

/// In front of servers that have both eras it offers both.
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
fn the_python_client_sees_no_difference_when_it_negotiates_the_session_era() {
    play_with_all("python-auto");
}

#[test]
fn the_python_client_sees_no_difference_when_it_insists_on_the_session_era() {
    play_with_all("python-legacy");
}

#[test]
fn the_python_client_sees_no_difference_when_it_negotiates_the_stateless_era() {
    play_with_dual("python-auto-dual");
}

#[test]
fn the_python_client_sees_no_difference_when_it_insists_on_the_stateless_era() {
    play_with_dual("python-2026-07-28");
}

#[test]
fn the_typescript_client_sees_no_difference() {
    play_with_all("node");
}
