//! The node's place among others: how it starts there, and how a cluster begins.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use lockgate_cluster::{
    Begin, ChangeNote, Cluster, ConfigChange, Credentials, DevCerts, JoinToken, NetworkOptions,
    OpenError, Options, RegistryCommand, RestoreOptions, Starting, TlsFiles, inspect_snapshot,
    restore_snapshot, salvage_snapshot,
};
use serde_json::{Value, json};

use crate::admin::CaHash;
use crate::cli::RestoreArgs;
use crate::config::{self, ClusterNode, ClusterTls, Loaded};
use crate::telemetry;

use super::clock;
use super::run::directory_of;

/// Lets a node whose certificate is no peer's join.
const JOIN_TOKEN: &str = "LOCKGATE_JOIN_TOKEN";
const NO_PLACE: &str = "the node cannot take its place in the cluster";

/// How the node takes part, as its configuration says. `begin`: what to do when its data directory is new.
pub(super) fn options(node: &config::Node, begin: Begin) -> Options {
    let mut options = Options::alone(&node.data_dir, clock);
    options.guards = node.guards.clone();
    if let Some(cluster) = &node.cluster {
        options.node = cluster.node.clone();
        options.network = Some(network(cluster, begin));
    }
    options
}

fn network(cluster: &ClusterNode, begin: Begin) -> NetworkOptions {
    NetworkOptions {
        listen: cluster.listen.to_string(),
        advertise: cluster.advertise.clone(),
        peers: cluster.peers.clone(),
        tls: tls_files(&cluster.tls),
        ca_key: cluster.tls.ca_key.clone(),
        begin,
    }
}

/// How the node takes part when it runs.
pub(super) fn options_to_run(node: &config::Node, env: &config::Env) -> anyhow::Result<Options> {
    Ok(options(node, join_from_environment(env)?))
}

/// A new node asks its peers to admit it, with the token of its environment if there is one.
fn join_from_environment(env: &config::Env) -> anyhow::Result<Begin> {
    Ok(Begin::Join {
        token: token_of_environment(env)?,
        learner: false,
    })
}

fn token_of_environment(env: &config::Env) -> anyhow::Result<Option<JoinToken>> {
    let token = env(JOIN_TOKEN).filter(|text| !text.is_empty());
    let token = token.map(|text| text.parse::<JoinToken>()).transpose();
    token.with_context(|| format!("{JOIN_TOKEN} cannot be used"))
}

/// Opens the state; gives up when the cluster does not answer for long.
pub(super) async fn open(options: Options) -> anyhow::Result<Cluster> {
    on_thread(move || Cluster::start(options)).await
}

/// Opens the state; what is returned waits for the cluster.
pub(super) async fn begin(options: Options) -> anyhow::Result<Starting> {
    on_thread(move || Cluster::begin(options)).await
}

/// Waits for the cluster for as long as it takes.
pub(super) async fn joined(starting: Starting) -> anyhow::Result<Cluster> {
    starting.joined().await.context(NO_PLACE)
}

/// Files are read there, and peers asked to admit the node.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> anyhow::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.context("the cluster's thread has panicked")?
        .context(NO_PLACE)
}

/// `lockgate cluster init`: makes a cluster whose first member is this node, and seeds its registry with the file.
pub(super) async fn init(path: &Path, settings: &config::Options) -> anyhow::Result<Founded> {
    let loaded = config::load(path, settings)?;
    let cluster = several(&loaded)?;
    let name = cluster.node.to_string();
    let state = open(options(&loaded.config.node, Begin::Found)).await?;
    let seeded = match state.view().config() {
        None => seed(&state, &loaded, &directory_of(path)).await,
        Some(_) => Err(anyhow!(
            "`{}` belongs to a cluster already; start the node with `lockgate serve`",
            loaded.config.node.data_dir.display()
        )),
    };
    let id = state.view().cluster_id().unwrap_or_default();
    state.close().await;
    seeded?;
    Ok(Founded {
        cluster: hex(&id),
        node: name,
    })
}

/// A cluster that was made.
pub(super) struct Founded {
    /// Its id, in hex.
    pub(super) cluster: String,
    /// Its first member.
    pub(super) node: String,
}

/// `lockgate cluster join`: has the cluster admit this node, with a token. Returns its name.
pub(super) async fn join(
    path: &Path,
    settings: &config::Options,
    (token, learner): (Option<&str>, bool),
) -> anyhow::Result<String> {
    let loaded = config::load(path, settings)?;
    let cluster = several(&loaded)?;
    let token = match token {
        Some(text) => Some(text.parse()?),
        None => token_of_environment(&settings.env)?,
    };
    let begin = Begin::Join { token, learner };
    let name = cluster.node.to_string();
    // It may have to ask for long: what it is told meanwhile is on standard error.
    let warnings = config::Telemetry {
        log_filter: "warn".to_owned(),
        otlp_endpoint: None,
        ..loaded.config.node.telemetry.clone()
    };
    let _logs = telemetry::init(&warnings, &name)?;
    let state = open(options(&loaded.config.node, begin)).await?;
    state.close().await;
    Ok(name)
}

