//! What the demo of several nodes says: their configurations, and how to go on.

use std::net::SocketAddr;
use std::path::Path;

/// A node of the demo before it runs.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its name.
    pub name: String,
    /// Where it listens for the others.
    pub cluster: SocketAddr,
}

/// Configuration of the node `seat` in `dir`, which holds everybody's certificates. The system chooses its other ports.
pub fn fleet_config(program: &Path, dir: &Path, seat: &Seat, all: &[Seat]) -> String {
    let name = &seat.name;
    let one = super::config(program, &dir.join(name), "127.0.0.1:0", "127.0.0.1:0");
    let peers: Vec<String> = all
        .iter()
        .map(|peer| format!("{}: \"{}\"", peer.name, peer.cluster))
        .collect();
    format!(
        "{one}cluster:\n  node: {name}\n  listen: \"{}\"\n  peers: {{ {} }}\n  \
         tls: {{ ca: certs/ca.pem, cert: certs/{name}.pem, key: certs/{name}.key }}\n",
        seat.cluster,
        peers.join(", "),
    )
}

/// A node of the demo that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// Its data plane.
    pub listen: SocketAddr,
    /// Its admin plane.
    pub admin: SocketAddr,
}

/// How to go on, for people. `program` is what they type to run this binary, `dir` where the nodes keep all they have.
pub fn fleet_instructions(program: &str, nodes: &[Running], dir: &Path) -> String {
    let mut text = format!(
        "{} nodes are one cluster. Any of them serves any client without a session:\n\n",
        nodes.len()
    );
    for node in nodes {
        let (name, listen, admin) = (&node.name, node.listen, node.admin);
        text.push_str(&format!(
            "    {name}  http://{listen}/mcp   admin http://{admin}\n"
        ));
    }
    if let [first, .., last] = nodes {
        text.push_str(&format!(
            "\nChange something at one node, and look at another:\n\n    \
             {program} --admin http://{} keys create --principal me --role demo\n    \
             {program} --admin http://{} keys list\n    \
             {program} --admin http://{} cluster health\n",
            first.admin, last.admin, last.admin
        ));
    }
    let dir = dir.display();
    text.push_str(&format!(
        "\nConfigurations, logs and data directories of all are in\n\n    {dir}\n\nCtrl-C ends them, and removes it.\n"
    ));
    text
}
