//! `lockgate init`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::out::Out;
use crate::config::schema;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File to write.
    #[arg(default_value = "lockgate.yaml")]
    file: PathBuf,
}

const SCHEMA_NAME: &str = "lockgate.schema.json";
/// Random bytes of a new key: 256 bits.
const KEY_BYTES: usize = 32;

pub(super) const TEMPLATE: &str = r#"# yaml-language-server: $schema=./lockgate.schema.json
#
# Lockgate: one door between agents and their MCP servers. All keys: `lockgate config reference`.
# Check this file with `lockgate config check`, start with `lockgate serve`, find faults with `lockgate doctor`.

listen: 127.0.0.1:7777                # clients connect to http://127.0.0.1:7777/mcp
admin: { listen: 127.0.0.1:7778 }     # admin API, /metrics, /healthz, /readyz
data_dir: ./lockgate-data

identity:
  # Whoever reaches this machine's loopback address gets these roles. Fine on a laptop, refused on other addresses.
  anonymous: [me]
  # For a team: remove `anonymous` and give every agent a key. Values come from the environment, never from this file.
  # api_keys:
  #   - { id: ci, key_env: LOCKGATE_CI_KEY, principal: ci-bot, roles: [me] }

roles:                                # what no role allows is denied; `deny` wins
  me: { allow: ["*"] }
  # reader: { allow: ["*_list_*", "*_get_*"], deny: ["secrets_*"] }

# MCP servers by name. The name stands in front of the tools' names: `files_read_file`.
servers:
  # files:
  #   command: npx
  #   args: ["-y", "@modelcontextprotocol/server-filesystem", "/srv/files"]
  #   tools:
  #     delete_*: { action: deny }
  # github:
  #   url: https://mcp.example/mcp
  #   headers: { Authorization: "Bearer ${GITHUB_TOKEN}" }
  #   timeout: 30s
"#;

pub(super) fn run(args: &Args, out: &mut Out) -> Result<Exit, Failure> {
    let parent = args.file.parent().unwrap_or_else(|| Path::new(""));
    write_new(&args.file, TEMPLATE)?;
    // An older schema may be there beside a new file; the newer one describes this version.
    let schema_path = parent.join(SCHEMA_NAME);
    std::fs::write(&schema_path, format!("{:#}\n", schema()))
        .map_err(|error| unwritable(&schema_path, &error))?;
    let key = random_key()?;
    let file = args.file.display();
    let value = json!({ "file": args.file, "schema": schema_path, "suggested_key": key });
    out.done(
        &format!("{file} is written. Next: lockgate serve --config {file}"),
        &value,
    );
    if !out.json {
        out.note("For `api_keys`, here is a fresh key; it is stored nowhere:");
        out.note(&format!("  export LOCKGATE_CI_KEY={key}"));
    }
    Ok(Exit::Done)
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Failure::new(
            format!("{} is there already", path.display()),
            "name another file, or remove it first",
        )),
        Err(error) => Err(unwritable(path, &error)),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("{} cannot be written: {error}", path.display()),
        "check directory and permissions",
    )
}

fn random_key() -> Result<String, Failure> {
    let mut bytes = [0_u8; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::new("the system gives no random numbers", "check /dev/urandom"))?;
    Ok(format!("lg_{}", URL_SAFE_NO_PAD.encode(bytes)))
}
