//! `lockgate snapshot`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Starts;
use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use super::out::Out;
use super::progress::Progress;
use super::sessions::text;

/// A snapshot may be replaced on its node while it is fetched; then the newer one is.
const ATTEMPTS: u32 = 5;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Write all that the nodes share to a file: registry, keys, members, quotas.
    ///
    /// Secrets in it are sealed with the cluster's key, the file `cluster/key` in the data directory of every node:
    /// keep a copy of that apart. The records of the audit log are not in it: copy `cluster/audit`.
    Save {
        /// File to write; it must not exist.
        file: PathBuf,
        /// Read the files of a stopped node instead of asking a running one: its data directory. For a cluster that has
        /// lost its quorum for good: a running node gives a snapshot only while it has one.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Check a snapshot file and say what is in it; without a file, which snapshot the running node has.
    Status {
        /// Snapshot file.
        file: Option<PathBuf>,
    },
    /// Begin a new cluster, under a new id, with what a snapshot holds. The data directory must be empty.
    Restore(RestoreArgs),
}

/// How a snapshot is restored.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// Snapshot file.
    pub file: PathBuf,
    /// Configuration file of the node that is to be the first of the new cluster.
    #[arg(long, short, default_value = "lockgate.yaml", value_name = "FILE")]
    pub config: PathBuf,
    /// Copy of `cluster/key` of a node of the old cluster.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
}

/// `snapshot save --data-dir`.
pub(super) fn salvage(
    data_dir: &Path,
    file: &Path,
    starts: &dyn Starts,
    out: &mut Out,
) -> Result<Exit, Failure> {
    if file.exists() {
        return Err(taken(file));
    }
    let salvaged = starts.snapshot_salvage(data_dir, file)?;
    let unconfirmed = salvaged["unconfirmed"].as_u64().unwrap_or(0);
    let exit = report_saved(file, &salvaged, starts, out)?;
    if out.json {
        return Ok(exit);
    }
    if unconfirmed > 0 {
        out.note(&format!(
            "the node did not know whether the last {unconfirmed} entries were on a majority; they are in it"
        ));
    }
    match salvaged["records_missing"].as_u64() {
        Some(0) => {}
        Some(missing) => out.note(&format!(
            "{missing} audit records are in no file of `cluster/audit`: start the node once more, and save again"
        )),
        None => out.note("the files of `cluster/audit` cannot be read: start the node once more, which mends them"),
    }
    Ok(exit)
}

pub(super) async fn save(file: &Path, client: &Client, out: &mut Out) -> Result<Value, Failure> {
    if file.exists() {
        return Err(taken(file));
    }
    let mut attempt = 1;
    loop {
        let saved = client.post("snapshot", None).await?;
        let mut draft = Draft::create(file)?;
        match fetch(&saved, &mut draft, client, !out.json).await {
            Ok(()) => {
                draft.finish(file)?;
                return Ok(saved);
            }
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(error) => out.note(&format!("{error}; once more")),
        }
        attempt += 1;
    }
}

async fn fetch(
    saved: &Value,
    draft: &mut Draft,
    client: &Client,
    visible: bool,
) -> Result<(), Failure> {
    let (id, total) = (text(&saved["id"]), saved["bytes"].as_u64().unwrap_or(0));
    let mut bar = Progress::new("saving", total, visible);
    let mut done = 0;
    while done < total {
        let path = format!("snapshot/{}?offset={done}", segment(&id));
        let piece = client.bytes(&path).await?;
        if piece.is_empty() {
            let message = format!("the snapshot ends after {done} of {total} bytes");
            return Err(Failure::new(message, "save it once more"));
        }
        draft.write(&piece)?;
        done += piece.len() as u64;
        bar.at(done);
    }
    bar.end();
    Ok(())
}

/// What is written beside the file until all of it is there. Removed when it is not finished.
struct Draft {
    file: File,
    path: PathBuf,
}

impl Draft {
    fn create(file: &Path) -> Result<Self, Failure> {
        let mut path = file.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        match options.open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) => Err(unwritable(&path, &error)),
        }
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(piece);
        written.map_err(|error| unwritable(&self.path, &error))
    }

    fn finish(self, file: &Path) -> Result<(), Failure> {
        // A link, unlike a renaming, takes nobody's place.
        let placed = self
            .file
            .sync_all()
            .and_then(|()| fs::hard_link(&self.path, file));
        placed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(file),
            _ => unwritable(file, &error),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.path);
    }
}

fn taken(file: &Path) -> Failure {
    let message = format!("{} exists already", file.display());
    Failure::new(message, "name another file")
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let message = format!("{} cannot be written: {error}", path.display());
    Failure::new(message, "check path, permissions and free space")
}

/// `snapshot save`, and then what is in the file.
pub(super) fn report_saved(
    file: &Path,
    saved: &Value,
    starts: &dyn Starts,
    out: &mut Out,
) -> Result<Exit, Failure> {
    // Nobody notices a bad copy but who looks at it.
    let mut value = starts.snapshot_inspect(file)?;
    value["file"] = json!(file);
    for found in ["unconfirmed", "records_missing"] {
        if let Some(found_there) = saved.get(found) {
            value[found] = found_there.clone();
        }
    }
    let line = format!(
        "{} holds the state up to entry {} of term {}, {} bytes",
        file.display(),
        text(&saved["index"]),
        text(&value["term"]),
        text(&saved["bytes"])
    );
    out.done(&line, &value);
    if !out.json {
        out.note("keep a copy of `cluster/key` of a node apart from it: a restore needs that");
    }
    Ok(Exit::Done)
}

pub(super) async fn status(client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let answer = client.get("snapshot").await?;
    show(
        &["node", "index", "bytes", "apply_index", "purged_index"],
        &answer,
        out,
    );
    Ok(Exit::Done)
}

pub(super) fn inspect(file: &Path, starts: &dyn Starts, out: &mut Out) -> Result<Exit, Failure> {
    let value = starts.snapshot_inspect(file)?;
    show(
        &[
            "cluster",
            "index",
            "term",
            "bytes",
            "members",
            "config_version",
            "keys",
        ],
        &value,
        out,
    );
    Ok(Exit::Done)
}

fn show(names: &[&str], value: &Value, out: &mut Out) {
    let rows = names
        .iter()
        .map(|name| vec![(*name).to_owned(), text(&value[*name])]);
    let rows: Vec<Vec<String>> = rows.collect();
    out.table(&["what", "value"], &rows, value);
}

pub(super) fn restore(
    args: &RestoreArgs,
    starts: &dyn Starts,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let total = fs::metadata(&args.file).map_or(0, |it| it.len());
    let mut bar = Progress::new("restoring", total, !out.json);
    let restored = starts.snapshot_restore(args, &mut |written| bar.at(written));
    bar.end();
    let value = restored?;
    let line = format!(
        "cluster {} is made, with the state of {} up to entry {}",
        text(&value["cluster"]),
        text(&value["former"]),
        text(&value["index"])
    );
    out.done(&line, &value);
    if !out.json {
        out.note(
            "start it with `lockgate serve`; further nodes join it with empty data directories",
        );
    }
    Ok(Exit::Done)
}
