//! Generates the messages between nodes from `proto/`, without a system `protoc`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join("lockgate/peer/v1"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [root])?;
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        // They carry secrets; written by hand in `src/peer`.
        .skip_debug(["Admitted", "JoinTokenProof"])
        .compile_fds(descriptors)?;
    Ok(())
}
