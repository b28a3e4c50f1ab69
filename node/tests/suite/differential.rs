//! The bytes of results, directly and through the gateway.

use crate::gateway::{Gateway, TOKEN};
use crate::peers::{World, check, install, python, script};

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

/// Also every message that a bridge made is judged by the schema of the revision of who gets it.
#[test]
fn results_cross_the_eras_with_nothing_lost() {
    let world = World::start_by(&mut script("serve_fixtures.py"));
    let gateway = Gateway::start(&world, &world.servers(), false);
    check(
        python("differential_eras.py")
            .arg("--world")
            .arg(world.file())
            .args(["--scoped", &gateway.scoped("{server}")])
            .args(["--token", TOKEN])
            .arg("--records")
            .arg(world.scratch("")),
    );
}

/// Records and legs with nothing in them would else pass for good.
#[test]
fn a_judge_that_had_nothing_to_judge_fails() {
    install();
    check(&mut python("judges_test.py"));
}
