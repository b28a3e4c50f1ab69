use std::sync::Arc;
use std::time::Duration;

use openraft::errors::RPCError;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::VoteRequest;

use super::super::{Links, NetworkFactory, Roster};
use super::world::{CLUSTER, LIMIT, World, links, load, member, now, request};
use crate::raft::{Member, TypeConfig, Vote};
use crate::tls::{Authority, Credentials, DevCerts, Identity, TlsFiles};

async fn vote(links: Links, target: &Member) -> Result<bool, RPCError<TypeConfig>> {
    let mut network = NetworkFactory::new(links).new_client(2, target).await;
    let request = VoteRequest::new(Vote::new(7, 1), None);
    let answer = network.vote(request, RPCOption::new(LIMIT)).await?;
    Ok(answer.vote_granted)
}

/// All refusals are "leave it alone for a moment" to the engine.
async fn check_refused(links: Links, target: &Member, why: &str) {
    match vote(links, target).await {
        Err(RPCError::Unreachable(error)) => {
            let text = format!("{error:?}");
            assert!(text.contains(why), "`{why}` is not in: {text}");
        }
        other => panic!("{why}: {other:?}"),
    }
}

#[tokio::test]
async fn messages_that_do_not_fit_their_certificate_or_the_membership_are_refused() {
    let world = World::new();
    assert!(vote(world.links(), &world.n2()).await.unwrap());
    let n1 = |cluster, raft_id, boot| links(world.n1.clone(), cluster, raft_id, boot);
    check_refused(n1([9; 16], 1, 1), &world.n2(), "another cluster").await;
    check_refused(
        n1(CLUSTER, 2, 1),
        &world.n2(),
        "not a member under number 2",
    )
    .await;
    check_refused(
        n1(CLUSTER, 77, 1),
        &world.n2(),
        "not a member under number 77",
    )
    .await;
    let n3 = load(world.certs.node("n3", now()).unwrap(), "n3");
    let n3 = links(n3, CLUSTER, 1, 1);
    check_refused(n3, &world.n2(), "`n3` is not a member under number 1").await;
    assert!(world.fake.votes.lock().unwrap().len() == 1);
}

#[tokio::test]
async fn what_is_for_the_removed_node_that_had_this_address_is_refused() {
    let world = World::new();
    let mut network = NetworkFactory::new(world.links());
    let mut network = network.new_client(7, &world.n2()).await;
    let request = VoteRequest::new(Vote::new(7, 1), None);
    let refused = network.vote(request, RPCOption::new(LIMIT)).await;
    assert!(
        matches!(refused, Err(RPCError::Unreachable(_))),
        "{refused:?}"
    );
    assert!(world.fake.votes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_earlier_life_is_refused_after_a_later_one_spoke() {
    let world = World::new();
    let life = |boot| links(world.n1.clone(), CLUSTER, 1, boot);
    assert!(vote(life(1), &world.n2()).await.unwrap());
    assert!(vote(life(2), &world.n2()).await.unwrap());
    check_refused(life(1), &world.n2(), "from life 1").await;
}

#[tokio::test]
async fn a_stream_of_appends_ends_when_its_sender_is_removed() {
    use futures_util::StreamExt;

    let world = World::new();
    let mut network = super::append::network(&world).await;
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let input = Box::pin(futures_util::stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|request| (request, receive))
    }));
    let mut answers = network
        .stream_append(input, RPCOption::new(LIMIT))
        .await
        .unwrap();
    send.send(request(0, 1, 10)).await.unwrap();
    assert!(answers.next().await.unwrap().unwrap().is_ok());
    let mut smaller = Roster::clone(&world.roster.borrow());
    smaller.applied.by_id.remove(&1);
    world.roster.send_replace(Arc::new(smaller));
    send.send(request(1, 1, 10)).await.unwrap();
    let refused = answers.next().await.unwrap();
    assert!(
        matches!(refused, Err(RPCError::Unreachable(_))),
        "{refused:?}"
    );
    assert_eq!(world.fake.appended.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn certificates_of_another_ca_or_cluster_do_not_get_through_the_handshake() {
    let world = World::new();
    let other = DevCerts::create(&world.dir.path().join("other"), "prod", now()).unwrap();
    let forged = load(other.node("n1", now()).unwrap(), "n1");
    check_refused(
        links(forged, CLUSTER, 1, 1),
        &world.n2(),
        "invalid peer certificate",
    )
    .await;
    // Its own side does not trust the listener either; make it do so, and the listener refuses.
    let mut files = other.node("n4", now()).unwrap();
    files.ca = mixed_ca(&world);
    let forged = load(files, "n4");
    assert!(
        vote(links(forged, CLUSTER, 1, 1), &world.n2())
            .await
            .is_err()
    );
    assert!(world.fake.votes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_both_sides() {
    let world = World::new();
    let year = Duration::from_secs(366 * 24 * 3600);
    let files = world.certs.node("n5", now() - year).unwrap();
    let refused = Credentials::load(files.clone(), "n5", now).unwrap_err();
    assert!(refused.to_string().contains("not valid now"), "{refused}");
    // A node whose clock stands still thinks that it is good.
    fn long_ago() -> std::time::SystemTime {
        now() - Duration::from_secs(300 * 24 * 3600)
    }
    let stale = Credentials::load(files, "n5", long_ago).unwrap();
    assert!(
        vote(links(stale, CLUSTER, 1, 1), &world.n2())
            .await
            .is_err()
    );
    assert!(world.fake.votes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_node_that_is_not_the_one_that_was_dialled_gets_nothing() {
    let world = World::new();
    let wrong = member("n9", &world.address);
    check_refused(world.links(), &wrong, "is node `n2`, not `n9`").await;
}

#[tokio::test]
async fn a_node_of_another_cluster_under_the_same_ca_is_a_stranger() {
    let world = World::new();
    let read = |name: &str| std::fs::read_to_string(world.dir.path().join("certs").join(name));
    let ca = Authority::from_pem(&read("ca.pem").unwrap(), &read("ca.key").unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let identity = Identity::new("staging", "n1").unwrap();
    let files = TlsFiles {
        ca: world.dir.path().join("certs/ca.pem"),
        cert: world.dir.path().join("staging.pem"),
        key: world.dir.path().join("certs/n1.key"),
    };
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::write(&files.cert, ca.sign(&key, &identity, now()).unwrap().pem()).unwrap();
    let staging = links(load(files, "n1"), CLUSTER, 1, 1);
    check_refused(staging, &world.n2(), "invalid peer certificate").await;
}

/// A CA file that trusts both CAs of the test.
fn mixed_ca(world: &World) -> std::path::PathBuf {
    let of =
        |dir: &str| std::fs::read_to_string(world.dir.path().join(dir).join("ca.pem")).unwrap();
    let path = world.dir.path().join("both.pem");
    std::fs::write(&path, of("other") + &of("certs")).unwrap();
    path
}
