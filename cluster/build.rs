//! Generates the gRPC services between nodes. Their messages are in `lockgate_proto::peer::v1`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("../proto/proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let services = ["lockgate/peer/v1/raft.proto", "lockgate/peer/v1/peer.proto"];
    let descriptors = protox::compile(services, [root])?;
    tonic_prost_build::configure()
        .extern_path(".lockgate.peer.v1", "::lockgate_proto::peer::v1")
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
