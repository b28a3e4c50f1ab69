//! `lockgate doctor`: what keeps the gateway from starting or working.

mod cluster;
mod reach;
mod secret;
mod tls;

use std::fs::TryLockError;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};

use super::Starts;
use super::client::Client;
use super::config_file::ConfigFile;
use super::exit::{Exit, Failure};
use super::out::Out;
use super::sessions::{items, text};
use crate::config::{Audit, Config, Options, Problem, load};
use crate::room::{MAKE_ROOM, is_full};

/// A store that begins takes about 180 KiB.
const TRIAL_BYTES: usize = 256 << 10;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Accept listeners that other machines reach without a key.
    #[arg(long)]
    unsafe_no_auth: bool,
}

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Good,
    Warning,
    Failed,
    /// It could not be found out.
    Unchecked,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub name: String,
    pub result: Verdict,
    pub detail: String,
    /// Empty when nothing has to be done.
    pub remedy: String,
}

impl Check {
    pub(super) fn new(
        name: impl Into<String>,
        result: Verdict,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            result,
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }

    fn good(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Good, detail, "")
    }

    fn failed(
        name: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(name, Verdict::Failed, detail, remedy)
    }
}

pub(super) async fn run(
    args: &Args,
    client: &Client,
    starts: &dyn Starts,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let checks = all(args, client, starts).await;
    show(&checks, &json!({ "checks": checks }), out);
    Ok(verdict(&checks))
}

fn verdict(checks: &[Check]) -> Exit {
    let any = |result: Verdict| checks.iter().any(|check| check.result == result);
    if any(Verdict::Failed) {
        Exit::Failed
    } else if any(Verdict::Unchecked) {
        Exit::Unchecked
    } else {
        Exit::Done
    }
}

pub(super) fn show(checks: &[Check], value: &Value, out: &mut Out) {
    let row = |check: &Check| {
        let result = match check.result {
            Verdict::Good => "good",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
            Verdict::Unchecked => "unchecked",
        };
        vec![result.to_owned(), check.name.clone(), check.detail.clone()]
    };
    let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
    out.table(&["result", "check", "detail"], &rows, value);
    if !out.json {
        for check in checks.iter().filter(|check| !check.remedy.is_empty()) {
            out.text(&format!("{}: {}", check.name, check.remedy));
        }
    }
}

async fn all(args: &Args, client: &Client, starts: &dyn Starts) -> Vec<Check> {
    let file = args.config.path().display();
    let options = Options::from_process(args.unsafe_no_auth);
    let loaded = match load(args.config.path(), &options) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let problems = problems.list.iter();
            return problems.map(|problem| in_file(&file, problem)).collect();
        }
    };
    let mut checks = vec![Check::good("config", format!("{file} is good"))];
    for warning in &loaded.warnings {
        checks.push(Check::new(
            &*warning.key,
            Verdict::Warning,
            &*warning.what,
            &*warning.remedy,
        ));
    }
    let config = &loaded.config;
    // A gateway that runs from this file holds the ports and the directory rightly.
    let running = client.get("info").await.ok();
    let running = running.filter(|_| is_held(&config.node.data_dir));
    checks.push(port(
        "listen",
        config.node.listen,
        running.as_ref().and_then(|info| info["listen"].as_str()),
    ));
    let admin = running
        .as_ref()
        .map(|_| config.node.admin_listen.to_string());
    checks.push(port(
        "admin.listen",
        config.node.admin_listen,
        admin.as_deref(),
    ));
    if running.is_some()
        && let Ok(shown) = client.get("config").await
    {
        checks.extend(in_force(&shown));
    }
    checks.append(&mut files(config, starts.now()));
    checks.extend(secret::guards(config, client, running.is_some()).await);
    if let Some(cluster) = &config.node.cluster {
        checks.append(&mut cluster::all(
            cluster,
            running.as_ref(),
            starts,
            &options.env,
        ));
    }
    for server in &config.registry.servers {
        checks.append(&mut reach::server(server).await);
    }
    if config.registry.servers.is_empty() {
        checks.push(Check::new(
            "servers",
            Verdict::Warning,
            "there are none",
            "add one under `servers`",
        ));
    }
    checks
}

/// Where the running gateway does not do what its file says.
fn in_force(shown: &Value) -> Option<Check> {
    const NAME: &str = "running gateway";
    if shown["last_error"].is_string() {
        let detail = "it has refused its file as it is now";
        let remedy = "`lockgate config show` says why; what was in force before still is";
        return Some(Check::failed(NAME, detail, remedy));
    }
    let waiting: Vec<String> = items(shown, "needs_restart").iter().map(text).collect();
    (!waiting.is_empty()).then(|| {
        let detail = format!(
            "changed in the file and not in force: {}",
            waiting.join(", ")
        );
        Check::new(NAME, Verdict::Warning, detail, "start it again")
    })
}

/// What is wrong with the file itself.
fn in_file(file: &dyn std::fmt::Display, problem: &Problem) -> Check {
    let line = problem.line.map(|line| format!(":{line}"));
    let key = match &*problem.key {
        "" => String::new(),
        key => format!("{key}: "),
    };
    Check::failed(
        format!("{file}{}", line.unwrap_or_default()),
        format!("{key}{}", problem.what),
        &*problem.remedy,
    )
}

