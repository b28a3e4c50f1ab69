//! One node of the cluster under test: the replicated truth of the product, with its network, disk and certificates.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use lockgate_cluster::{
    Begin, Cluster, Expected, NetworkOptions, Options, RaftRole, RegisterWrite, TlsFiles,
};
use lockgate_proto::id::NodeName;
use tokio::{runtime, time::Instant};

use super::writers::{Writer, serve};
use crate::{
    cli::RaftMemberArgs,
    error::{Error, Result},
};

/// Longest wait until every node has a vote.
const VOTES_WAIT: Duration = Duration::from_secs(20);
/// How often that is looked at.
const VOTES_POLL: Duration = Duration::from_millis(20);

#[expect(
    clippy::disallowed_methods,
    reason = "the nodes under test have the real clock"
)]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// The verb `raft-member`.
pub(crate) fn run(args: &RaftMemberArgs) -> Result<ExitCode> {
    let cluster = Cluster::start(options(args)?).map_err(Error::caused("start the node"))?;
    if args.found {
        // The others wait for this one's line, and it for their votes only when it is asked to write.
        return orders(cluster, args.peers.len());
    }
    orders(cluster, 0)
}

fn orders(cluster: Cluster, voters: usize) -> Result<ExitCode> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start the runtime"))?;
    serve(&runtime, &Member { cluster, voters })?;
    Ok(ExitCode::SUCCESS)
}

fn options(args: &RaftMemberArgs) -> Result<Options> {
    let peers = args.peers.iter().map(|peer| match peer.split_once('=') {
        Some((name, address)) => Ok((name.to_owned(), address.to_owned())),
        None => Err(Error::Argument {
            key: "--peer",
            value: peer.clone(),
            why: "it is name=address".to_owned(),
        }),
    });
    let file = |name: String| args.certs.join(name);
    let mut options = Options::alone(&args.dir, now);
    options.node = NodeName::from(args.name.as_str());
    options.network = Some(NetworkOptions {
        listen: args.listen.to_string(),
        advertise: String::new(),
        peers: peers.collect::<Result<BTreeMap<_, _>>>()?,
        tls: TlsFiles {
            ca: file("ca.pem".to_owned()),
            cert: file(format!("{}.pem", args.name)),
            key: file(format!("{}.key", args.name)),
        },
        ca_key: None,
        begin: match args.found {
            true => Begin::Found,
            false => Begin::Join {
                token: None,
                learner: false,
            },
        },
    });
    Ok(options)
}

/// Writes registers.
#[derive(Clone)]
struct Member {
    cluster: Cluster,
    /// Votes that there must be before anything counts.
    voters: usize,
}

impl Writer for Member {
    async fn write(&self, client: usize, value: Vec<u8>) -> Result<()> {
        let write = RegisterWrite {
            key: format!("bench-{client:04}"),
            expected: Expected::Any,
            value: Some(Bytes::from(value)),
        };
        let written = self.cluster.propose(write.into()).await;
        written.map(drop).map_err(Error::caused("write a register"))
    }

    fn term(&self) -> Option<u64> {
        let deadline = Instant::now() + VOTES_WAIT;
        loop {
            let status = self.cluster.raft_status();
            let voters = status.seats.iter().filter(|seat| seat.votes).count();
            if voters >= self.voters || Instant::now() > deadline {
                let leads = status.role == RaftRole::Leader && voters >= self.voters;
                return leads.then_some(status.term);
            }
            std::thread::sleep(VOTES_POLL);
        }
    }

    fn syncs(&self) -> u64 {
        self.cluster.raft_status().sync.counts.iter().sum()
    }
}