/// Reads what join tokens pin, anew each time: the CA may change.
pub(super) fn ca_sha256(node: &config::Node) -> Option<CaHash> {
    let cluster = node.cluster.as_ref()?;
    let (files, name) = (tls_files(&cluster.tls), cluster.node.to_string());
    Some(Arc::new(move || {
        let credentials = Credentials::load(files.clone(), &name, clock);
        let credentials = credentials.map_err(|error| error.to_string())?;
        Ok(credentials.ca_sha256())
    }))
}

/// Whether the node's certificate files are good, as the start would find.
pub(super) fn check_files(cluster: &ClusterNode) -> anyhow::Result<()> {
    let begin = Begin::Join {
        token: None,
        learner: false,
    };
    Ok(network(cluster, begin).check_files(cluster.node.as_str(), clock)?)
}

fn tls_files(tls: &ClusterTls) -> TlsFiles {
    TlsFiles {
        ca: tls.ca.clone(),
        cert: tls.cert.clone(),
        key: tls.key.clone(),
    }
}

/// `lockgate certs dev`: certificates of `nodes` in `dir`, by the CA that is there or by a new one. Returns the files that
/// were made.
pub(super) fn dev_certs(
    dir: &Path,
    trust_domain: &str,
    nodes: &[String],
) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let certs = match DevCerts::open(dir, trust_domain)? {
        Some(certs) => certs,
        None => {
            files.extend([dir.join("ca.pem"), dir.join("ca.key")]);
            DevCerts::create(dir, trust_domain, clock())?
        }
    };
    for name in nodes {
        let of_node = certs.node(name, clock())?;
        files.extend([of_node.cert, of_node.key]);
    }
    Ok(files)
}

/// `lockgate snapshot status FILE`.
pub(super) fn inspect(file: &Path) -> anyhow::Result<Value> {
    let summary = inspect_snapshot(file)?;
    Ok(json!({
        "cluster": hex(&summary.cluster),
        "index": summary.index,
        "term": summary.term,
        "bytes": summary.bytes,
        "members": summary.members,
        "config_version": summary.config_version,
        "keys": summary.keys,
    }))
}

/// `lockgate snapshot save --data-dir`.
pub(super) fn salvage(data_dir: &Path, file: &Path) -> anyhow::Result<Value> {
    let salvaged = salvage_snapshot(data_dir, file)?;
    Ok(json!({
        "index": salvaged.index,
        "term": salvaged.term,
        "unconfirmed": salvaged.unconfirmed,
        "records_missing": salvaged.records_missing,
        "bytes": salvaged.bytes,
    }))
}

/// `lockgate snapshot restore`: the node of a configuration becomes the first of a new cluster.
pub(super) fn restore(
    args: &RestoreArgs,
    settings: &config::Options,
    on_written: &mut dyn FnMut(u64),
) -> anyhow::Result<Value> {
    let loaded = config::load(&args.config, settings)?;
    let node = &loaded.config.node;
    // The same names as for a start.
    let options = options(node, Begin::Found);
    let address = node
        .cluster
        .as_ref()
        .map(|cluster| match cluster.advertise.as_str() {
            "" => cluster.listen.to_string(),
            advertise => advertise.to_owned(),
        });
    let restoring = RestoreOptions {
        file: args.file.clone(),
        key: args.key.clone(),
        data_dir: options.data_dir,
        clock,
        node: options.node,
        address,
    };
    let restored = restore_snapshot(&restoring, on_written)?;
    Ok(json!({
        "cluster": hex(&restored.cluster),
        "former": hex(&restored.former),
        "index": restored.index,
        "bytes": restored.bytes,
        "node": restoring.node.as_str(),
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn several(loaded: &Loaded) -> anyhow::Result<&ClusterNode> {
    let cluster = loaded.config.node.cluster.as_ref();
    cluster.context("the file has no `cluster` section, so this node is a cluster of one")
}

async fn seed(state: &Cluster, loaded: &Loaded, dir: &Path) -> anyhow::Result<()> {
    let document = serde_json::to_vec(&config::document(&config::rooted(&loaded.written, dir)))?;
    let command = RegistryCommand::ApplyConfig {
        change: ConfigChange {
            expected_version: 0,
            note: ChangeNote {
                who: "cluster init".to_owned(),
                why: "seed".to_owned(),
            },
        },
        document: Bytes::from(document),
        prune: false,
    };
    state.propose(command.into()).await?;
    Ok(())
}
