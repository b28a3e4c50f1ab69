//! The public conformance suites.

use serde_json::json;

use crate::gateway::Gateway;
use crate::peers::{World, check, script};

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
