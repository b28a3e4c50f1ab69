//! The bytes of results, directly and through the gateway.

use crate::gateway::{Gateway, TOKEN};
use crate::peers::{World, check, script};

#[test]
fn results_arrive_byte_for_byte() {
    let world = World::start();
    let gateway = Gateway::start(&world, &world.servers(), false);
    let dual = Gateway::start(&world, &world.dual_servers(), false);
    check(
        script("differential.py")
            .arg("--world")
            .arg(world.file())
            .args(["--merged", &gateway.merged()])
            .args(["--merged-dual", &dual.merged()])
            .args(["--scoped", &gateway.scoped("{server}")])
            .args(["--token", TOKEN]),
    );
}
