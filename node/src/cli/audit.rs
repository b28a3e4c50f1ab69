//! `lockgate audit`: asks a running node for its records, or reads those in a data directory, or in a copy of one, for
//! which no node need run. What vouches for records and what takes them elsewhere reads files alone.

mod look;
mod tail;
mod verify;

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use lockgate_cluster::audit::export::{ExportError, export_csv, export_jsonl};
use lockgate_cluster::audit::filter::{Filter, is_time};
use lockgate_cluster::audit::leaf::FIELDS;
use lockgate_cluster::audit::prove::prove;
use lockgate_cluster::audit::segment::SegmentReader;
use serde_json::{Value, json};

use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use super::out::Out;
use super::progress::Progress;
use super::sessions::{items, text};

pub(super) use self::look::run as look;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Asks a running node.
    #[command(flatten)]
    Ask(Ask),
    /// Asks a running node, or reads files.
    #[command(flatten)]
    Look(look::Look),
    /// Reads files.
    #[command(flatten)]
    Read(Read),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Ask {
    /// Show records as they come, from a running node.
    Tail(tail::Args),
    /// Say which MAC keys guard which records, and whether a secret of the operator is in force.
    Keys,
    /// Guard records with another MAC key from now on, on every node.
    ///
    /// The log says which key guards which records: an older one vouches for nothing that comes later.
    RotateKey,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Read {
    /// Find out whether records were changed, removed, added or moved.
    ///
    /// Exit status 0: they were not. 1: they were, and the first one is named; or a checkpoint is damaged or forged, and
    /// it is named once the records are held to the others. 3: nothing wrong was found, but not all could be checked. That
    /// is so when a file is missing or cannot be read, without public keys, and at the end of a log in use: a checkpoint
    /// covers records about a second after they were written, so verify again to have it say more. The MACs that guard
    /// records until then are no witness here, as their key lies in the data directory, too, but where it follows from a
    /// secret (`audit.hmac_key_env`): then they are, and what they guard counts as unchecked without the secret.
    Verify(verify::Args),
    /// Prove that one record is in the log, for somebody who has nothing but the public keys.
    Prove {
        #[command(flatten)]
        place: Place,
        /// Number of the record.
        seq: u64,
    },
    /// Write records to a file or to standard output.
    Export(ExportArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Data directory of a node, or a copy of it.
    #[arg(long, value_name = "DIR", default_value = "lockgate-data")]
    data_dir: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// Only records with this field, for example `tool=github_get_repo`. May be repeated.
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = pair)]
    equal: Vec<(String, String)>,
    /// Not before this time: 2026-11-21, or 2026-11-21T08:00.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    place: Place,
    /// `jsonl` can be verified, `csv` is for a spreadsheet.
    #[arg(long, default_value = "jsonl", value_parser = ["jsonl", "csv"])]
    format: String,
    /// File to write; standard output when it is not there.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    filter: FilterArgs,
}

pub(super) async fn ask(verb: Ask, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    match verb {
        Ask::Tail(args) => tail::run(&args, client, out).await,
        Ask::Keys => show_keys(&client.get("audit/keys").await?, out),
        Ask::RotateKey => show_keys(&client.post("audit/rotate-key", None).await?, out),
    }
}

fn show_keys(answer: &Value, out: &mut Out) -> Result<Exit, Failure> {
    let columns = ["id", "role", "from", "first", "last"];
    let row = |key: &Value| columns.map(|name| text(&key[name])).to_vec();
    let rows: Vec<Vec<String>> = items(answer, "keys").iter().map(row).collect();
    out.table(&columns, &rows, answer);
    if let Some(awaited) = awaited(&answer["secret"]) {
        out.note(&format!(
            "  the secret of `audit.hmac_key_env` is not in force, it waits for {awaited}"
        ));
    }
    Ok(Exit::Done)
}

/// For whom a secret waits that is not in force.
pub(super) fn awaited(secret: &Value) -> Option<String> {
    (secret["in_force"] == false).then_some(())?;
    let names = items(secret, "awaits").iter().map(text);
    let names: Vec<String> = names.collect();
    Some(match names.is_empty() {
        true => "the leader".to_owned(),
        false => names.join(", "),
    })
}

