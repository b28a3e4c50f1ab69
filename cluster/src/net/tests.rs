//! Several nodes in one process, each with its own engine, over gRPC with mutual TLS and QUIC on loopback.

mod audit;
mod divergence;
mod guards;
mod members;
mod quotas;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lockgate_proto::id::{NodeId, NodeName};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Begin, NetworkOptions};
use crate::audit::Guards;
use crate::command::{Expected, JoinRole, NodesCommand, RegisterWrite};
use crate::error::OpenError;
use crate::join::{JoinToken, Record};
use crate::machine::MemberState;
use crate::tls::{DevCerts, TlsFiles};
use crate::view::View;
use crate::{Cluster, Options};

const PATIENCE: Duration = Duration::from_secs(60);

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are made and checked in real time"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Nodes and their files.
struct World {
    dir: TempDir,
    certs: DevCerts,
    runtime: Runtime,
    /// Where each node listens, once it was started.
    addresses: BTreeMap<String, String>,
    peers: Vec<String>,
    /// What nodes are given from now on to guard the audit log.
    guards: Guards,
}

impl World {
    fn new(peers: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let certs = DevCerts::create(&dir.path().join("certs"), "test", now()).unwrap();
        for name in peers {
            certs.node(name, now()).unwrap();
        }
        Self {
            dir,
            certs,
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            addresses: BTreeMap::new(),
            peers: peers.iter().map(|name| (*name).to_owned()).collect(),
            guards: Guards::default(),
        }
    }

    fn tls(&self, name: &str) -> TlsFiles {
        let certs = self.dir.path().join("certs");
        TlsFiles {
            ca: certs.join("ca.pem"),
            cert: certs.join(format!("{name}.pem")),
            key: certs.join(format!("{name}.key")),
        }
    }

    fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn options(&self, name: &str, begin: Begin) -> Options {
        let known = |peer: &String| {
            // One that has not started is nowhere yet; its name still lets it in.
            let nowhere = "127.0.0.1:1".to_owned();
            (
                peer.clone(),
                self.addresses.get(peer).cloned().unwrap_or(nowhere),
            )
        };
        let listen = self.addresses.get(name).cloned();
        Options {
            network: Some(NetworkOptions {
                listen: listen.unwrap_or_else(|| "127.0.0.1:0".to_owned()),
                advertise: String::new(),
                peers: self.peers.iter().map(known).collect(),
                tls: self.tls(name),
                ca_key: Some(self.dir.path().join("certs/ca.key")),
                begin,
            }),
            node: NodeName::from(name),
            guards: self.guards.clone(),
            ..Options::alone(&self.data_dir(name), now)
        }
    }

    fn start(&mut self, name: &str, begin: Begin) -> Result<Cluster, OpenError> {
        let cluster = Cluster::start(self.options(name, begin))?;
        let view = cluster.view();
        let member = view.member(&NodeName::from(name)).unwrap();
        self.addresses
            .insert(name.to_owned(), member.address.clone());
        Ok(cluster)
    }

    /// `n1` makes the cluster, the others join by their certificates.
    fn cluster(names: &[&str]) -> (Self, Vec<Cluster>) {
        let mut world = Self::new(names);
        let mut nodes = Vec::new();
        for name in names {
            let begin = match nodes.is_empty() {
                true => Begin::Found,
                false => Begin::Join {
                    token: None,
                    learner: false,
                },
            };
            nodes.push(world.start(name, begin).unwrap());
        }
        for node in &nodes {
            world.until(node, |view| n_voters(view) == names.len());
        }
        (world, nodes)
    }

    /// Waits until a node sees what is expected.
    fn until(&self, node: &Cluster, expected: impl Fn(&View) -> bool) {
        let mut views = node.watch();
        let seen = async { views.wait_for(|view| expected(view)).await.map(drop) };
        let seen = self
            .runtime
            .block_on(async { timeout(PATIENCE, seen).await });
        seen.unwrap_or_else(|_| panic!("{}: {:#?}", node.view().node(), node.view().members()))
            .unwrap();
    }

    fn write(&self, node: &Cluster, key: &str, value: &'static str) {
        let write = RegisterWrite {
            key: key.to_owned(),
            expected: Expected::Any,
            value: Some(Bytes::from_static(value.as_bytes())),
        };
        self.runtime.block_on(node.propose(write.into())).unwrap();
    }

    fn read(&self, node: &Cluster, key: &str) -> Option<Bytes> {
        let view = self.runtime.block_on(node.read()).unwrap();
        view.registers()
            .get(key)
            .map(|register| register.value.clone())
    }

