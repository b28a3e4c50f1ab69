//! Clients of others on the transports beside Streamable HTTP, in front of the same servers with the same scenarios.

use crate::gateway::{Gateway, TOKEN};
use crate::peers::{World, check, script};

fn play(client: &str, anonymous: bool, url: impl Fn(&Gateway) -> String) {
    let world = World::start();
    let gateway = Gateway::start(&world, &world.servers(), anonymous);
    check(
        script("interop.py")
            .arg("--world")
            .arg(world.file())
            .args(["--gateway", &url(&gateway), "--token", TOKEN])
            .args(["--client", client]),
    );
}

#[test]
fn the_python_client_sees_no_difference_over_http_and_sse() {
    play("python-legacy", false, Gateway::event_stream);
}

#[test]
fn the_typescript_client_sees_no_difference_over_http_and_sse() {
    play("node", false, Gateway::event_stream);
}

/// Its WebSocket can send no header, so it comes as nobody.
#[test]
fn the_typescript_client_sees_no_difference_over_websocket() {
    play("node", true, Gateway::web_socket);
}
