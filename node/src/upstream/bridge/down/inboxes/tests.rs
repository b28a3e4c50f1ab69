use std::collections::BTreeMap;

use lockgate_proto::jsonrpc::Limits;
use proptest::prelude::*;

use super::*;
use crate::upstream::copy::{through_bytes, through_text};

/// How long a question waits until it is known whose it is.
const HOLD_MS: u64 = 50;

fn frame(text: &str) -> Frame {
    Frame::parse(text.to_owned().into(), &Limits::default()).unwrap()
}

fn question(id: u64, is_roots: bool) -> Frame {
    let method = if is_roots {
        "roots/list"
    } else {
        "elicitation/create"
    };
    frame(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#
    ))
}

fn notification(method: &str, params: &str) -> Frame {
    frame(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{{params}}}}}"#
    ))
}

/// What can happen; calls by their place among those that there are.
#[derive(Clone, Debug)]
enum Event {
    Begins(bool),
    /// A call waits for its client, or goes on.
    Turns(usize),
    Ends(usize),
    Reads(usize),
    Asks(bool),
    Withdraws(u64),
    Progress(u64),
    Tells,
    TimePasses(u64),
    Looks,
    /// All goes on elsewhere: as text, or as bytes.
    Moves(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => prop::bool::weighted(0.8).prop_map(Event::Begins),
        3 => (0..4_usize).prop_map(Event::Turns),
        2 => (0..4_usize).prop_map(Event::Ends),
        6 => (0..4_usize).prop_map(Event::Reads),
        8 => prop::bool::weighted(0.3).prop_map(Event::Asks),
        2 => (1..40_u64).prop_map(Event::Withdraws),
        1 => (1..10_u64).prop_map(Event::Progress),
        1 => Just(Event::Tells),
        2 => (0..HOLD_MS).prop_map(Event::TimePasses),
        2 => Just(Event::Looks),
        3 => any::<bool>().prop_map(Event::Moves),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Call {
    can_ask: bool,
    is_running: bool,
}

/// Inboxes that move, and others to which the same happens and which stay.
#[derive(Debug, Default)]
struct World {
    moves: Inboxes,
    stays: Inboxes,
    now_ms: u64,
    calls: BTreeMap<u64, Call>,
    n_calls: u64,
    n_questions: u64,
    /// How often each question has come out: read, left over, or nobody's.
    out: BTreeMap<u64, usize>,
}

impl World {
    /// Does the same to both, and gives what comes of it.
    fn both<T: PartialEq + std::fmt::Debug>(
        &mut self,
        mut act: impl FnMut(&mut Inboxes, u64) -> T,
    ) -> T {
        let outcome = act(&mut self.moves, self.now_ms);
        assert_eq!(act(&mut self.stays, self.now_ms), outcome);
        outcome
    }

    fn nth(&self, at: usize) -> Option<u64> {
        self.calls.keys().nth(at).copied()
    }

    fn came_out(&mut self, texts: &[String]) {
        for frame in texts.iter().map(|text| frame(text)) {
            // What only informs has no id.
            let Some(id) = frame.id() else { continue };
            *self.out.entry(id.parse().unwrap()).or_default() += 1;
        }
    }

    fn on(&mut self, event: &Event) {
        match *event {
            Event::Begins(can_ask) => {
                self.n_calls += 1;
                let (n, is_running) = (self.n_calls, true);
                self.calls.insert(
                    n,
                    Call {
                        can_ask,
                        is_running,
                    },
                );
                self.both(|inboxes, now_ms| inboxes.enter(n, can_ask, now_ms));
            }
            Event::Turns(at) => {
                let Some(n) = self.nth(at) else { return };
                let call = self.calls.get_mut(&n).unwrap();
                call.is_running = !call.is_running;
                let Call {
                    can_ask,
                    is_running,
                } = *call;
                self.both(|inboxes, now_ms| match is_running {
                    true => inboxes.enter(n, can_ask, now_ms),
                    false => inboxes.leave(n, now_ms),
                });
            }
            Event::Ends(at) => {
                let Some(n) = self.nth(at) else { return };
                self.calls.remove(&n);
                let left = self.both(|inboxes, now_ms| {
                    let _given = inboxes.leave(n, now_ms);
                    texts(inboxes.close(n))
                });
                self.came_out(&left);
            }
            Event::Reads(at) => {
                let Some(n) = self.nth(at) else { return };
                let read = self.both(|inboxes, _| texts(inboxes.take(n)));
                self.came_out(&read);
            }
            Event::Asks(is_roots) => self.ask(is_roots),
            Event::Withdraws(id) => {
                let cancelled = notification("cancelled", &format!(r#""requestId":{id}"#));
                self.both(|inboxes, _| inboxes.withdraw(&cancelled));
            }
            Event::Progress(n) => {
                let progress = notification("progress", &format!(r#""progressToken":{n}"#));
                let told = self.both(|inboxes, _| inboxes.tell_progress(progress.clone()));
                let is_running = self.calls.get(&n).is_some_and(|call| call.is_running);
                assert!(told.is_none_or(|told| told == n && is_running));
            }
            Event::Tells => {
                let told = self.both(|inboxes, _| inboxes.tell_only(notification("x", "")));
                let running = self.calls.values().filter(|call| call.is_running);
                assert!(told.is_none() || running.count() == 1);
            }
            Event::TimePasses(ms) => self.now_ms += ms,
            Event::Looks => self.look(),
            Event::Moves(true) => self.moves = through_text(&self.moves),
            Event::Moves(false) => self.moves = through_bytes(&self.moves),
        }
        assert_eq!(self.moves, self.stays);
        assert!(
            self.calls
                .keys()
                .all(|n| self.moves.n_unread(*n) <= INBOX_MAX)
        );
    }

    fn ask(&mut self, is_roots: bool) {
        self.n_questions += 1;
        let (question, until_ms) = (question(self.n_questions, is_roots), self.now_ms + HOLD_MS);
        let asked = self.both(|inboxes, _| {
            let asked = inboxes.ask(question.clone(), until_ms);
            asked.map_err(|question| question.text().to_owned())
        });
        match asked {
            Ok(Some(to)) => {
                let call = self.calls[&to];
                assert!(call.is_running && call.can_ask, "{to} is asked");
            }
            Ok(None) => {}
            Err(refused) => self.came_out(&[refused]),
        }
    }

    fn look(&mut self) {
        let nobodys = self.both(|inboxes, now_ms| texts(inboxes.take_nobodys(now_ms)));
        self.came_out(&nobodys);
        let late = self.moves.next_late();
        assert!(late.is_none_or(|late| late > self.now_ms));
    }
}

fn texts(frames: impl IntoIterator<Item = Frame>) -> Vec<String> {
    let texts = frames.into_iter().map(|frame| frame.text().to_owned());
    texts.collect()
}

proptest! {
    #[test]
    fn every_question_comes_out_once_wherever_the_calls_are(
        events in prop::collection::vec(event(), 0..150),
    ) {
        let mut world = World::default();
        let mut withdrawn = Vec::new();
        for event in &events {
            if let Event::Withdraws(id) = event {
                withdrawn.push(*id);
            }
            world.on(event);
        }
        while !world.calls.is_empty() {
            world.on(&Event::Ends(0));
        }
        world.now_ms += HOLD_MS;
        world.look();
        for id in 1..=world.n_questions {
            let n = world.out.get(&id).copied().unwrap_or_default();
            // One that the server took back may have been dropped.
            prop_assert!(n == 1 || (n == 0 && withdrawn.contains(&id)), "{} came out {} times", id, n);
        }
        prop_assert_eq!(world.moves, Inboxes::default());
    }
}
