//! The command line: one file a verb. Verbs that ask a running node go through the admin API; `serve`, `stdio` and
//! `demo` start one and are handed in by `main`, because only `app` puts the parts together.

mod audit;
mod certs;
mod client;
mod cluster;
mod config;
mod config_file;
mod connect;
mod demo;
mod doctor;
mod exit;
mod init;
mod keyring;
mod keys;
mod mcp;
mod out;
mod probe;
mod progress;
mod raw;
mod serve;
mod servers;
mod sessions;
mod snapshot;
mod stdio;
mod tools;
mod usage;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Parser, Subcommand};

use self::client::Client;
pub use self::config_file::ConfigFile;
pub use self::demo::{DemoOptions, DemoShape};
pub use self::exit::{Exit, Failure};
use self::out::Out;
pub use self::serve::ServeOptions;
pub use self::snapshot::RestoreArgs;
pub use self::stdio::StdioOptions;
use crate::config::ClusterNode;
use crate::room;

/// What starts a gateway in this process. Each blocks until the gateway has ended.
pub trait Starts {
    /// The time, for what has a date.
    fn now(&self) -> SystemTime;

    /// `lockgate serve`.
    ///
    /// # Errors
    ///
    /// Fails when the gateway cannot start, or does not end well.
    fn serve(&self, options: ServeOptions) -> Result<(), Failure>;

    /// `lockgate stdio`.
    ///
    /// # Errors
    ///
    /// Fails when the gateway cannot start, or does not end well.
    fn stdio(&self, options: StdioOptions) -> Result<(), Failure>;

    /// `lockgate demo`.
    ///
    /// # Errors
    ///
    /// Fails when the gateway cannot start, or does not end well.
    fn demo(&self, options: DemoOptions) -> Result<(), Failure>;

    /// `lockgate cluster init`. Returns the cluster's id and the name of its first member.
    ///
    /// # Errors
    ///
    /// Fails when the configuration is not good, or the data directory belongs to a cluster already.
    fn cluster_init(&self, config: &Path) -> Result<(String, String), Failure>;

    /// `lockgate cluster join`. Returns the name of the node that was admitted.
    ///
    /// # Errors
    ///
    /// Fails when the configuration is not good, or the cluster does not admit the node.
    fn cluster_join(
        &self,
        config: &Path,
        token: Option<&str>,
        learner: bool,
    ) -> Result<String, Failure>;

    /// `lockgate snapshot status FILE`: checks a snapshot file, and says what is in it.
    ///
    /// # Errors
    ///
    /// Fails when the file is damaged, or from a newer version.
    fn snapshot_inspect(&self, file: &Path) -> Result<serde_json::Value, Failure>;

    /// `lockgate snapshot save --data-dir`: writes what a stopped node has to a file. Says up to which entry, and how many at
    /// its end the node did not know to be on a majority.
    ///
    /// # Errors
    ///
    /// Fails when a process has the directory, when what is in it is damaged, or the file is there already.
    fn snapshot_salvage(&self, data_dir: &Path, file: &Path) -> Result<serde_json::Value, Failure>;

    /// `lockgate snapshot restore`. Returns the ids of the new cluster and the old one. `on_written` is told how many
    /// bytes are written, as they are.
    ///
    /// # Errors
    ///
    /// Fails when the configuration or the snapshot is not good, or the data directory is not empty.
    fn snapshot_restore(
        &self,
        args: &RestoreArgs,
        on_written: &mut dyn FnMut(u64),
    ) -> Result<serde_json::Value, Failure>;

    /// Whether the certificate files of a node of several are such as it can start with, for `lockgate doctor`.
    ///
    /// # Errors
    ///
    /// Says which file is wrong, and how.
    fn check_cluster_files(&self, cluster: &ClusterNode) -> Result<(), Failure>;

    /// `lockgate certs dev`. Returns the files that were written.
    ///
    /// # Errors
    ///
    /// Fails when a file can't be written, or one of a node is there already.
    fn dev_certs(
        &self,
        dir: &Path,
        trust_domain: &str,
        nodes: &[String],
    ) -> Result<Vec<PathBuf>, Failure>;

    /// `lockgate demo-server`: the server that the demo puts behind the gateway.
    ///
    /// # Errors
    ///
    /// Fails when it cannot start.
    fn demo_server(&self) -> Result<(), Failure>;
}

/// One door between AI agents and their MCP servers.
#[derive(Debug, Parser)]
#[command(
    name = "lockgate",
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 done, 1 refused or failed, 2 usage, 3 could not check."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Where the admin API is when nobody says.
const ADMIN: &str = "http://127.0.0.1:7778";

