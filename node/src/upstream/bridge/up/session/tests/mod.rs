//! Calls on their whole way, from clients with a session over the bridge to a stateless server and back, with whatever
//! can happen to them in any order.
//!
//! ```text
//! event ─► world ─┬─ client   one request of a caller and its stream, until the answer, or until the client leaves
//!                 ├─ ledger   what clients were asked and answered, and why calls ended
//!                 ├─ server   what it was sent, what it wants, what it answers
//!                 └─ setting  the bridge between them: real, but for the far end of its channels
//! ```

mod client;
mod ledger;
mod moves;
mod server;
mod setting;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Builder;

use self::ledger::Reached;
use self::setting::{CALLERS, LEVELS, Setting};
use self::world::World;

/// What can happen.
#[derive(Clone, Debug)]
enum Event {
    /// A caller begins a call, unless it has as many as it may have.
    Begin { by: usize },
    /// The server says in a call how far it is.
    Tell(Index),
    /// It wants answers to so many questions, or nothing but time.
    Ask(Index, u64),
    /// It wants what clients here do not declare.
    AskTooMuch(Index),
    /// It answers a call.
    Answer(Index),
    /// A caller answers a question of its session, or refuses it.
    Reply { by: usize, at: Index, accepts: bool },
    /// A caller answers what anybody was asked at any time, itself perhaps never.
    Stray { by: usize, at: Index, accepts: bool },
    /// A caller cancels any request that there ever was, of whomever.
    Cancel { by: usize, at: Index },
    /// A client goes away.
    Leave(Index),
    /// A client reads on, or does not read for a while.
    Look(Index, bool),
    /// A caller ends its session, and opens another.
    Close { by: usize },
    /// The server's process ends on the caller's channel, and another is there.
    Gone { by: usize },
    /// A caller's session leaves its node and goes on at another, with the calls that wait for their client.
    Move { by: usize },
    /// A caller says which log messages it wants to see.
    SetLevel { by: usize, level: usize },
    /// Time passes: longer than a pause between two rounds.
    Pause,
    /// Time passes: a third of what a call waits for its client.
    Later,
}

/// How it all ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Nobody says anything any more.
    TimePasses,
    /// The callers end their sessions.
    SessionsClose,
    /// The clients go away.
    ClientsLeave,
}

fn event() -> impl Strategy<Value = Event> {
    let at = any::<Index>;
    let by = || 0..CALLERS.len();
    let reply = || (by(), at(), prop::bool::weighted(0.9));
    prop_oneof![
        20 => by().prop_map(|by| Event::Begin { by }),
        8 => at().prop_map(Event::Tell),
        25 => (at(), 0..4_u64).prop_map(|(at, n)| Event::Ask(at, n)),
        1 => at().prop_map(Event::AskTooMuch),
        8 => at().prop_map(Event::Answer),
        40 => reply().prop_map(|(by, at, accepts)| Event::Reply { by, at, accepts }),
        6 => reply().prop_map(|(by, at, accepts)| Event::Stray { by, at, accepts }),
        4 => (by(), at()).prop_map(|(by, at)| Event::Cancel { by, at }),
        2 => at().prop_map(Event::Leave),
        3 => at().prop_map(|at| Event::Look(at, false)),
        6 => at().prop_map(|at| Event::Look(at, true)),
        1 => by().prop_map(|by| Event::Close { by }),
        1 => by().prop_map(|by| Event::Gone { by }),
        6 => by().prop_map(|by| Event::Move { by }),
        2 => (by(), 0..LEVELS.len()).prop_map(|(by, level)| Event::SetLevel { by, level }),
        6 => Just(Event::Pause),
        4 => Just(Event::Later),
    ]
}

/// An event, and whether all that follows from it has happened before the next.
fn events() -> impl Strategy<Value = Vec<(Event, bool)>> {
    prop::collection::vec((event(), prop::bool::weighted(0.7)), 0..120)
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        2 => Just(End::TimePasses),
        1 => Just(End::SessionsClose),
        1 => Just(End::ClientsLeave),
    ]
}

/// How often each of [`Reached::ALL`] was reached.
fn run(setting: Setting, events: Vec<(Event, bool)>, end: End) -> BTreeMap<Reached, usize> {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(setting).await;
        for (event, is_settled) in events {
            world.on(event, is_settled).await;
        }
        world.end(end).await.reached
    })
}

#[test]
fn every_call_ends_once_leaves_nothing_and_is_its_callers_alone() {
    let config = Config::with_source_file(file!());
    let n_cases = config.cases;
    let setting = any::<bool>().prop_map(|are_apart| Setting { are_apart });
    let all = RefCell::new(BTreeMap::<Reached, usize>::new());
    let test = |(setting, events, end)| {
        for (what, n) in run(setting, events, end) {
            *all.borrow_mut().entry(what).or_default() += n;
        }
        Ok(())
    };
    let outcome = TestRunner::new(config).run(&(setting, events(), end()), test);
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let all = all.into_inner();
    let missing = Reached::ALL.iter().find(|what| !all.contains_key(what));
    // A short run may miss some.
    assert!(
        n_cases < 256 || missing.is_none(),
        "never reached: {missing:?}"
    );
}
