//! `lockgate config`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::Starts;
use super::client::Client;
use super::config_file::ConfigFile;
use super::doctor::{self, Verdict};
use super::exit::{Exit, Failure};
use super::out::Out;
use super::probe;
use super::sessions::{items, text};
use crate::config::{
    ImportError, Loaded, Options, Problems, import, load, read_written, redacted, reference,
    rooted, schema,
};
use crate::ingress::tls;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Say what is wrong with a file, as the start would.
    Check(CheckArgs),
    /// Show the configuration in force, defaults filled in, secrets left out.
    Show(ShowArgs),
    /// Print the JSON schema of the file, for editors.
    Schema,
    /// Print the reference of all keys, as Markdown.
    Reference,
    /// Put what nodes share of a file, its registry part, in force on all nodes of a cluster.
    Apply(ApplyArgs),
    /// Show where a file differs from the registry that the nodes of a cluster share. Exit status 1 when it does.
    Diff(ConfigFile),
    /// List the versions of the cluster's registry.
    History,
    /// Put an older version of the cluster's registry in force again, as a new one.
    Rollback(RollbackArgs),
    /// Turn a desktop client's `mcpServers` into a lockgate.yaml on standard output.
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Also start every server for a moment: says what it offers, and which names collide.
    #[arg(long)]
    probe: bool,
    /// Accept listeners that other machines reach without a key.
    #[arg(long)]
    unsafe_no_auth: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Show this file instead of what the running gateway holds.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Only say what would change, or that it would be refused.
    #[arg(long)]
    dry_run: bool,
    /// Also revoke all keys and remove all servers that were added beside the file. A revoked key never opens again.
    #[arg(long)]
    prune: bool,
    /// Refuse when another version is in force by now.
    #[arg(long, value_name = "VERSION")]
    expected_version: Option<u64>,
    /// Why, for the history.
    #[arg(long, short, default_value = "", value_name = "TEXT")]
    message: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct RollbackArgs {
    /// Version whose registry is to be in force again.
    version: u64,
    /// Refuse when another version is in force by now.
    #[arg(long, value_name = "VERSION")]
    expected_version: Option<u64>,
    /// Why, for the history.
    #[arg(long, short, default_value = "", value_name = "TEXT")]
    message: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// `claude_desktop_config.json`, `.mcp.json`, `~/.claude.json`, `mcp.json` of VS Code or Cursor; `-` is the
    /// standard input.
    file: PathBuf,
}

pub(super) async fn run(
    verb: Verb,
    client: &Client,
    starts: &dyn Starts,
    out: &mut Out,
) -> Result<Exit, Failure> {
    match verb {
        Verb::Check(args) => check(&args, starts.now(), out).await,
        Verb::Show(args) => show(&args, client, out).await,
        Verb::Schema => {
            out.value(&schema());
            Ok(Exit::Done)
        }
        Verb::Reference => {
            out.text(&reference());
            Ok(Exit::Done)
        }
        Verb::Apply(args) => apply(args, client, out).await,
        Verb::Diff(config) => diff(config.path(), client, out).await,
        Verb::History => history(client, out).await,
        Verb::Rollback(args) => roll_back(args, client, out).await,
        Verb::Import(args) => take(&args, out),
    }
}

async fn check(args: &CheckArgs, now: SystemTime, out: &mut Out) -> Result<Exit, Failure> {
    let path = args.config.path();
    let file = path.display();
    let loaded = load(path, &Options::from_process(args.unsafe_no_auth));
    let loaded = match loaded.and_then(|loaded| with_tls(loaded, path, now)) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let count = problems.list.len();
            if out.json {
                out.value(&json!({ "ok": false, "problems": problems.list }));
            } else {
                out.text(&problems.to_string());
                out.note(&format!(
                    "{file}: {count} problem{}",
                    if count == 1 { "" } else { "s" }
                ));
            }
            return Ok(Exit::Failed);
        }
    };
    if !out.json {
        loaded.warnings.iter().for_each(|warning| {
            let line = warning
                .line
                .map(|line| format!(":{line}"))
                .unwrap_or_default();
            out.note(&format!("warning: {file}{line}: {warning}"));
        });
    }
    let servers = loaded.config.registry.servers.len();
    if !args.probe {
        let value = json!({ "ok": true, "hash": loaded.hash, "warnings": loaded.warnings });
        out.done(
            &format!(
                "{file} is good: {servers} server{}",
                if servers == 1 { "" } else { "s" }
            ),
            &value,
        );
        return Ok(Exit::Done);
    }
    probed(&loaded, out).await
}

