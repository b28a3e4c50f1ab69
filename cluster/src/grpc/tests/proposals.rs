use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lockgate_proto::peer::v1 as pb;
use prost::Message;

use super::super::{Links, Peers, Roster};
use super::world::{LIMIT, World};
use crate::raft::{PeerError, Peers as _};
use crate::task::spawn_named;

/// What one asks `n2`, which is a task of its own.
fn ask(
    world: &World,
    links: &Links,
    entry: &'static str,
) -> tokio::task::JoinHandle<Result<Bytes, PeerError>> {
    let (peers, n2) = (Peers::new(links.clone()), world.n2());
    spawn_named("ask", async move {
        peers.propose(2, &n2, Bytes::from(entry)).await
    })
}

/// Asks for so many at once, and gives what was begun, in order.
async fn ask_many(n: usize) -> (Vec<Bytes>, Vec<Bytes>) {
    let world = World::new();
    let (peers, n2) = (Peers::new(world.links()), world.n2());
    let entries: Vec<_> = (0..n).map(|i| Bytes::from(format!("{i}"))).collect();
    let asked = entries
        .iter()
        .map(|entry| peers.propose(2, &n2, entry.clone()));
    let answers: Result<Vec<_>, _> = join_all(asked).await.into_iter().collect();
    assert!(answers.unwrap() == entries);
    let begun = std::mem::take(&mut *world.fake.proposed.lock().unwrap());
    (entries, begun)
}

#[tokio::test]
async fn proposals_are_begun_in_their_order() {
    let (entries, begun) = ask_many(50).await;
    assert_eq!(begun, entries);
}

#[tokio::test]
async fn of_more_than_the_member_takes_at_once_each_gets_its_own_answer() {
    let (mut entries, mut begun) = ask_many(3000).await;
    entries.sort_unstable();
    begun.sort_unstable();
    assert!(begun == entries);
}

#[tokio::test]
async fn one_that_takes_long_holds_up_no_other() {
    let world = World::new();
    let links = world.links();
    let held = ask(&world, &links, "held");
    world.holds(1).await;
    assert_eq!(
        ask(&world, &links, "quick").await.unwrap().unwrap(),
        "quick"
    );
    world.fake.released.send_replace(true);
    assert_eq!(held.await.unwrap().unwrap(), "held");
}

#[tokio::test]
async fn a_broken_stream_leaves_open_what_was_sent_and_the_next_is_told_that_nobody_is_there() {
    let mut world = World::new();
    let links = world.links();
    let sent = [ask(&world, &links, "held 1"), ask(&world, &links, "held 2")];
    world.holds(2).await;
    world.stop.send_replace(true);
    for sent in sent {
        let lost = sent.await.unwrap();
        assert!(matches!(lost, Err(PeerError::Unknown(_))), "{lost:?}");
    }
    (&mut world.serving).await.unwrap();
    let undone = ask(&world, &links, "after").await;
    let undone = undone.unwrap();
    assert!(
        matches!(undone, Err(PeerError::Unreachable(_))),
        "{undone:?}"
    );
}

#[tokio::test]
async fn a_sender_that_is_removed_is_answered_what_it_asked_before_and_refused_the_next() {
    let world = World::new();
    let links = world.links();
    let before = ask(&world, &links, "held");
    world.holds(1).await;
    let whole = Arc::clone(&world.roster.borrow());
    let mut smaller = Roster::clone(&whole);
    smaller.applied.by_id.remove(&1);
    world.roster.send_replace(Arc::new(smaller));
    let refused = ask(&world, &links, "refused");
    world.fake.released.send_replace(true);
    assert_eq!(before.await.unwrap().unwrap(), "held");
    let refused = refused.await.unwrap();
    assert!(
        matches!(&refused, Err(PeerError::Unreachable(why)) if why.contains("not a member")),
        "{refused:?}"
    );
    assert_eq!(*world.fake.proposed.lock().unwrap(), ["held"]);
    // The stream ended with the refusal; the next proposal opens another.
    world.roster.send_replace(whole);
    assert_eq!(
        ask(&world, &links, "again").await.unwrap().unwrap(),
        "again"
    );
}

#[tokio::test]
async fn who_goes_away_disturbs_nobody() {
    let world = World::new();
    let links = world.links();
    let (gone, stays) = (ask(&world, &links, "held 1"), ask(&world, &links, "held 2"));
    world.holds(2).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    world.fake.released.send_replace(true);
    assert_eq!(stays.await.unwrap().unwrap(), "held 2");
    assert_eq!(ask(&world, &links, "next").await.unwrap().unwrap(), "next");
}

#[tokio::test]
async fn one_without_an_answer_in_time_gives_up_the_stream_but_not_for_those_who_wait_there() {
    let world = World::new();
    let links = world.links();
    let n2 = world.n2();
    let within = async |entry: &'static str, limit| {
        let proposals = links.proposals(2, &n2);
        let entry = Bytes::from(entry);
        proposals.propose(links.sender(2), entry, limit).await
    };
    let patient = ask(&world, &links, "held patient");
    world.holds(1).await;
    let late = within("held late", Duration::from_millis(20)).await;
    assert!(matches!(late, Err(PeerError::Unknown(_))), "{late:?}");
    assert_eq!(within("next", LIMIT).await.unwrap(), "next");
    world.fake.released.send_replace(true);
    assert_eq!(patient.await.unwrap().unwrap(), "held patient");

    // Alone, it takes the stream with it, and the member leaves what it was at.
    world.fake.released.send_replace(false);
    let late = within("held alone", Duration::from_millis(20)).await;
    assert!(matches!(late, Err(PeerError::Unknown(_))), "{late:?}");
    world.holds(0).await;
    assert_eq!(within("last", LIMIT).await.unwrap(), "last");
}

#[tokio::test]
async fn a_closed_link_lasts_for_those_who_wait_there() {
    let world = World::new();
    let links = world.links();
    let held = ask(&world, &links, "held");
    world.holds(1).await;
    links.retain(|_nobody| false);
    world.fake.released.send_replace(true);
    assert_eq!(held.await.unwrap().unwrap(), "held");
}

fn hex(message: &impl Message) -> String {
    let bytes = message.encode_to_vec();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn frames_are_on_the_wire_as_they_always_were() {
    let proposal = pb::Proposal {
        sender: Some(pb::Sender {
            cluster: Bytes::from_static(&[7; 2]),
            raft_id: 1,
            name: "n1".to_owned(),
            boot: 3,
            to: 2,
        }),
        serial: 300,
        entry: Bytes::from_static(b"entry"),
    };
    let expected = "0a0e0a02070710011a026e312003280210ac021a05656e747279";
    assert_eq!(hex(&proposal), expected);
    let check = |result, expected| {
        let (serial, result) = (300, Some(result));
        assert_eq!(hex(&pb::ProposalAnswer { serial, result }), expected);
    };
    use pb::proposal_answer::Result as Answer;
    check(
        Answer::Outcome(Bytes::from_static(b"done")),
        "08ac021204646f6e65",
    );
    check(
        Answer::NotLeader(pb::NotLeader { leader: Some(3) }),
        "08ac021a020803",
    );
    check(Answer::Refused("no".to_owned()), "08ac0222026e6f");
    check(Answer::Unknown("lost".to_owned()), "08ac022a046c6f7374");
}
