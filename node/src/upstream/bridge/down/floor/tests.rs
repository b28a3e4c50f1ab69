use std::collections::BTreeMap;

use lockgate_proto::jsonrpc::Limits;
use proptest::prelude::*;

use super::*;
use crate::upstream::copy::through_bytes;

const HOLD_MS: u64 = 1_000;

fn frame(id: u64, method: &str) -> Frame {
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#);
    Frame::parse(text.into(), &Limits::default()).unwrap()
}

/// Plays a script and says what became of the questions.
///
/// `+a` a call that can ask enters, `-a` leaves, `*l` a list enters, `?` a form is asked, `/` roots are, `<` the server
/// takes all back, `t` time is over, `>` it is and nobody looks.
/// Seen: `a` the call got a question, `!` it was given back at once, `0` it turned out to be nobody's.
fn check(script: &str, expected: &str) {
    let (mut floor, mut seen, mut now_ms) = (Floor::default(), String::new(), 0);
    let mut words = script.chars();
    while let Some(word) = words.next() {
        let given = match word {
            '+' | '*' => floor.enter(words.next().unwrap().into(), word == '+', now_ms),
            '-' => floor.leave(words.next().unwrap().into(), now_ms),
            '?' | '/' => {
                let method = if word == '?' {
                    "elicitation/create"
                } else {
                    "roots/list"
                };
                match floor.ask(frame(1, method), now_ms + HOLD_MS) {
                    Ok(give) => give.into_iter().collect(),
                    Err(_) => {
                        seen.push('!');
                        Vec::new()
                    }
                }
            }
            '<' => {
                floor.withdraw("1");
                Vec::new()
            }
            '>' => {
                now_ms += HOLD_MS;
                continue;
            }
            't' => {
                let late = floor.take_nobodys(now_ms + HOLD_MS);
                seen.push_str(&"0".repeat(late.len()));
                Vec::new()
            }
            other => panic!("{other}"),
        };
        let names = given.iter().map(|give| u8::try_from(give.to).unwrap());
        seen.extend(names.map(char::from));
        seen.push_str(&"0".repeat(floor.take_nobodys(now_ms).len()));
        assert_eq!(through_bytes(&floor), floor);
    }
    assert_eq!(seen, expected, "{script}");
}

#[test]
fn a_question_is_the_only_calls() {
    check("+a?", "a");
    check("*l?", "!");
    check("*l+a?", "a");
    check("?", "!");
}

#[test]
fn of_several_calls_it_is_the_last_ones() {
    check("+a+b?-a", "b");
    check("+a+b+c?-b-a", "c");
    check("+a+b?-a-b", "b");
    // One that came later did not ask before.
    check("+a+b?+c-a", "b");
    check("+a+b??-b", "aa");
}

#[test]
fn a_question_that_is_never_clear_is_refused_in_time() {
    check("+a+b?t", "0");
    check("+a+b?t-a", "0");
}

#[test]
fn roots_are_any_calls() {
    check("+a+b/", "a");
    check("/", "");
    check("/+a", "a");
    check("/*l", "");
    check("/*l+a", "a");
    check("/t+a", "0");
    // Nobody has looked in between.
    check("/>+a", "0");
    check("+a+b?>-a", "0");
}

#[test]
fn what_the_server_takes_back_is_nobodys_business() {
    check("/<+a", "");
    check("+a+b?<-at", "");
}

#[test]
fn what_is_held_is_bounded() {
    let many = "/".repeat(HELD_MAX + 1);
    check(&many, "!");
}

#[test]
fn a_question_that_a_call_does_not_take_is_nobodys() {
    let mut floor = Floor::default();
    assert!(matches!(floor.ask(frame(1, "roots/list"), 1), Ok(None)));
    let mut given = floor.enter(7, true, 0);
    floor.give_back(given.remove(0).question);
    assert_eq!(floor.next_late(), None);
    let nobodys = floor.take_nobodys(0);
    assert_eq!((given.len(), nobodys.len()), (0, 1));
    assert_eq!(nobodys[0].id(), Some("1"));
}

