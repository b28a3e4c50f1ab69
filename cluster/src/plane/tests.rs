//! Two nodes over QUIC on loopback.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use lockgate_proto::peer::v1 as pb;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{FetchError, FileName, FileSource, Plane};
use crate::grpc::{Guard, Links, Members, Roster};
use crate::raft::{Member, RaftId};
use crate::tls::{Credentials, DevCerts};

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are made and checked in real time"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Gives every file of a directory as an audit segment.
#[derive(Debug)]
struct Dir(PathBuf);

impl FileSource for Dir {
    fn open(&self, kind: pb::FileKind, name: &str) -> io::Result<Option<File>> {
        if kind != pb::FileKind::AuditSegment || name.contains('/') {
            return Ok(None);
        }
        match File::open(self.0.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// `n2` under number 2 serves files; `n1` under number 1 fetches.
struct World {
    dir: TempDir,
    certs: DevCerts,
    n1: Plane,
    n2: Plane,
    n2_member: Member,
    roster: watch::Sender<Arc<Roster>>,
    serving: JoinHandle<()>,
}

fn member(name: &str, address: String) -> Member {
    Member {
        name: name.to_owned(),
        address,
    }
}

fn plane(credentials: &Credentials, roster: &watch::Sender<Arc<Roster>>, id: RaftId) -> Plane {
    let links = Links::new(credentials.clone(), roster.subscribe(), id, 1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    Plane::open(socket, credentials.clone(), links).unwrap()
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let certs = DevCerts::create(&dir.path().join("certs"), "prod", now()).unwrap();
        fs::create_dir(dir.path().join("files")).unwrap();
        let load =
            |name: &str| Credentials::load(certs.node(name, now()).unwrap(), name, now).unwrap();
        let (n1, n2) = (load("n1"), load("n2"));
        let names = [
            (1, member("n1", String::new())),
            (2, member("n2", String::new())),
        ];
        let roster = watch::Sender::new(Arc::new(Roster {
            cluster: vec![1; 16].into(),
            applied: Members {
                upto: 1,
                by_id: BTreeMap::from(names),
            },
            ..Roster::default()
        }));
        let (n1, n2_plane) = (plane(&n1, &roster, 1), plane(&n2, &roster, 2));
        let n2_member = member("n2", n2_plane.local_address().unwrap().to_string());
        let guard = Arc::new(Guard::new(2, roster.subscribe()));
        let files = Arc::new(Dir(dir.path().join("files")));
        let serving = n2_plane.serve(&n2, guard, files);
        Self {
            dir,
            certs,
            n1,
            n2: n2_plane,
            n2_member,
            roster,
            serving,
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir.path().join("files").join(name), bytes).unwrap();
    }

    async fn fetch(&self, from: &Plane, name: &str) -> Result<Vec<u8>, FetchError> {
        let file = FileName {
            kind: pb::FileKind::AuditSegment,
            name: name.to_owned(),
        };
        let path = self.out(name);
        let size = from.fetch((2, &self.n2_member), &file, &path).await?;
        let bytes = fs::read(path).unwrap();
        assert_eq!(bytes.len() as u64, size);
        Ok(bytes)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.fetched"))
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 253) as u8).collect()
}

#[tokio::test]
async fn a_file_arrives_whole_whatever_its_size() {
    let world = World::new();
    for length in [0, 1, 256 << 10, 4 << 20, (9 << 20) + 5] {
        let name = format!("segment-{length}");
        world.write(&name, &bytes(length));
        assert!(world.fetch(&world.n1, &name).await.unwrap() == bytes(length));
    }
}

#[tokio::test]
async fn a_fetch_that_broke_off_goes_on_where_it_was() {
    let world = World::new();
    world.write("a", &bytes(100_000));
    fs::write(world.out("a"), &bytes(100_000)[..70_000]).unwrap();
    assert!(world.fetch(&world.n1, "a").await.unwrap() == bytes(100_000));
    // It has grown since.
    world.write("a", &bytes(150_000));
    assert!(world.fetch(&world.n1, "a").await.unwrap() == bytes(150_000));
    // More than there is: somebody else's file.
    fs::write(world.out("a"), bytes(150_001)).unwrap();
    let refused = world.fetch(&world.n1, "a").await.unwrap_err();
    assert!(matches!(
        refused,
        FetchError::Refused {
            reason: "REASON_OUT_OF_RANGE",
            ..
        }
    ));
}

#[tokio::test]
async fn a_file_that_is_not_there_or_not_to_be_had_is_refused() {
    let world = World::new();
    world.write("a", b"x");
    for name in ["b", "..", "../files/a"] {
        let file = FileName {
            kind: pb::FileKind::AuditSegment,
            name: name.to_owned(),
        };
        let out = world.dir.path().join("out");
        let refused = world.n1.fetch((2, &world.n2_member), &file, &out).await;
        assert!(
            matches!(
                refused,
                Err(FetchError::NoSuchFile { .. }
                    | FetchError::Refused { .. }
                    | FetchError::Broken { .. })
            ),
            "{name}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_removed_member_gets_nothing_over_a_connection_it_has() {
    let world = World::new();
    world.write("a", b"x");
    world.fetch(&world.n1, "a").await.unwrap();
    let mut smaller = Roster::clone(&world.roster.borrow());
    smaller.applied.by_id.remove(&1);
    world.roster.send_replace(Arc::new(smaller));
    world.write("b", b"x");
    let refused = world.fetch(&world.n1, "b").await.unwrap_err();
    assert!(
        matches!(
            refused,
            FetchError::Refused {
                reason: "REASON_SENDER",
                ..
            }
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn a_node_of_another_ca_and_one_at_a_wrong_address_get_no_connection() {
    let world = World::new();
    world.write("a", b"x");
    let other = DevCerts::create(&world.dir.path().join("other"), "prod", now()).unwrap();
    let forged = Credentials::load(other.node("n1", now()).unwrap(), "n1", now).unwrap();
    let forged = plane(&forged, &world.roster, 1);
    let refused = world.fetch(&forged, "a").await.unwrap_err();
    assert!(matches!(refused, FetchError::Broken { .. }), "{refused}");
    let n3 = member("n3", world.n2_member.address.clone());
    let file = FileName {
        kind: pb::FileKind::AuditSegment,
        name: "a".to_owned(),
    };
    let refused = world
        .n1
        .fetch((2, &n3), &file, &world.out("a"))
        .await
        .unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("is node `n2`, not `n3`"), "{cause}");
    // A stranger that the CA knows gets a connection, and nothing over it.
    let n9 = world.certs.node("n9", now()).unwrap();
    let n9 = plane(&Credentials::load(n9, "n9", now).unwrap(), &world.roster, 1);
    let refused = world.fetch(&n9, "a").await.unwrap_err();
    assert!(matches!(refused, FetchError::Refused { .. }), "{refused}");
}

#[tokio::test]
async fn a_closed_plane_ends_its_connections() {
    let mut world = World::new();
    world.write("a", b"x");
    world.fetch(&world.n1, "a").await.unwrap();
    world.n2.close().await;
    (&mut world.serving).await.unwrap();
    assert!(world.fetch(&world.n1, "a").await.is_err());
}
