//! Calls on their whole way, from their clients over the bridge to a server without a transport and back, with whatever
//! can happen to them in any order.
//!
//! ```text
//! event ─► world ─┬─ client   one request of a caller, until its answer, its question, or until it leaves
//!                 ├─ ledger   what every client was asked, and what became of it
//!                 ├─ peer     the server in one session: what it was sent, what it asks
//!                 ├─ setting  the bridge between them: real, but for the far end of its channels
//!                 └─ reached  what the run has come to
//! ```

mod client;
mod ledger;
mod peer;
mod reached;
mod setting;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Builder;

use self::client::Answers;
use self::reached::{Goal, Reached};
use self::setting::{Setting, Sharing};
use self::world::{End, World};
use crate::upstream::bridge::down::owned::Owned;
use crate::upstream::shared::Shared;

/// As many runs come to all that they are about. Fewer, as one may ask for in a hurry, may not.
const CASES_MIN: u32 = 256;

/// What can happen.
#[derive(Clone, Debug)]
enum Event {
    /// A caller begins a call, unless it has the one already.
    Begin { by: usize, side: usize },
    /// The server asks in mid-call, or for roots whenever it likes.
    Ask { at: Index, is_roots: bool },
    /// It takes its last question back.
    TakeBack(Index),
    /// It says something else.
    Tell(Index),
    /// It answers the call, also where it has asked.
    Answer(Index),
    /// A client that waits for the server goes away.
    Leave(Index),
    /// A caller goes on to other calls than the one that waits longest.
    Abandon { by: usize },
    /// Somebody brings a state that somebody was given.
    Retry {
        state: Index,
        by: usize,
        side: usize,
        answers: Answers,
    },
    /// The caller whose state it is answers it.
    Resume(Index, Answers),
    /// The server is quiet for so long that what it has asked is put.
    Quiet,
    /// Time passes: a third of what a call waits for its client.
    Later,
    /// Time passes until the first call that waits has waited too long, and nobody has looked yet.
    Expiry,
    /// One session's server is gone.
    Gone(Index),
    /// All that is data is written down, and goes on from there.
    Written,
}

fn event() -> impl Strategy<Value = Event> {
    let at = any::<Index>;
    let answers = || {
        prop_oneof![
            5 => Just(Answers::Whole),
            1 => Just(Answers::WithOthers),
            1 => Just(Answers::Missing),
            1 => Just(Answers::Wrong),
        ]
    };
    let retry = (at(), 0..client::CALLERS, 0..2_usize, answers());
    prop_oneof![
        18 => (0..2_usize, 0..2_usize).prop_map(|(by, side)| Event::Begin { by, side }),
        27 => (at(), prop::bool::weighted(0.15)).prop_map(|(at, is_roots)| Event::Ask { at, is_roots }),
        3 => at().prop_map(Event::TakeBack),
        3 => at().prop_map(Event::Tell),
        6 => at().prop_map(Event::Answer),
        4 => at().prop_map(Event::Leave),
        2 => (0..2_usize).prop_map(|by| Event::Abandon { by }),
        12 => retry.prop_map(|(state, by, side, answers)| Event::Retry { state, by, side, answers }),
        30 => (at(), answers()).prop_map(|(state, answers)| Event::Resume(state, answers)),
        27 => Just(Event::Quiet),
        4 => Just(Event::Later),
        2 => Just(Event::Expiry),
        1 => at().prop_map(Event::Gone),
        6 => Just(Event::Written),
    ]
}

/// An event, and whether all that follows from it has happened before the next.
fn events() -> impl Strategy<Value = Vec<(Event, bool)>> {
    prop::collection::vec((event(), prop::bool::weighted(0.7)), 0..100)
}

fn setting() -> impl Strategy<Value = Setting> {
    let sharing = prop_oneof![
        Just(Sharing::OwnSessions),
        Just(Sharing::InTurns),
        Just(Sharing::AtOnce),
        Just(Sharing::AtOnceApart),
    ];
    let settings = (any::<bool>(), sharing, any::<bool>());
    settings.prop_map(|(are_alike, sharing, is_crowded)| Setting {
        are_alike,
        sharing,
        is_crowded,
    })
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        2 => Just(End::TimePasses),
        1 => Just(End::ClientsLeave),
        1 => Just(End::ServerIsRemoved),
    ]
}

/// A server, a session of each of two callers, and what keeps them open.
pub(in crate::upstream::bridge::down) async fn sessions(
    is_crowded: bool,
) -> (Arc<Shared>, [Arc<Owned>; 2], impl Sized) {
    let setting = Setting {
        are_alike: true,
        sharing: Sharing::OwnSessions,
        is_crowded,
    };
    let (shared, reached) = (setting.server().await, Reached::default());
    let ann = setting.sessions(&shared, 0, &reached).await;
    let bob = setting.sessions(&shared, 1, &reached).await;
    let sessions = [&ann, &bob].map(|sessions| Arc::clone(&sessions[0].0));
    (shared, sessions, (ann, bob))
}

/// Plays a run; gives what it has come to.
fn play(setting: Setting, events: Vec<(Event, bool)>, end: End) -> Vec<Goal> {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(setting).await;
        let reached = world.reached.clone();
        for (event, is_settled) in events {
            world.on(event, is_settled).await;
        }
        world.end(end).await;
        reached.goals()
    })
}

#[test]
fn every_call_ends_once_leaves_nothing_and_is_its_callers_alone() {
    let config = Config {
        test_name: Some(concat!(module_path!(), "::every_call_ends_once")),
        ..Config::with_source_file(file!())
    };
    let n_cases = config.cases;
    let n_runs = RefCell::new(BTreeMap::<Goal, u32>::new());
    let run =
        TestRunner::new(config).run(&(setting(), events(), end()), |(setting, events, end)| {
            for goal in play(setting, events, end) {
                *n_runs.borrow_mut().entry(goal).or_default() += 1;
            }
            Ok(())
        });
    if let Err(failure) = run {
        panic!("{failure}");
    }
    let n_runs = n_runs.into_inner();
    for goal in Goal::ALL.iter().filter(|_| n_cases >= CASES_MIN) {
        assert!(n_runs.contains_key(goal), "{goal:?}: {n_runs:?}");
    }
}
