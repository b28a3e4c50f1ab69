//! A desk at work, and the same desk on another node.

use futures_util::FutureExt;
use lockgate_proto::jsonrpc::{Frame, Limits};
use tokio::time::{Duration, advance};

use super::state::{DeskState, Told};
use super::*;
use crate::config;
use crate::upstream::bridge::down::abilities::Abilities;
use crate::upstream::bridge::down::call::Allowance;
use crate::upstream::bridge::down::shelf::tests::sessions;
use crate::upstream::bridge::down::tasks::places::TASKS_OWNER_MAX;
use crate::upstream::copy::{through_bytes, through_text};
use crate::upstream::shared::Shared;

fn owner(owned: &Owned) -> Digest {
    digest::of_owner(&owned.key.owner())
}

/// The session's server has begun a task.
fn begin(desk: &Desk, owned: &Arc<Owned>, server_id: &str) -> Kept {
    let place = desk.reserve(&owner(owned)).unwrap();
    let abilities = Abilities::of(r#"{"elicitation":{}}"#);
    let allowance = Allowance::from(&config::Bridge::default());
    let task = Task::new(server_id.to_owned(), abilities, allowance);
    desk.keep(owned, task, place)
}

/// The server asks on the session's own stream; gives what it is answered at once.
fn ask(owned: &Owned, server_id: &str, id: u64) -> Option<Frame> {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{"message":"m","_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":"{server_id}"}}}}}}}}"#
    );
    owned
        .hub
        .hear(Frame::parse(text.into(), &Limits::default()).unwrap())
}

