//! Entry point of `lockgate`.

use std::process::ExitCode;

use lockgate_node::{app, cli};

// Debug builds keep the system's allocator, which heap profilers understand.
#[cfg(not(debug_assertions))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(&app::Node)
}
