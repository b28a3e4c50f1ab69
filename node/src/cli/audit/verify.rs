//! `lockgate audit verify`: from the files of a node or from an export, with the public keys, and with the secret of the
//! operator where one guards the records.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use lockgate_cluster::audit::export::Export;
use lockgate_cluster::audit::verify::{Report, Trust, Verdict, verify_export, verify_segments};
use lockgate_cluster::audit::{Genesis, Guards, MacKeys, Signers, VerifierKey};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{Place, chain, named};
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::Out;
use crate::cli::progress::Progress;
use crate::config;

/// Read for the name of the variable where no file is named, if it is there.
const CONFIG: &str = "lockgate.yaml";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: Place,
    /// Verify this export instead.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Public keys, as `lockgate audit signers` has printed them. Without them nothing can be said for certain.
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
    /// Environment variable with the secret that guards the records, and former ones behind it. The default is what the
    /// configuration names as `audit.hmac_key_env`.
    #[arg(long, value_name = "NAME")]
    hmac_key_env: Option<String>,
    /// Configuration of the node, read for the name of that variable alone [default: lockgate.yaml, if it is there].
    #[arg(long, short, value_name = "FILE", conflicts_with = "hmac_key_env")]
    config: Option<PathBuf>,
    /// Let checkpoints alone decide, also where a secret guards records: for an auditor who has the public keys and no
    /// secret.
    #[arg(long, conflicts_with_all = ["hmac_key_env", "config"])]
    checkpoints_only: bool,
    /// Records that must be there at least.
    #[arg(long, value_name = "COUNT")]
    expect: Option<u64>,
}

/// Status 1 says that records were changed: whatever keeps it from looking at them is another thing.
pub(super) fn run(args: &Args, out: &mut Out) -> Result<Exit, Failure> {
    let report = report(args, out).map_err(|failure| Failure {
        exit: Exit::Unchecked,
        ..failure
    })?;
    let exit = tell(&report, out);
    if report.lacks_secret {
        out.note("  try: --hmac-key-env NAME, with the variable that the nodes have as `audit.hmac_key_env`");
    } else if exit == Exit::Unchecked && args.signers.is_none() {
        out.note("  try: --signers FILE, with what `lockgate audit signers` has printed");
    }
    Ok(exit)
}

fn report(args: &Args, out: &Out) -> Result<Report, Failure> {
    let signers = match &args.signers {
        Some(path) => read_signers(path)?,
        None => Vec::new(),
    };
    let guards = match args.checkpoints_only {
        true => None,
        false => Some(guards(args)?),
    };
    let trust = |genesis: Genesis| Trust {
        genesis,
        // Those of the keyring lie in the data directory with the records.
        keys: MacKeys::default(),
        guards,
        signers,
    };
    let mut progress = Progress::new("verifying", 0, !out.json);
    let step = |done, all| progress.of(done, all);
    let report = match &args.export {
        Some(path) => {
            let open = || {
                let file = File::open(path).map_err(|error| named(path, &error));
                file.map(BufReader::new)
            };
            let header = Export::open(open()?).map_err(|error| chain("", &error))?;
            let trust = trust(header.header().genesis.clone());
            verify_export(open()?, &trust, step).map_err(|error| chain("", &error))?
        }
        None => {
            let reader = args.place.open()?;
            let genesis = reader.genesis().map_err(|error| chain("", &error))?;
            verify_segments(&reader, &trust(genesis), args.expect, step)
                .map_err(|error| chain("", &error))?
        }
    };
    progress.end();
    Ok(report)
}

/// Secrets in the variable that was named, or that the configuration names.
fn guards(args: &Args) -> Result<Guards, Failure> {
    let variable = match &args.hmac_key_env {
        Some(variable) => Some(variable.clone()),
        None => configured(args.config.as_deref())?,
    };
    let Some(variable) = variable else {
        return Ok(Guards::default());
    };
    let refused = |what: String| {
        let remedy = "set it to what the nodes have, or let checkpoints alone decide with --checkpoints-only";
        Failure::new(format!("{} {what}", Guards::variable(&variable)), remedy)
    };
    let text = std::env::var(&variable).map_err(|_| refused("is not set".to_owned()))?;
    let text = SecretString::from(text);
    Guards::parse(text.expose_secret()).map_err(|error| refused(error.to_string()))
}

/// What the configuration names as `audit.hmac_key_env`.
fn configured(file: Option<&Path>) -> Result<Option<String>, Failure> {
    let written = match file {
        Some(path) => config::read_written(path)?,
        None => match config::read_written(Path::new(CONFIG)) {
            Ok(written) => written,
            // It need not be there, nor be good.
            Err(_) => return Ok(None),
        },
    };
    let variable = written["audit"]["hmac_key_env"].as_str();
    Ok(variable.map(str::to_owned))
}

fn tell(report: &Report, out: &mut Out) -> Exit {
    let (word, reasons, exit) = match &report.verdict {
        Verdict::Good => ("good", Vec::new(), Exit::Done),
        Verdict::Bad(finding) => ("bad", vec![finding.to_string()], Exit::Failed),
        Verdict::Unchecked(reasons) => ("unchecked", reasons.clone(), Exit::Unchecked),
    };
    let bad = match &report.verdict {
        Verdict::Bad(finding) => Some(finding.seq),
        Verdict::Good | Verdict::Unchecked(_) => None,
    };
    let value = json!({
        "verdict": word,
        "first_bad": bad,
        "reasons": reasons,
        "first": report.records.start,
        "end": report.records.end,
        "attested": report.attested,
        "checkpoints": report.n_checkpoints,
        "macs": report.n_macs,
        "chain": report.chain.to_string(),
        "root": report.root.to_string(),
    });
    let (first, end) = (report.records.start, report.records.end);
    let mut line = format!(
        "{word}: {} records from {first} on, {} of them covered by {}",
        end - first,
        report.attested.saturating_sub(first),
        match report.n_checkpoints {
            1 => "one checkpoint".to_owned(),
            n => format!("{n} checkpoints"),
        },
    );
    if report.n_macs > 0 {
        line.push_str(&format!(", {} with a right MAC", report.n_macs));
    }
    for reason in &reasons {
        line.push_str("; ");
        line.push_str(reason);
    }
    out.done(&line, &value);
    exit
}

/// Keys as `lockgate audit signers` prints them.
fn read_signers(path: &Path) -> Result<Vec<Signers>, Failure> {
    let bytes = std::fs::read(path).map_err(|error| named(path, &error))?;
    let value: Option<Value> = serde_json::from_slice(&bytes).ok();
    let sets = value.as_ref().and_then(|value| value["signers"].as_array());
    let key = |value: &Value| VerifierKey::parse(value.as_str()?).ok();
    let set = |set: &Value| {
        let cosigners: Option<Vec<_>> = set["cosigners"].as_array()?.iter().map(key).collect();
        Signers::new(key(&set["log"])?, cosigners?).ok()
    };
    let parsed: Option<Vec<Signers>> = sets.and_then(|sets| sets.iter().map(set).collect());
    parsed.ok_or_else(|| {
        Failure::new(
            format!("{} has no keys of an audit log", path.display()),
            "make it with `lockgate audit signers`",
        )
    })
}