fn question(key: &str) -> String {
    format!(r#"{{"{key}":{{"method":"elicitation/create","params":{{"message":"m"}}}}}}"#)
}

/// Tasks that `owner` may begin yet.
fn n_free(desk: &Desk, owner: &Digest) -> usize {
    let places = std::iter::from_fn(|| desk.places.take(owner).ok());
    places.collect::<Vec<_>>().len()
}

/// The same desk on the node of `server`, where the sessions of tasks are those of `session`.
fn moved(
    state: DeskState,
    desk: &Desk,
    server: &Shared,
    session: impl Fn(u64) -> Option<Arc<Owned>>,
) -> (Desk, Vec<Told>) {
    let room = server.down.shelf.room().cloned();
    let clock = Clock::set_to(desk.clock.now_ms());
    Desk::restore(state, room, clock, session)
}

/// What a client and a server had begun at one desk they go on with at its copy on another node.
async fn check_moved(copied: fn(&DeskState) -> DeskState) {
    let (here, [ann, bob], _far) = sessions(false).await;
    let (there, [ann_there, bob_there], _far_there) = sessions(false).await;
    let desk = &here.down.desk;
    let asking = begin(desk, &ann, "s-1");
    let bobs = begin(desk, &bob, "s-1");
    assert!(ask(&ann, "s-1", 7).is_none());

    let state = copied(&desk.state());
    let (moved, refused) = moved(state, desk, &there, |n| {
        let is_bobs = n == bobs.n;
        Some(Arc::clone(if is_bobs { &bob_there } else { &ann_there }))
    });
    assert!(refused.is_empty());
    assert_eq!(moved.state(), desk.state());
    let [room, room_there] = [&here, &there].map(|node| node.down.shelf.room().unwrap());
    assert_eq!(room_there.usage_by_caller(), room.usage_by_caller());
    assert_eq!(room_there.usage(), room.usage());
    assert_eq!(room_there.usage().calls, 1);
    for owner in [owner(&ann), owner(&bob)] {
        assert_eq!(n_free(&moved, &owner), n_free(desk, &owner));
    }

    assert!(moved.find(&asking.id, &owner(&bob)).is_none());
    let found = moved.find(&asking.id, &owner(&ann)).unwrap();
    assert!(Arc::ptr_eq(&found.owned, &ann_there));
    assert_eq!(found.following.server_id(), "s-1");
    let shown = found.following.questions(&ann_there).await;
    assert_eq!(shown, Some(question("ask-1")));
    let answer = r#"{"ask-1":{"action":"accept"}}"#;
    let answers = found.following.on_responses(answer).unwrap();
    let ids: Vec<_> = answers.iter().filter_map(Frame::id).collect();
    assert_eq!((ids, room_there.usage().calls), (vec!["7"], 0));
    // A key is of one question for the life of its task, an id of one task for that of the server.
    assert!(ask(&ann_there, "s-1", 8).is_none());
    let shown = found.following.questions(&ann_there).await;
    assert_eq!(shown, Some(question("ask-2")));
    let next = begin(&moved, &bob_there, "s-2");
    assert!([&asking, &bobs].iter().all(|old| old.id != next.id));

    drop(found);
    moved.clear();
    assert_eq!((room_there.usage().calls, moved.is_empty()), (0, true));
    assert_eq!(n_free(&moved, &owner(&ann)), TASKS_OWNER_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_desk_goes_on_on_another_node() {
    check_moved(through_text).await;
    check_moved(through_bytes).await;
}

#[tokio::test(start_paused = true)]
async fn times_go_on_on_another_node() {
    let (here, [ann, _], _far) = sessions(false).await;
    let (there, [ann_there, _], _far_there) = sessions(false).await;
    let desk = &here.down.desk;
    let [told, open] = ["s-1", "s-2"].map(|id| begin(desk, &ann, id));
    desk.note_told(&told);
    advance(Duration::from_secs(40)).await;
    let (moved, _) = moved(desk.state(), desk, &there, |_| Some(Arc::clone(&ann_there)));
    for (later_ms, known) in [
        (0, vec![told.n, open.n]),
        (19_999, vec![told.n, open.n]),
        (1, vec![open.n]),
        (3_600_000 - 60_001, vec![open.n]),
        (1, vec![]),
    ] {
        advance(Duration::from_millis(later_ms)).await;
        for desk in [desk, &moved] {
            desk.expire();
            let seen: Vec<u64> = desk.state().tasks.into_keys().collect();
            assert_eq!(seen, known, "{later_ms} ms later");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_end_of_all_tasks_waits_for_those_that_moved() {
    let (here, [ann, _], _far) = sessions(false).await;
    let (there, [ann_there, _], _far_there) = sessions(false).await;
    let desk = &here.down.desk;
    let [told, open] = ["s-1", "s-2"].map(|id| begin(desk, &ann, id));
    desk.note_told(&told);
    let (moved, _) = moved(desk.state(), desk, &there, |_| Some(Arc::clone(&ann_there)));
    assert!(moved.until_none_is_open().now_or_never().is_none());
    moved.note_told(&moved.find(&open.id, &owner(&ann)).unwrap());
    assert!(moved.until_none_is_open().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_task_moves_with_a_session_of_its_own_caller_alone() {
    let (here, [ann, bob], _far) = sessions(false).await;
    let (there, [_, bob_there], _far_there) = sessions(false).await;
    let desk = &here.down.desk;
    let [anns, bobs, left] =
        [(&ann, "s-1"), (&bob, "s-2"), (&bob, "s-3")].map(|(owned, id)| begin(desk, owned, id));
    assert!(ask(&ann, "s-1", 7).is_none());
    let (moved, refused) = moved(desk.state(), desk, &there, |n| {
        (n != left.n).then(|| Arc::clone(&bob_there))
    });
    assert!(refused.is_empty());
    let known: Vec<u64> = moved.state().tasks.into_keys().collect();
    assert_eq!(known, [bobs.n]);
    for gone in [anns, left] {
        for owner in [owner(&ann), owner(&bob)] {
            assert!(moved.find(&gone.id, &owner).is_none());
        }
    }
    assert!(ask(&bob_there, "s-1", 8).is_some());
    assert_eq!(there.down.shelf.room().unwrap().usage().calls, 0);
    assert_eq!(n_free(&moved, &owner(&ann)), TASKS_OWNER_MAX);
    assert_eq!(n_free(&moved, &owner(&bob)), TASKS_OWNER_MAX - 1);
    moved.note_told(&moved.find(&bobs.id, &owner(&bob)).unwrap());
    assert!(moved.until_none_is_open().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_question_that_finds_no_place_on_another_node_is_refused() {
    let (here, [ann, _], _far) = sessions(false).await;
    let (there, [ann_there, _], _far_there) = sessions(true).await;
    let desk = &here.down.desk;
    let tasks = [("s-1", 7), ("s-2", 8)].map(|(server_id, id)| {
        let task = begin(desk, &ann, server_id);
        assert!(ask(&ann, server_id, id).is_none());
        task
    });
    let (moved, refused) = moved(desk.state(), desk, &there, |_| Some(Arc::clone(&ann_there)));
    let refused: Vec<_> = refused.iter().map(|(_, frame)| frame.id()).collect();
    assert_eq!(refused, [Some("8")]);
    let asked = moved.state().tasks.into_values();
    let asked: Vec<_> = asked.map(|task| task.is_asking()).collect();
    assert_eq!(asked, [true, false]);
    assert!(
        tasks
            .iter()
            .all(|task| moved.find(&task.id, &owner(&ann)).is_some())
    );
}

#[tokio::test(start_paused = true)]
async fn who_has_too_many_tasks_loses_one_that_has_ended() {
    let (here, [ann, bob], _far) = sessions(false).await;
    let desk = &here.down.desk;
    let bobs = begin(desk, &bob, "s");
    desk.note_told(&bobs);
    let mut tasks: Vec<Kept> = (0..TASKS_OWNER_MAX)
        .map(|_| begin(desk, &ann, "s"))
        .collect();
    let owner = owner(&ann);
    assert!(desk.reserve(&owner).is_none());
    let ended = tasks.remove(100);
    desk.note_told(&ended);
    // Also while somebody asks for it.
    assert!(desk.reserve(&owner).is_some());
    assert!(desk.find(&ended.id, &owner).is_none());
    assert!(
        tasks
            .iter()
            .all(|task| desk.find(&task.id, &owner).is_some())
    );
    desk.forget_session(&ann);
    assert_eq!(n_free(desk, &owner), TASKS_OWNER_MAX);
    assert!(!desk.is_empty());
}