    fn close(&self, nodes: impl IntoIterator<Item = Cluster>) {
        for node in nodes {
            self.runtime.block_on(node.close());
        }
    }
}

fn n_voters(view: &View) -> usize {
    let members = view.members().values();
    members
        .filter(|member| member.state == MemberState::Voter)
        .count()
}

#[test]
fn three_nodes_join_agree_and_go_on_without_one() {
    let (mut world, mut nodes) = World::cluster(&["n1", "n2", "n3"]);
    for (at, node) in nodes.iter().enumerate() {
        world.write(node, &format!("from-{at}"), "x");
    }
    for node in &nodes {
        for at in 0..3 {
            assert_eq!(
                world.read(node, &format!("from-{at}")).as_deref(),
                Some(&b"x"[..])
            );
        }
    }
    let ids: Vec<u64> = nodes[0].view().members().keys().map(|id| id.0).collect();
    assert_eq!(ids.len(), 3);

    // The one that made the cluster, and probably leads it.
    world.close([nodes.remove(0)]);
    world.write(&nodes[0], "without", "n1");
    assert_eq!(
        world.read(&nodes[1], "without").as_deref(),
        Some(&b"n1"[..])
    );

    let n1 = world.start("n1", Begin::Found).unwrap();
    assert_eq!(world.read(&n1, "without").as_deref(), Some(&b"n1"[..]));
    world.write(&n1, "back", "n1");
    assert_eq!(world.read(&nodes[0], "back").as_deref(), Some(&b"n1"[..]));
    nodes.push(n1);
    world.close(nodes);
}

#[test]
fn who_asked_and_was_never_answered_can_make_the_cluster() {
    let mut world = World::new(&["n1", "n2"]);
    // What an end in the middle of asking leaves.
    let dir = world.data_dir("n1").join("cluster");
    std::fs::create_dir_all(&dir).unwrap();
    Record::asking(&dir, [7; 16]).save().unwrap();
    let n1 = world.start("n1", Begin::Found).unwrap();
    world.until(&n1, |view| n_voters(view) == 1);
    world.close([n1]);
}

#[test]
fn a_start_without_a_quorum_waits_for_one() {
    let (mut world, nodes) = World::cluster(&["n1", "n2", "n3"]);
    world.close(nodes);
    let n1 = Cluster::begin(world.options("n1", Begin::Found)).unwrap();
    let status = n1.status();
    while status().seats.is_empty() {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((status().leader, status().seats.len()), (None, 3));
    // One that nobody waits for any more lets go of its directory and its port.
    drop(n1);
    let n1 = loop {
        match Cluster::begin(world.options("n1", Begin::Found)) {
            Err(OpenError::Locked { .. }) => thread::sleep(Duration::from_millis(10)),
            begun => break begun.unwrap(),
        }
    };
    let n2 = world
        .start(
            "n2",
            Begin::Join {
                token: None,
                learner: false,
            },
        )
        .unwrap();
    let n1 = world.runtime.block_on(n1.joined()).unwrap();
    assert_eq!(n1.view().boot(), 2);
    world.close([n1, n2]);
}

#[test]
fn a_token_lets_one_node_in_once_and_gives_it_a_certificate() {
    let mut world = World::new(&["n1"]);
    let n1 = world.start("n1", Begin::Found).unwrap();
    let tls = crate::tls::Credentials::load(world.tls("n1"), "n1", now).unwrap();
    let token = JoinToken::generate(tls.ca_sha256()).unwrap();
    let create = NodesCommand::CreateToken {
        id: token.id().to_owned(),
        digest: token.digest(),
        role: JoinRole::Learner,
        lifetime_ms: 600_000,
    };
    world.runtime.block_on(n1.propose(create.into())).unwrap();

    // Without the CA's file: the token pins it.
    let fresh = world.dir.path().join("fresh");
    std::fs::create_dir(&fresh).unwrap();
    let mut options = world.options(
        "n8",
        Begin::Join {
            token: Some(token.clone()),
            learner: false,
        },
    );
    options.network.as_mut().unwrap().tls = TlsFiles {
        ca: fresh.join("ca.pem"),
        cert: fresh.join("n8.pem"),
        key: fresh.join("n8.key"),
    };
    let n8 = Cluster::start(options.clone()).unwrap();
    let name = NodeName::from("n8");
    world.until(&n1, |view| {
        view.member(&name)
            .is_some_and(|it| it.state == MemberState::Learner && it.boot == 1)
    });
    world.write(&n8, "by", "learner");
    assert_eq!(world.read(&n1, "by").as_deref(), Some(&b"learner"[..]));
    assert!(n1.view().join_tokens().is_empty());

    // It comes back by itself, and the token is of no use to another.
    world.close([n8]);
    let n8 = Cluster::start(options).unwrap();
    assert_eq!(n8.view().boot(), 2);
    let again = Begin::Join {
        token: Some(token),
        learner: false,
    };
    world.certs.node("n9", now()).unwrap();
    let refused = Cluster::start(world.options("n9", again)).err().unwrap();
    assert!(
        refused.to_string().contains("token is not good"),
        "{refused}"
    );
    world.close([n8, n1]);
}

#[test]
fn who_is_no_peer_needs_a_token() {
    let mut world = World::new(&["n1"]);
    let n1 = world.start("n1", Begin::Found).unwrap();
    world.certs.node("n9", now()).unwrap();
    let refused = Cluster::start(world.options(
        "n9",
        Begin::Join {
            token: None,
            learner: false,
        },
    ));
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("no token"), "{refused}");
    world.close([n1]);
}

