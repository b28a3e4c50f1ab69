//! `lockgate cluster`.

use serde_json::{Value, json};

use super::Starts;
use super::client::{Client, segment};
use super::config_file::ConfigFile;
use super::exit::{Exit, Failure};
use super::out::Out;
use super::sessions::{items, text};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Make a cluster whose first member is the node of this configuration. Its file seeds the registry.
    Init(NodeArgs),
    /// Have a running cluster admit the node of this configuration.
    Join(JoinArgs),
    #[command(flatten)]
    Ask(Ask),
}

/// Verbs that ask a running node.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Ask {
    /// List the members.
    Members,
    /// Say whether the cluster can decide, and which node leads. Exit status 1 when it can not.
    Health,
    /// Give a learner a vote, once it has caught up.
    Promote {
        /// Name of the node.
        node: String,
    },
    /// Show which node owns how many of the shards, in which sessions live.
    Shards {
        /// Every shard by itself.
        #[arg(long)]
        all: bool,
    },
    /// Take a node out for ever, whether it runs or not; its name may return under a new number.
    Remove {
        /// Name of the node.
        node: String,
        /// Its disk is gone: what it alone held is lost.
        #[arg(long)]
        lost: bool,
        /// Call off a removal that was not completed: the node takes calls again.
        #[arg(long, conflicts_with = "lost")]
        cancel: bool,
    },
    /// Hand the leadership over.
    TransferLeader {
        /// Name of the node that is to lead. Any other voter if left out.
        node: Option<String>,
    },
    /// Tokens with which nodes join.
    #[command(subcommand)]
    Token(Token),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Token {
    /// Make a token for one node and show it once.
    Create {
        /// What the node becomes.
        #[arg(long, default_value = "voter", value_parser = ["voter", "learner"])]
        role: String,
        /// How long it may be used, in seconds.
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        lifetime: u64,
    },
    /// List tokens that were not used; never their secrets.
    List,
    /// Make a token worthless.
    Revoke {
        /// Token's id.
        id: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct NodeArgs {
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct JoinArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Token of `lockgate cluster token create`. Without one the certificate must bear the name of a peer.
    #[arg(long, env = "LOCKGATE_JOIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Follow without a vote, until `lockgate cluster promote`.
    #[arg(long)]
    learner: bool,
}

pub(super) fn init(args: &NodeArgs, starts: &dyn Starts, out: &mut Out) -> Result<Exit, Failure> {
    let (cluster, node) = starts.cluster_init(args.config.path())?;
    let value = json!({ "cluster": cluster, "node": node });
    out.done(
        &format!("cluster {cluster} is made; {node} is its first member"),
        &value,
    );
    if !out.json {
        out.note("start it with `lockgate serve`, then the other nodes");
    }
    Ok(Exit::Done)
}

pub(super) fn join(args: &JoinArgs, starts: &dyn Starts, out: &mut Out) -> Result<Exit, Failure> {
    let node = starts.cluster_join(args.node.config.path(), args.token.as_deref(), args.learner)?;
    let value = json!({ "node": node, "joined": true, "learner": args.learner });
    out.done(
        &format!("{node} is a member; start it with `lockgate serve`"),
        &value,
    );
    Ok(Exit::Done)
}

pub(super) async fn run(verb: Ask, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    match verb {
        Ask::Members => {
            let answer = client.get("cluster/members").await?;
            let rows = items(&answer, "members");
            let rows: Vec<_> = rows.iter().map(|member| row(member, &MEMBER)).collect();
            out.table(&MEMBER, &rows, &answer);
        }
        Ask::Promote { node } => {
            let path = format!("cluster/members/{}/promote", segment(&node));
            let answer = client.post(&path, None).await?;
            let line = match answer["state"].as_str() {
                Some("voter") => format!("{node} votes"),
                _ => format!("{node} votes as soon as it has caught up"),
            };
            out.done(&line, &answer);
        }
        Ask::Shards { all } => {
            let answer = client.get("cluster/shards").await?;
            let (heads, list): (&[&str], _) = match all {
                true => (&SHARD, items(&answer, "shards")),
                false => (&SHARES, items(&answer, "nodes")),
            };
            let rows: Vec<_> = list.iter().map(|one| row(one, heads)).collect();
            out.table(heads, &rows, &answer);
        }
        Ask::Health => return health(client, out).await,
        Ask::Remove { node, lost, cancel } => {
            let path = format!("cluster/members/{}/remove", segment(&node));
            let how = match cancel {
                true => json!({ "cancel": true }),
                false => json!({ "lost": lost }),
            };
            client.post(&path, Some(&how)).await?;
            let line = match cancel {
                true => format!("{node} stays"),
                false => format!("{node} is removed"),
            };
            out.done(&line, &json!({ "node": node, "removed": !cancel }));
        }
        Ask::TransferLeader { node } => {
            let body = node.map_or_else(|| json!({}), |node| json!({ "to": node }));
            let answer = client.post("cluster/transfer-leader", Some(&body)).await?;
            out.done(&format!("{} leads", text(&answer["leader"])), &answer);
        }
        Ask::Token(verb) => return token(verb, client, out).await,
    }
    Ok(Exit::Done)
}

async fn health(client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let answer = client.get("cluster/health").await?;
    let rows: Vec<Vec<String>> = [
        "healthy",
        "node",
        "role",
        "leader",
        "quorum",
        "lease",
        "term",
        "voters",
        "commit_index",
        "apply_index",
        "differing_states",
        "file_differs",
        "state_hash",
    ]
    .iter()
    .map(|name| vec![(*name).to_owned(), text(&answer[*name])])
    .collect();
    out.table(&["what", "value"], &rows, &answer);
    Ok(match answer["healthy"].as_bool() {
        Some(true) => Exit::Done,
        _ => Exit::Failed,
    })
}

async fn token(verb: Token, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    match verb {
        Token::Create { role, lifetime } => {
            let body = json!({ "role": role, "lifetime_s": lifetime });
            let answer = client.post("cluster/tokens", Some(&body)).await?;
            // Alone on standard output, so that `$(lockgate cluster token create)` takes it.
            out.done(&text(&answer["token"]), &answer);
            if !out.json {
                out.note(&format!(
                    "token `{}` for one node; it is not shown again",
                    text(&answer["id"])
                ));
            }
        }
        Token::List => {
            let answer = client.get("cluster/tokens").await?;
            let row = |token: &Value| {
                ["id", "role", "expires_at"]
                    .map(|name| text(&token[name]))
                    .to_vec()
            };
            let rows: Vec<Vec<String>> = items(&answer, "tokens").iter().map(row).collect();
            out.table(&["id", "role", "expires"], &rows, &answer);
        }
        Token::Revoke { id } => {
            client
                .delete(&format!("cluster/tokens/{}", segment(&id)))
                .await?;
            out.done(
                &format!("{id} is worthless"),
                &json!({ "id": id, "revoked": true }),
            );
        }
    }
    Ok(Exit::Done)
}

/// Columns of a member, of a shard, and of what a node has of those.
const MEMBER: [&str; 8] = [
    "number", "name", "address", "state", "leader", "answers", "version", "applied",
];
const SHARD: [&str; 6] = ["shard", "primary", "backup", "in_sync", "epoch", "lost_at"];
const SHARES: [&str; 3] = ["node", "primary", "backup"];

fn row(of: &Value, columns: &[&str]) -> Vec<String> {
    columns.iter().map(|name| text(&of[*name])).collect()
}
