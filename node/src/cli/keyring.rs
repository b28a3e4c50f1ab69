//! `lockgate keyring`.

use super::client::Client;
use super::exit::{Exit, Failure};
use super::out::Out;
use super::sessions::{items, text};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Seal session ids, cursors and states with another key, on every node.
    ///
    /// What was sealed before stays good for its time: a key goes when nothing of it can be about any more.
    Rotate,
}

pub(super) async fn run(verb: Verb, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let Verb::Rotate = verb;
    let answer = client.post("keyring/rotate", None).await?;
    let columns = ["id", "role", "retired_at"];
    let row = |key: &serde_json::Value| columns.map(|name| text(&key[name])).to_vec();
    let rows: Vec<Vec<String>> = items(&answer, "keys").iter().map(row).collect();
    out.table(&columns, &rows, &answer);
    Ok(Exit::Done)
}
