//! `lockgate audit tail`: records as they come, from a running node.

use serde_json::Value;

use super::look::{Last, ask};
use super::{FilterArgs, query};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::sessions::{items, text};

/// Columns, and how wide they are at least.
const COLUMNS: [(&str, usize); 8] = [
    ("seq", 8),
    ("ts", 24),
    ("node", 8),
    ("kind", 8),
    ("principal", 16),
    ("method", 16),
    ("tool", 24),
    ("status", 0),
];
/// The node holds back an answer without records for so long, in seconds.
const WAIT_SECS: u64 = 3;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// How many earlier ones to begin with.
    #[arg(long, short, default_value_t = 10, value_parser = clap::value_parser!(u16).range(..=1000))]
    lines: u16,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Prints until somebody stops it or nobody reads any more.
pub(in crate::cli) async fn run(
    args: &Args,
    client: &Client,
    out: &mut Out,
) -> Result<Exit, Failure> {
    tokio::select! {
        ended = follow(args, client, out) => ended,
        _stopped = tokio::signal::ctrl_c() => Ok(Exit::Done),
    }
}

async fn follow(args: &Args, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let filter = args.filter.filter();
    let Last {
        mut records,
        mut next,
    } = ask(client, &filter, usize::from(args.lines)).await?;
    let filter = query(&filter);
    if !out.json {
        let heads = COLUMNS.map(|(name, _)| name.to_uppercase());
        out.done(&row(&heads), &Value::Null);
    }
    loop {
        for record in &records {
            if out.json {
                out.text(&record.to_string());
            } else {
                let cells = COLUMNS.map(|(name, _)| text(&record[name]));
                out.done(&row(&cells), &Value::Null);
            }
        }
        if !out.is_read() {
            return Ok(Exit::Done);
        }
        let path = format!("audit/records?from={next}&wait={WAIT_SECS}&limit=1000{filter}");
        let answer = client.get(&path).await?;
        records = items(&answer, "records").to_vec();
        next = answer["next"].as_u64().unwrap_or(next);
    }
}

fn row(cells: &[String]) -> String {
    let cells = cells.iter().zip(COLUMNS);
    let cells: Vec<String> = cells
        .map(|(cell, (_, width))| format!("{cell:width$}"))
        .collect();
    cells.join("  ").trim_end().to_owned()
}