/// Refuses what the start would, files of the listener that cannot be used, and warns of what clients will refuse.
fn with_tls(mut loaded: Loaded, path: &Path, now: SystemTime) -> Result<Loaded, Problems> {
    let Some(settings) = &loaded.config.node.tls else {
        return Ok(loaded);
    };
    match tls::inspect(settings) {
        Ok(dates) => {
            loaded
                .warnings
                .extend(dates.and_then(|dates| tls::outdated(&dates, now)));
            Ok(loaded)
        }
        Err(error) => Err(Problems {
            file: Some(path.to_owned()),
            list: vec![error.into()],
        }),
    }
}

async fn probed(loaded: &Loaded, out: &mut Out) -> Result<Exit, Failure> {
    let checks = probe::run(&loaded.config).await?;
    let failed = checks.iter().any(|check| check.result == Verdict::Failed);
    let value = json!({ "ok": !failed, "hash": loaded.hash, "warnings": loaded.warnings, "probes": checks });
    doctor::show(&checks, &value, out);
    // The file is good; what the servers that did not answer offer could not be checked.
    Ok(if failed { Exit::Unchecked } else { Exit::Done })
}

async fn show(args: &ShowArgs, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let config = match args.file.as_ref().or(args.config.as_ref()) {
        Some(file) => {
            let loaded = load(file, &Options::from_process(true))?;
            json!({ "hash": loaded.hash, "config": redacted(&loaded.written) })
        }
        None => client.get("config").await?,
    };
    if out.json {
        out.value(&config);
        return Ok(Exit::Done);
    }
    let yaml = serde_saphyr::to_string(&config["config"]).map_err(|error| {
        Failure::new(
            format!("the configuration cannot be written as YAML: {error}"),
            "use --json",
        )
    })?;
    out.text(&yaml);
    let about = |key: &str| config[key].as_str().map(|text| format!("{key} {text}"));
    let version = config["version"]
        .as_u64()
        .map(|version| format!("version {version}"));
    let about: Vec<String> = [version, about("hash"), about("reloaded_at")]
        .into_iter()
        .flatten()
        .collect();
    out.note(&format!("# {}", about.join(", ")));
    let waiting = items(&config, "needs_restart").iter();
    let waiting: Vec<String> = waiting.map(text).collect();
    if !waiting.is_empty() {
        let keys = waiting.join(", ");
        out.note(&format!(
            "# not in force until the gateway is started again: {keys}"
        ));
    }
    if let Some(error) = shown_error(&config["last_error"]) {
        out.note(&format!("# the file as it is now was refused: {error}"));
    }
    Ok(Exit::Done)
}

async fn apply(args: ApplyArgs, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let body = json!({
        "document": registry_of(args.config.path())?, "dry_run": args.dry_run, "prune": args.prune,
        "expected_version": args.expected_version, "why": args.message,
    });
    let answer = client.post("config/apply", Some(&body)).await?;
    show_changes(&answer, out);
    out.done(&outcome(args.dry_run, &answer), &answer);
    Ok(Exit::Done)
}

/// How an application ended, or would.
fn outcome(dry_run: bool, answer: &Value) -> String {
    let version = text(&answer["version"]);
    let line = match (dry_run, answer["changed"] == true) {
        (true, true) => format!("version {version} would be replaced"),
        (false, true) => format!("version {version} is in force"),
        (_, false) => format!("version {version} says the same"),
    };
    let ended = [("keys_pruned", "key"), ("servers_pruned", "server")];
    let ended = ended.map(|(name, what)| match answer[name].as_u64() {
        None | Some(0) => None,
        Some(1) => Some(format!("1 {what}")),
        Some(n) => Some(format!("{n} {what}s")),
    });
    let ended: Vec<String> = ended.into_iter().flatten().collect();
    match (ended.is_empty(), dry_run) {
        (true, _) => line,
        (false, true) => format!("{line}; {} would end", ended.join(" and ")),
        (false, false) => format!("{line}; {} ended", ended.join(" and ")),
    }
}