pub(super) fn read(verb: &Read, out: &mut Out) -> Result<Exit, Failure> {
    match verb {
        Read::Verify(args) => verify::run(args, out),
        Read::Prove { place, seq } => {
            let proof = prove(&place.open()?, *seq).map_err(|error| chain("", &error))?;
            out.text(&proof);
            Ok(Exit::Done)
        }
        Read::Export(args) => export(args, out),
    }
}

impl Place {
    fn open(&self) -> Result<SegmentReader, Failure> {
        open(&self.data_dir)
    }
}

fn open(data_dir: &Path) -> Result<SegmentReader, Failure> {
    let reader = SegmentReader::open(&data_dir.join("cluster").join("audit"));
    reader.map_err(|error| chain("name the node's data directory with --data-dir", &error))
}

impl FilterArgs {
    fn filter(&self) -> Filter {
        Filter {
            equal: self.equal.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (field, value) = text
        .split_once('=')
        .ok_or("write it as field=value, for example kind=call")?;
    if !FIELDS.contains(&field) {
        let known = FIELDS.join(", ");
        return Err(format!(
            "records have no field `{field}`; they have {known}"
        ));
    }
    Ok((field.to_owned(), value.to_owned()))
}

fn moment(text: &str) -> Result<String, String> {
    match is_time(text) {
        true => Ok(text.to_owned()),
        false => Err("write it in UTC as 2026-11-21, or 2026-11-21T08:00".to_owned()),
    }
}

/// The filter as a part of a query, behind others.
fn query(filter: &Filter) -> String {
    let equal = filter.equal.iter();
    let mut query: String = equal
        .map(|(field, value)| format!("&where={}", segment(&format!("{field}={value}"))))
        .collect();
    for (name, time) in [("since", &filter.since), ("until", &filter.until)] {
        if let Some(time) = time {
            query.push_str(&format!("&{name}={}", segment(time)));
        }
    }
    query
}

/// The error with its causes.
fn chain(remedy: &str, error: &dyn std::error::Error) -> Failure {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    Failure::new(message, remedy)
}

fn named(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "")
}

fn export(args: &ExportArgs, out: &mut Out) -> Result<Exit, Failure> {
    let filter = args.filter.filter();
    // Before the file is opened, which empties it.
    if args.format != "csv" && filter != Filter::default() {
        return Err(Failure::new(
            "an export that can be verified has all records",
            "leave the filters out, or add --format csv",
        ));
    }
    let reader = args.place.open()?;
    let range = reader.first().map_err(|error| chain("", &error))?..reader.size();
    let mut sink: Box<dyn Write> = match &args.out {
        Some(path) => Box::new(File::create(path).map_err(|error| named(path, &error))?),
        None => Box::new(std::io::stdout()),
    };
    let mut sink = BufWriter::new(&mut sink);
    // A bar would stand among records that go to the terminal.
    let mut progress = Progress::new("exporting", 0, !out.json && args.out.is_some());
    let step = |done, all| progress.of(done, all);
    let written = match args.format.as_str() {
        "csv" => export_csv(&reader, range, &filter, &mut sink, step),
        _ => export_jsonl(&reader, range, &mut sink, step),
    };
    let flushed = |written| sink.flush().map(|()| written).map_err(ExportError::from);
    let written = match written.and_then(flushed) {
        // Whoever reads standard output has enough (`| head`).
        Err(ExportError::Io(error))
            if args.out.is_none() && error.kind() == ErrorKind::BrokenPipe =>
        {
            return Ok(Exit::Done);
        }
        written => written.map_err(|error| chain("", &error))?,
    };
    progress.end();
    if args.out.is_some() {
        let line = format!("{written} records are written");
        out.done(&line, &json!({ "records": written }));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_go_into_the_query_whole() {
        let filter = Filter {
            equal: vec![
                ("tool".to_owned(), "a&b=c".to_owned()),
                ("kind".to_owned(), "call".to_owned()),
            ],
            since: Some("2026-11-21T08:00".to_owned()),
            until: None,
        };
        assert_eq!(
            query(&filter),
            "&where=tool%3Da%26b%3Dc&where=kind%3Dcall&since=2026-11-21T08%3A00"
        );
    }
}