#[derive(Debug, clap::Args)]
struct Global {
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Admin API of the running gateway.
    #[arg(
        long,
        global = true,
        env = "LOCKGATE_ADMIN",
        value_name = "URL",
        default_value = ADMIN
    )]
    admin: String,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a commented lockgate.yaml to start from.
    Init(init::Args),
    /// Start the gateway.
    Serve(ServeOptions),
    /// Serve one client on standard input and output.
    Stdio(StdioOptions),
    /// Start a gateway with a demo server behind it.
    Demo(DemoOptions),
    /// The demo's own MCP server, on standard input and output.
    #[command(hide = true)]
    DemoServer,
    /// Find out what keeps the gateway from starting or working.
    Doctor(doctor::Args),
    /// Read and verify the audit log.
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Check, show and take over configurations.
    #[command(subcommand)]
    Config(config::Verb),
    /// API keys.
    #[command(subcommand)]
    Keys(keys::Verb),
    /// MCP servers behind the gateway.
    #[command(subcommand)]
    Servers(servers::Verb),
    /// Tools as clients see them.
    #[command(subcommand)]
    Tools(tools::Verb),
    /// MCP sessions.
    #[command(subcommand)]
    Sessions(sessions::Verb),
    /// Nodes that share one registry and one audit log.
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Keys with which the nodes seal what clients carry.
    #[command(subcommand)]
    Keyring(keyring::Verb),
    /// Copies of what the nodes share, to be kept elsewhere.
    #[command(subcommand)]
    Snapshot(snapshot::Verb),
    /// Certificates of nodes.
    #[command(subcommand)]
    Certs(certs::Verb),
    /// Calls and what they cost, by tenant, principal, server or tool, over the whole cluster.
    Usage(usage::Args),
}

/// Runs the command line of this process and says how it went.
pub fn run(starts: &dyn Starts) -> ExitCode {
    room::outlive_file_bound();
    let mut out = Out::standard(std::io::stdout().is_terminal());
    run_args(std::env::args_os(), starts, &mut out).into()
}

fn run_args(args: impl IntoIterator<Item = OsString>, starts: &dyn Starts, out: &mut Out) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return out.usage(&error),
    };
    out.json = cli.global.json;
    match dispatch(cli, starts, out) {
        Ok(exit) => out.finish(exit),
        Err(failure) => out.failure(&failure),
    }
}

fn dispatch(cli: Cli, starts: &dyn Starts, out: &mut Out) -> Result<Exit, Failure> {
    // A variable that is set to nothing says nothing.
    let admin = Some(&*cli.global.admin).filter(|admin| !admin.is_empty());
    let admin = admin.unwrap_or(ADMIN);
    let client = || Client::new(admin, std::env::var("LOCKGATE_TOKEN").ok());
    match cli.verb {
        Verb::Serve(options) => starts.serve(options).map(|()| Exit::Done),
        Verb::Stdio(options) => starts.stdio(options).map(|()| Exit::Done),
        Verb::Demo(options) => starts.demo(options).map(|()| Exit::Done),
        Verb::DemoServer => starts.demo_server().map(|()| Exit::Done),
        Verb::Init(args) => init::run(&args, out),
        Verb::Doctor(args) => wait(doctor::run(&args, &client()?, starts, out)),
        Verb::Audit(audit::Verb::Ask(verb)) => wait(audit::ask(verb, &client()?, out)),
        Verb::Audit(audit::Verb::Look(verb)) => wait(audit::look(&verb, client, out)),
        Verb::Audit(audit::Verb::Read(verb)) => audit::read(&verb, out),
        Verb::Config(verb) => wait(config::run(verb, &client()?, starts, out)),
        Verb::Keys(verb) => wait(keys::run(verb, &client()?, out)),
        Verb::Servers(verb) => wait(servers::run(verb, &client()?, out)),
        Verb::Tools(verb) => wait(tools::run(verb, &client()?, out)),
        Verb::Sessions(verb) => wait(sessions::run(verb, &client()?, out)),
        Verb::Cluster(cluster::Verb::Init(args)) => cluster::init(&args, starts, out),
        Verb::Cluster(cluster::Verb::Join(args)) => cluster::join(&args, starts, out),
        Verb::Cluster(cluster::Verb::Ask(verb)) => wait(cluster::run(verb, &client()?, out)),
        Verb::Keyring(verb) => wait(keyring::run(verb, &client()?, out)),
        Verb::Snapshot(snapshot::Verb::Save {
            file,
            data_dir: Some(data_dir),
        }) => snapshot::salvage(&data_dir, &file, starts, out),
        Verb::Snapshot(snapshot::Verb::Save { file, .. }) => {
            let saved = wait(snapshot::save(&file, &client()?, out))?;
            snapshot::report_saved(&file, &saved, starts, out)
        }
        Verb::Snapshot(snapshot::Verb::Status { file: None }) => {
            wait(snapshot::status(&client()?, out))
        }
        Verb::Snapshot(snapshot::Verb::Status { file: Some(file) }) => {
            snapshot::inspect(&file, starts, out)
        }
        Verb::Snapshot(snapshot::Verb::Restore(args)) => snapshot::restore(&args, starts, out),
        Verb::Certs(certs::Verb::Dev(args)) => certs::dev(&args, starts, out),
        Verb::Usage(args) => wait(usage::run(args, &client()?, out)),
    }
}

/// Verbs wait for one answer after the other, so one thread is enough.
fn wait<T>(verb: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(verb),
        Err(error) => Err(Failure::new(
            format!("the system gives no event loop: {error}"),
            "free file descriptors and try again",
        )),
    }
}

#[cfg(test)]
mod tests;
