//! What the nodes have in their logs, by their own command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::super::fault::NODES;
use crate::world::Members;

/// Longest time until all nodes have the same records, in a checkpoint.
const SETTLE_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// Tool of the counting server.
const TOOL: &str = "counter_count";

/// Names a record among those of all nodes: node, life, number within it.
pub(super) type Name = (String, u64, u64);

/// The log of a cluster.
#[derive(Debug)]
pub(super) struct Log {
    /// What `audit verify` says on each node.
    pub(super) verified: Vec<Value>,
    /// Calls of the counting server, as they were about to be sent.
    pub(super) intents: Vec<Name>,
    /// How calls ended, by their intent; each ending by its `status`.
    pub(super) endings: BTreeMap<Name, Vec<String>>,
}

/// One line of an export. Those in front say what follows.
#[derive(Debug, Deserialize)]
struct Line {
    leaf: Option<Record>,
}

/// One record, as far as runs care.
#[derive(Debug, Deserialize)]
struct Record {
    node: String,
    boot: u64,
    local_seq: u64,
    /// Of a record that ends a call: `local_seq` of the one that began it.
    intent: Option<u64>,
    tool: Option<String>,
    status: Option<String>,
}

impl Log {
    /// Waits until all nodes that run have the same, and reads it.
    pub(super) async fn read(members: &Members) -> anyhow::Result<Self> {
        settle(members).await?;
        let signers = members.dir().join("signers.json");
        std::fs::write(&signers, audit(members, 0, &["signers".into()])?)?;
        let verify = ["verify".into(), "--signers".into(), signers];
        let verified = (0..NODES).map(|node| parsed(&audit(members, node, &verify)?));
        let verified = verified.collect::<anyhow::Result<_>>()?;
        let export = audit(members, 0, &["export".into()])?;
        let (mut intents, mut endings) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for line in String::from_utf8(export)?.lines() {
            let line: Line = serde_json::from_str(line)?;
            let Some(record) = line.leaf else {
                continue;
            };
            match record.intent {
                Some(intent) => {
                    let name = (record.node, record.boot, intent);
                    let status = record.status.context("an ending has no status")?;
                    endings.entry(name).or_default().push(status);
                }
                None if record.tool.as_deref() == Some(TOOL) => {
                    intents.push((record.node, record.boot, record.local_seq));
                }
                None => {}
            }
        }
        Ok(Self {
            verified,
            intents,
            endings,
        })
    }
}

/// Waits until all nodes have the same number of records, all of them in a checkpoint.
async fn settle(members: &Members) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let stats = (0..NODES).map(|node| parsed(&audit(members, node, &["stats".into()])?));
        let stats: Vec<Value> = stats.collect::<anyhow::Result<_>>()?;
        let is_whole = |stats: &Value| stats["checkpoint_size"] == stats["records"];
        let is_one = stats
            .windows(2)
            .all(|pair| pair[0]["records"] == pair[1]["records"]);
        if is_one && stats.iter().all(is_whole) {
            return Ok(());
        }
        ensure!(begin.elapsed() < SETTLE_MAX, "logs stay apart: {stats:?}");
        sleep(POLL).await;
    }
}

/// Runs `lockgate --json audit …` on a node's data directory.
fn audit(members: &Members, node: usize, arguments: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    let mut all = ["--json", "audit"].map(PathBuf::from).to_vec();
    all.extend_from_slice(arguments);
    all.extend(["--data-dir".into(), members.data_dir(node)]);
    members.run(node, &all)
}

fn parsed(text: &[u8]) -> anyhow::Result<Value> {
    serde_json::from_slice(text).context("the command line does not print JSON")
}