#[test]
fn a_removed_node_is_out_and_its_name_may_return_under_another_number() {
    let (mut world, mut nodes) = World::cluster(&["n1", "n2", "n3"]);
    let old = nodes[2].view().member(&NodeName::from("n3")).unwrap().id;
    world.close([nodes.remove(2)]);
    let removed = nodes[1].remove_member(old, true);
    world.runtime.block_on(removed).unwrap();
    world.until(&nodes[0], |view| n_voters(view) == 2);

    std::fs::remove_dir_all(world.data_dir("n3")).unwrap();
    let n3 = world
        .start(
            "n3",
            Begin::Join {
                token: None,
                learner: false,
            },
        )
        .unwrap();
    world.until(&n3, |view| n_voters(view) == 3);
    let new = n3.view().member(&NodeName::from("n3")).unwrap().id;
    assert!(new > old, "{new:?} {old:?}");
    world.write(&n3, "again", "n3");
    nodes.push(n3);
    world.close(nodes);
}

#[test]
fn a_node_that_slept_through_every_leader_it_knows_finds_the_new_ones() {
    let (mut world, mut nodes) = World::cluster(&["n1", "n2", "n3"]);
    let sleeper = nodes.remove(2);
    let asleep = sleeper.view().member(&NodeName::from("n3")).unwrap().id;
    world.close([sleeper]);
    for name in ["n4", "n5"] {
        world.certs.node(name, now()).unwrap();
        let tls = crate::tls::Credentials::load(world.tls(name), name, now).unwrap();
        let token = JoinToken::generate(tls.ca_sha256()).unwrap();
        let create = NodesCommand::CreateToken {
            id: token.id().to_owned(),
            digest: token.digest(),
            role: JoinRole::Voter,
            lifetime_ms: 600_000,
        };
        world
            .runtime
            .block_on(nodes[0].propose(create.into()))
            .unwrap();
        nodes.push(
            world
                .start(
                    name,
                    Begin::Join {
                        token: Some(token),
                        learner: false,
                    },
                )
                .unwrap(),
        );
    }
    world.until(&nodes[1], |view| n_voters(view) == 5);
    // One that `n3` has never heard of leads, and only `n2` can vouch for it.
    world.close([nodes.remove(0)]);
    world.write(&nodes[0], "while", "asleep");
    let sleeper = world
        .start(
            "n3",
            Begin::Join {
                token: None,
                learner: false,
            },
        )
        .unwrap();
    assert_eq!(
        sleeper.view().member(&NodeName::from("n3")).unwrap().id,
        asleep
    );
    assert_eq!(
        world.read(&sleeper, "while").as_deref(),
        Some(&b"asleep"[..])
    );
    nodes.push(sleeper);
    world.close(nodes);
}

#[test]
fn writers_on_all_nodes_see_each_others_writes() {
    let (world, nodes) = World::cluster(&["n1", "n2", "n3"]);
    let nodes = Arc::new(nodes);
    let writers: Vec<_> = (0..3_usize)
        .map(|at| {
            let nodes = Arc::clone(&nodes);
            thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                for n in 0..50 {
                    let write = RegisterWrite {
                        key: format!("{at}-{n}"),
                        expected: Expected::Absent,
                        value: Some(Bytes::from_static(b"x")),
                    };
                    runtime.block_on(nodes[at].propose(write.into())).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    for node in nodes.iter() {
        let view = world.runtime.block_on(node.read()).unwrap();
        assert_eq!(view.registers().len(), 150);
    }
    let first = nodes[0].view().members().keys().next().copied();
    assert_eq!(first, Some(NodeId(1)));
    world.close(Arc::into_inner(nodes).unwrap());
}