#[test]
fn a_call_is_found_by_its_token_and_one_alone_by_nothing() {
    let mut floor = Floor::default();
    assert!(floor.enter(7, true, 0).is_empty());
    assert_eq!(floor.only_call(), Some(7));
    assert!(floor.enter(8, false, 0).is_empty());
    assert_eq!(floor.only_call(), None);
    assert_eq!(floor.call_of_token("\"8\""), Some(8));
    assert_eq!(floor.call_of_token("9"), None);
}

#[test]
fn a_state_whose_questions_are_no_messages_is_not_read() {
    let mut floor = Floor::default();
    assert!(matches!(floor.ask(frame(1, "roots/list"), 1), Ok(None)));
    let text = serde_json::to_string(&floor).unwrap();
    assert_eq!(serde_json::from_str::<Floor>(&text).unwrap(), floor);
    let cut = text.replace(r#"\"2.0\""#, "");
    assert!(serde_json::from_str::<Floor>(&cut).is_err(), "{cut}");
}

/// What can happen on a floor.
#[derive(Clone, Debug)]
enum Happens {
    /// A call begins that can be asked, or not, and reads what it is asked, or not.
    Enters(bool, bool),
    /// The call at this place among those that run.
    Leaves(usize),
    /// For roots, or for a form.
    Asks(bool),
    /// The question at this place among those that are open.
    Withdraws(usize),
    TimePasses(u64),
    /// What is nobody's is refused.
    Looks,
    /// The floor goes on elsewhere.
    Moves,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => (prop::bool::weighted(0.8), prop::bool::weighted(0.8))
            .prop_map(|(can_ask, reads)| Happens::Enters(can_ask, reads)),
        3 => (0..8_usize).prop_map(Happens::Leaves),
        6 => any::<bool>().prop_map(Happens::Asks),
        1 => (0..8_usize).prop_map(Happens::Withdraws),
        2 => (0..HOLD_MS).prop_map(Happens::TimePasses),
        1 => Just(Happens::Looks),
        2 => Just(Happens::Moves),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Caller {
    can_ask: bool,
    reads: bool,
}

/// A question that has not come out.
#[derive(Debug)]
struct Open {
    is_roots: bool,
    /// Calls that could be asked when it was asked.
    of: Vec<u64>,
    until_ms: u64,
    /// The call that was given it does not read.
    is_back: bool,
}

/// What came out, by numbers: questions of calls, and nobody's.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    given: Vec<(u64, u64)>,
    nobodys: Vec<u64>,
}

fn number(question: &Frame) -> u64 {
    question.id().unwrap().parse().unwrap()
}

/// Two floors to which the same happens, of which one moves, and what has to be true of them.
#[derive(Debug, Default)]
struct World {
    floor: Floor,
    stays: Floor,
    now_ms: u64,
    n_calls: u64,
    n_questions: u64,
    calls: BTreeMap<u64, Caller>,
    open: BTreeMap<u64, Open>,
}

impl World {
    fn on(&mut self, event: &Happens) {
        match *event {
            Happens::Enters(can_ask, reads) => {
                self.n_calls += 1;
                let n = self.n_calls;
                self.calls.insert(n, Caller { can_ask, reads });
                self.both(|floor, now_ms| given(&floor.enter(n, can_ask, now_ms)));
            }
            Happens::Leaves(at) => {
                let Some(n) = self.calls.keys().nth(at).copied() else {
                    return;
                };
                self.calls.remove(&n);
                self.both(|floor, now_ms| given(&floor.leave(n, now_ms)));
            }
            Happens::Asks(is_roots) => self.ask(is_roots),
            Happens::Withdraws(at) => {
                if let Some(id) = self.open.keys().nth(at).copied() {
                    self.open.remove(&id);
                    self.both(|floor, _| {
                        floor.withdraw(&id.to_string());
                        Outcome::default()
                    });
                }
            }
            Happens::TimePasses(ms) => self.now_ms += ms,
            Happens::Looks => self.look(),
            Happens::Moves => self.floor = through_bytes(&self.floor),
        }
    }

    fn ask(&mut self, is_roots: bool) {
        self.n_questions += 1;
        let (id, until_ms) = (self.n_questions, self.now_ms + HOLD_MS);
        let can_ask = self.calls.iter().filter(|(_, call)| call.can_ask);
        let open = Open {
            is_roots,
            of: can_ask.map(|(n, _)| *n).collect(),
            until_ms,
            is_back: false,
        };
        let is_refused_at_once = (!is_roots && open.of.is_empty()) || self.open.len() >= HELD_MAX;
        self.open.insert(id, open);
        let method = if is_roots {
            "roots/list"
        } else {
            "elicitation/create"
        };
        let question = frame(id, method);
        let asked = [&mut self.floor, &mut self.stays].map(|floor| {
            let asked = floor.ask(question.clone(), until_ms);
            asked
                .map(|give| give.map(|give| give.to))
                .map_err(|question| number(&question))
        });
        assert_eq!(asked[0], asked[1]);
        match asked[0] {
            // What the call does not take is refused at once.
            Ok(Some(to)) => self.check_given(to, id),
            Ok(None) => return self.check(),
            Err(_) => assert!(is_refused_at_once, "a question that may be some call's"),
        }
        self.open.remove(&id);
        self.check();
    }

    fn look(&mut self) {
        self.both(|floor, now_ms| Outcome {
            given: Vec::new(),
            nobodys: floor.take_nobodys(now_ms).iter().map(number).collect(),
        });
        let late = self.open.values().map(|open| open.until_ms).min();
        assert_eq!(self.floor.next_late(), late);
        assert!(late.is_none_or(|late| late > self.now_ms));
    }

    /// Does the same to both; a call that does not read gives back what it is given.
    fn both(&mut self, mut what: impl FnMut(&mut Floor, u64) -> Outcome) {
        let outcome = what(&mut self.floor, self.now_ms);
        assert_eq!(what(&mut self.stays, self.now_ms), outcome);
        for (to, id) in outcome.given {
            self.check_given(to, id);
            if self.calls[&to].reads {
                self.open.remove(&id);
                continue;
            }
            self.open.get_mut(&id).unwrap().is_back = true;
            for floor in [&mut self.floor, &mut self.stays] {
                floor.give_back(frame(id, "any"));
            }
        }
        for id in outcome.nobodys {
            let open = self.open.remove(&id).expect("nobody's once");
            let is_late = open.until_ms <= self.now_ms;
            assert!(is_late || open.is_back || self.n_left(&open) == 0);
        }
        self.check();
    }

    fn check_given(&self, to: u64, id: u64) {
        let open = self.open.get(&id).expect("given once");
        assert!(!open.is_back && open.until_ms > self.now_ms);
        assert!(self.calls[&to].can_ask);
        assert!(
            open.is_roots || open.of.contains(&to),
            "ran when it was asked"
        );
    }

    /// Calls that a question can be of still.
    fn n_left(&self, open: &Open) -> usize {
        let left = open.of.iter().filter(|n| self.calls.contains_key(n));
        left.count()
    }

    fn check(&self) {
        assert_eq!(self.floor, self.stays);
        let Floor { held, nobodys, .. } = &self.floor;
        assert!(held.len() + nobodys.len() <= HELD_MAX);
        for held in held.iter().filter(|held| held.until_ms > self.now_ms) {
            let open = &self.open[&number(&held.question.0)];
            let is_clear = match open.is_roots {
                true => self.calls.values().any(|call| call.can_ask),
                false => self.n_left(open) < 2,
            };
            assert!(!is_clear, "what is clear does not wait");
        }
    }
}

fn given(given: &[Give]) -> Outcome {
    let given = given.iter().map(|give| (give.to, number(&give.question)));
    Outcome {
        given: given.collect(),
        nobodys: Vec::new(),
    }
}

proptest! {
    #[test]
    fn every_question_comes_out_once_wherever_the_floor_is(
        events in prop::collection::vec(happens(), 0..120),
    ) {
        let mut world = World::default();
        for event in &events {
            world.on(event);
        }
        world.now_ms += HOLD_MS;
        world.look();
        prop_assert!(world.open.is_empty(), "{:?}", world.open);
        prop_assert!(world.floor.held.is_empty() && world.floor.nobodys.is_empty());
    }
}
