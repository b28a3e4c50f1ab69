//! Every client of others with every server of others, and the table of what works.

use crate::gateway::{Gateway, TOKEN};
use crate::peers::{World, check, folder, script};

/// Set, it writes the table anew where the committed one differs.
const UPDATE_ENV: &str = "UPDATE_INTEROP";

#[test]
fn the_table_of_who_works_with_whom() {
    let world = World::start_by(&mut script("matrix/serve.py"));
    let gateway = Gateway::start(&world, &world.servers(), false);
    let update = std::env::var_os(UPDATE_ENV).map(|_| "--update");
    check(
        script("matrix/matrix.py")
            .arg("--world")
            .arg(world.file())
            .args(["--scoped", &gateway.scoped("{server}")])
            .args(["--merged", &gateway.merged(), "--token", TOKEN])
            .arg("--table")
            .arg(folder().join("INTEROP.md"))
            .args(update),
    );
}
