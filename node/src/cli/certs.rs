//! `lockgate certs`.

use std::path::PathBuf;

use serde_json::json;

use super::Starts;
use super::exit::{Exit, Failure};
use super::out::Out;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Make certificates of nodes, for development, and a CA where there is none yet.
    Dev(DevArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct DevArgs {
    /// Directory for the files; keys get mode 0600. Files that are there are never replaced: the CA signs for more nodes,
    /// and a node that has files already is refused.
    #[arg(long, default_value = "certs", value_name = "DIR")]
    dir: PathBuf,
    /// Trust domain in the names of the nodes.
    #[arg(long, default_value = "lockgate.local", value_name = "DOMAIN")]
    trust_domain: String,
    /// Names of the nodes.
    #[arg(default_values = ["n1", "n2", "n3"], value_name = "NODE")]
    nodes: Vec<String>,
}

pub(super) fn dev(args: &DevArgs, starts: &dyn Starts, out: &mut Out) -> Result<Exit, Failure> {
    let files = starts.dev_certs(&args.dir, &args.trust_domain, &args.nodes)?;
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    out.done(&names.join("\n"), &json!({ "files": names }));
    if !out.json {
        out.note("for development only: whoever reads `ca.key` can be any node");
    }
    Ok(Exit::Done)
}
