//! `lockgate audit log`, `stats` and `signers`: a running node is asked, or the files of one are read. Both ways print
//! the same.

use std::path::PathBuf;

use lockgate_cluster::audit::Stats;
use lockgate_cluster::audit::filter::{self, Filter};
use lockgate_cluster::audit::segment::SegmentReader;
use serde_json::{Value, json};

use super::{FilterArgs, chain, open, query};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::sessions::text;

/// Most records that a node gives in one answer.
const RECORDS_MAX: usize = 1000;
/// `method` of the records that say who signs.
const SIGNERS: &str = "audit/signers";
/// `node` of what the log says itself.
const LOG_ITSELF: &str = "@cluster";

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Look {
    /// Show the last records.
    Log(LogArgs),
    /// Say how many records and checkpoints there are.
    Stats(Source),
    /// Print the public keys that verify checkpoints. Keep them where nobody who can change the log can change them.
    Signers(Source),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct LogArgs {
    #[command(flatten)]
    source: Source,
    /// How many.
    #[arg(long, short, default_value_t = 20)]
    lines: usize,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Source {
    /// Read the files of a stopped node, or a copy of them, instead of asking a running one: its data directory.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Where the log is.
#[derive(Debug)]
enum Log {
    Node(Client),
    Files(SegmentReader),
}

/// Runs the verb. `client` is called when a node is to be asked.
pub(in crate::cli) async fn run(
    verb: &Look,
    client: impl FnOnce() -> Result<Client, Failure>,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let (Look::Log(LogArgs { source, .. }) | Look::Stats(source) | Look::Signers(source)) = verb;
    let log = match &source.data_dir {
        Some(dir) => Log::Files(open(dir)?),
        None => Log::Node(client()?.beside_files()),
    };
    match verb {
        Look::Log(args) => show(&log, args, out).await,
        Look::Stats(_) => stats(&log, out).await,
        Look::Signers(_) => signers(&log, out).await,
    }
}

impl Log {
    /// The last `n` records that `filter` lets pass, oldest first.
    async fn last(&self, filter: &Filter, n: usize) -> Result<Vec<Value>, Failure> {
        match self {
            Self::Node(client) => Ok(ask(client, filter, n).await?.records),
            Self::Files(reader) => {
                let found = filter::tail(reader, filter, n, 0..u64::MAX);
                let lines = found.map_err(|error| chain("", &error))?.lines;
                let records = lines.iter();
                Ok(records
                    .filter_map(|line| serde_json::from_str(line).ok())
                    .collect())
            }
        }
    }

    async fn stats(&self) -> Result<Value, Failure> {
        match self {
            Self::Node(client) => client.get("audit/stats").await,
            Self::Files(reader) => {
                let stats = Stats::read(reader).map_err(|error| chain("", &error))?;
                Ok(json!(stats))
            }
        }
    }
}

/// The end of a node's log.
#[derive(Debug)]
pub(super) struct Last {
    /// Oldest first.
    pub(super) records: Vec<Value>,
    /// The first record that was not there yet.
    pub(super) next: u64,
}

/// A node looks through so much of its log for one answer and no more, so that it is asked until it has found enough.
pub(super) async fn ask(client: &Client, filter: &Filter, n: usize) -> Result<Last, Failure> {
    let filter = query(filter);
    let mut next = None;
    // The last ones first.
    let mut answers: Vec<Vec<Value>> = Vec::new();
    let (mut end, mut missing) = (None, n);
    loop {
        let limit = missing.min(RECORDS_MAX);
        let before = end.map_or_else(String::new, |end| format!("&before={end}"));
        let path = format!("audit/records?limit={limit}{before}{filter}");
        let mut answer = client.get(&path).await?;
        let records = match answer["records"].take() {
            Value::Array(records) => records,
            _ => Vec::new(),
        };
        missing = missing.saturating_sub(records.len());
        answers.push(records);
        let _first = next.get_or_insert_with(|| answer["next"].as_u64().unwrap_or_default());
        let previous = answer["previous"].as_u64();
        let is_earlier = previous.is_some_and(|previous| end.is_none_or(|end| previous < end));
        if missing == 0 || !is_earlier {
            return Ok(Last {
                records: answers.into_iter().rev().flatten().collect(),
                next: next.unwrap_or_default(),
            });
        }
        end = previous;
    }
}

async fn show(log: &Log, args: &LogArgs, out: &mut Out) -> Result<Exit, Failure> {
    let records = log.last(&args.filter.filter(), args.lines).await?;
    let heads = [
        "seq",
        "ts",
        "node",
        "kind",
        "principal",
        "method",
        "tool",
        "status",
    ];
    let row = |record: &Value| heads.map(|head| text(&record[head])).to_vec();
    let rows: Vec<Vec<String>> = records.iter().map(row).collect();
    out.table(&heads, &rows, &json!({ "records": records }));
    Ok(Exit::Done)
}

async fn stats(log: &Log, out: &mut Out) -> Result<Exit, Failure> {
    let value = log.stats().await?;
    let members = value.as_object().into_iter().flatten();
    let rows: Vec<Vec<String>> = members
        .map(|(key, value)| vec![key.replace('_', " "), value.to_string().replace('"', "")])
        .collect();
    out.table(&["key", "value"], &rows, &value);
    Ok(Exit::Done)
}

async fn signers(log: &Log, out: &mut Out) -> Result<Exit, Failure> {
    let equal = [("method", SIGNERS), ("node", LOG_ITSELF)];
    let filter = Filter {
        equal: equal
            .map(|(field, value)| (field.to_owned(), value.to_owned()))
            .to_vec(),
        ..Filter::default()
    };
    let records = log.last(&filter, usize::MAX).await?;
    let sets: Vec<&Value> = records.iter().map(|record| &record["args"]).collect();
    if sets.is_empty() {
        let remedy = "wait until the cluster has signed its first checkpoint";
        return Err(Failure::new("nobody signs this log yet", remedy));
    }
    out.value(&json!({ "signers": sets }));
    Ok(Exit::Done)
}