fn port(name: &str, address: SocketAddr, ours: Option<&str>) -> Check {
    if address.port() == 0 {
        return Check::good(name, "the system chooses the port");
    }
    match TcpListener::bind(address) {
        Ok(_) => Check::good(name, format!("{address} is free")),
        Err(error)
            if error.kind() == ErrorKind::AddrInUse && ours == Some(&*address.to_string()) =>
        {
            Check::good(name, format!("{address} is held by the running gateway"))
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => Check::failed(
            name,
            format!("{address} is in use"),
            "stop the process that holds it, or choose another port",
        ),
        Err(error) => Check::failed(
            name,
            format!("{address} cannot be used: {error}"),
            "choose an address of this machine and a port above 1023",
        ),
    }
}

fn files(config: &Config, now: SystemTime) -> Vec<Check> {
    let mut checks = vec![directory("data_dir", &config.node.data_dir)];
    if let Audit::File(file) = &config.node.audit {
        checks.push(audit_file(file));
    }
    if let Some(tls) = &config.node.tls {
        checks.append(&mut tls::all(tls, now));
    }
    checks
}

/// Whether files can be made in `dir`, or in the nearest directory above it that is there.
fn directory(name: &str, dir: &Path) -> Check {
    let existing = dir
        .ancestors()
        .find(|dir| dir.exists())
        .unwrap_or_else(|| Path::new("."));
    let shown = dir.display();
    if !existing.is_dir() {
        return Check::failed(
            name,
            format!("{} is not a directory", existing.display()),
            "name a directory",
        );
    }
    match try_out(existing) {
        Err(error) if is_full(&error) => full(name, existing, &error),
        Ok(()) if existing == dir => Check::good(name, format!("{shown} is writable")),
        Ok(()) => Check::good(name, format!("{shown} can be made")),
        Err(error) => Check::failed(
            name,
            format!("{} is not writable: {error}", existing.display()),
            "change its owner or permissions, or name another directory",
        ),
    }
}

/// Writes as much as a start does, and takes it away again.
fn try_out(dir: &Path) -> io::Result<()> {
    let trial = dir.join(format!(".lockgate-doctor-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&trial)?;
    let written = file
        .write_all(&[0; TRIAL_BYTES])
        .and_then(|()| file.sync_all());
    std::fs::remove_file(&trial)?;
    written
}

fn full(name: &str, dir: &Path, error: &io::Error) -> Check {
    let dir = dir.display();
    Check::failed(name, format!("{dir} has no room: {error}"), MAKE_ROOM)
}

/// The start makes the file, and no directory for it.
fn audit_file(file: &Path) -> Check {
    const NAME: &str = "audit.file";
    let shown = file.display();
    if file.is_dir() {
        return Check::failed(NAME, format!("{shown} is a directory"), "name a file in it");
    }
    let dir = file.parent().unwrap_or_else(|| Path::new("."));
    if !dir.exists() {
        let detail = format!("there is no directory {}", dir.display());
        return Check::failed(NAME, detail, "make it, or name a file in another");
    }
    if !file.exists() {
        return directory(NAME, dir);
    }
    match std::fs::OpenOptions::new().append(true).open(file) {
        Ok(_) => match try_out(dir) {
            Err(error) if is_full(&error) => full(NAME, dir, &error),
            // A file may be open to the gateway where its directory is not.
            _ => Check::good(NAME, format!("{shown} is writable")),
        },
        Err(error) => Check::failed(
            NAME,
            format!("{shown} is not writable: {error}"),
            "change its owner or permissions, or name another file",
        ),
    }
}

/// Whether a gateway runs with this directory: it holds the lock there.
fn is_held(data_dir: &Path) -> bool {
    std::fs::File::open(data_dir.join("lock"))
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Port;

    fn check(result: Verdict) -> Check {
        Check::new("a", result, "", "")
    }

    #[test]
    fn the_worst_check_decides() {
        use Verdict::{Failed, Good, Unchecked, Warning};
        for (results, exit) in [
            (&[Good, Warning][..], Exit::Done),
            (&[Good, Unchecked], Exit::Unchecked),
            (&[Unchecked, Failed], Exit::Failed),
            (&[], Exit::Done),
        ] {
            let checks: Vec<Check> = results.iter().map(|result| check(*result)).collect();
            assert_eq!(verdict(&checks), exit, "{results:?}");
        }
    }

    #[test]
    fn a_running_gateway_that_does_not_do_what_its_file_says_is_told() {
        let found = |shown| in_force(&shown).map(|check| (check.result, check.detail));
        let fine = json!({ "last_error": null, "needs_restart": [] });
        assert_eq!(found(fine), None);
        let waits = json!({ "last_error": null, "needs_restart": ["listen", "limits.body_max"] });
        let detail = "changed in the file and not in force: listen, limits.body_max";
        assert_eq!(found(waits), Some((Verdict::Warning, detail.to_owned())));
        let refused = json!({ "last_error": "x", "needs_restart": ["listen"] });
        assert_eq!(found(refused).map(|found| found.0), Some(Verdict::Failed));
    }

    #[test]
    fn a_port_that_others_hold_is_told_from_our_own() {
        let reserved = Port::reserve();
        let address = reserved.address;
        let holder = TcpListener::bind(address).unwrap();
        assert_eq!(port("listen", address, None).result, Verdict::Failed);
        assert_eq!(
            port("listen", address, Some(&address.to_string())).result,
            Verdict::Good
        );
        drop(holder);
        assert_eq!(port("listen", address, None).result, Verdict::Good);
    }

    #[test]
    fn a_directory_is_writable_or_can_be_made_or_neither() {
        let dir = tempfile::tempdir().unwrap();
        assert!(directory("d", dir.path()).detail.ends_with("is writable"));
        assert!(
            directory("d", &dir.path().join("a/b"))
                .detail
                .ends_with("can be made")
        );
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(directory("d", &file).result, Verdict::Failed);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