/// What a file says. Its relative paths start where it is, on whichever node it is read.
fn registry_of(file: &Path) -> Result<Value, Failure> {
    let written = read_written(file)?;
    let absolute = std::path::absolute(file).ok();
    let dir = absolute.as_deref().and_then(Path::parent);
    Ok(dir.map_or_else(|| written.clone(), |dir| rooted(&written, dir)))
}

fn show_changes(answer: &Value, out: &mut Out) {
    if out.json {
        return;
    }
    for change in items(answer, "changes") {
        let (what, path) = (text(&change["what"]), text(&change["path"]));
        out.text(&format!("{what:8} {path}"));
    }
    let pruned = &answer["pruned"];
    for id in items(pruned, "keys") {
        out.text(&format!("revoked  key {}", text(id)));
    }
    for name in items(pruned, "servers") {
        out.text(&format!("removed  server {}", text(name)));
    }
    for warning in items(answer, "warnings") {
        out.note(&format!("warning: {}", text(warning)));
    }
}

async fn diff(file: &Path, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let body = json!({ "document": registry_of(file)?, "dry_run": true });
    let answer = client.post("config/apply", Some(&body)).await?;
    show_changes(&answer, out);
    let (version, differs) = (text(&answer["version"]), answer["changed"] == true);
    if out.json {
        out.value(&answer);
    } else if !differs {
        out.text(&format!("version {version} says the same"));
    }
    Ok(if differs { Exit::Failed } else { Exit::Done })
}

async fn history(client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let answer = client.get("config/history").await?;
    let names = ["version", "at", "who", "why", "rolled_back_to", "sha256"];
    let row = |version: &Value| names.map(|name| text(&version[name])).to_vec();
    let rows: Vec<Vec<String>> = items(&answer, "versions").iter().map(row).collect();
    let heads = ["version", "at", "who", "why", "rollback to", "sha256"];
    out.table(&heads, &rows, &answer);
    Ok(Exit::Done)
}

async fn roll_back(args: RollbackArgs, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let body = json!({
        "to": args.version, "expected_version": args.expected_version, "why": args.message,
    });
    let answer = client.post("config/rollback", Some(&body)).await?;
    let version = text(&answer["version"]);
    let line = format!(
        "version {version} is in force, as version {} was",
        args.version
    );
    out.done(&line, &answer);
    Ok(Exit::Done)
}

fn shown_error(error: &Value) -> Option<String> {
    match error {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn take(args: &ImportArgs, out: &mut Out) -> Result<Exit, Failure> {
    let file = args.file.display();
    let bytes = if args.file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(&args.file)
    };
    let bytes = bytes.map_err(|error| {
        Failure::new(
            format!("{file} cannot be read: {error}"),
            "check path and permissions",
        )
    })?;
    let imported = import(&bytes).map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        let remedy = match error {
            ImportError::Encoding => "save it as UTF-8",
            ImportError::Syntax(_) | ImportError::NoServers | ImportError::Yaml(_) => {
                "name the file in which the client lists its MCP servers"
            }
        };
        Failure::new(format!("{file}: {error}{cause}"), remedy)
    })?;
    if out.json {
        out.value(&json!({ "yaml": imported.yaml, "variables": imported.variables, "notes": imported.notes }));
        return Ok(Exit::Done);
    }
    out.text(&imported.yaml);
    for note in &imported.notes {
        out.note(&format!("note: {note}"));
    }
    // The first line of the file names it.
    out.note("For an editor that checks the file: lockgate config schema > lockgate.schema.json");
    if !imported.variables.is_empty() {
        out.note("Set these variables before the start (the values stand in the client's file):");
        for (name, about) in &imported.variables {
            out.note(&format!("  {name}  {about}"));
        }
    }
    out.note("Secrets are found by name and look: read the file before you commit it");
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_says_what_it_ended() {
        let check = |dry_run, changed, keys, servers, expected: &str| {
            let answer = json!({
                "version": 3, "changed": changed, "keys_pruned": keys, "servers_pruned": servers,
            });
            assert_eq!(outcome(dry_run, &answer), expected);
        };
        check(true, false, 0, 0, "version 3 says the same");
        check(
            true,
            false,
            1,
            2,
            "version 3 says the same; 1 key and 2 servers would end",
        );
        check(
            true,
            true,
            0,
            1,
            "version 3 would be replaced; 1 server would end",
        );
        check(false, true, 2, 0, "version 3 is in force; 2 keys ended");
    }
}
