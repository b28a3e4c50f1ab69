//! Wing and Gong's search for an order of all calls that explains every answer, with Lowe's memory of what was tried
//! (G. Lowe, "Testing for linearizability", 2017). Registers are independent of each other, so each is judged by
//! itself (Herlihy and Wing 1990, locality).

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::history::Operation;
use super::register::{State, step};

/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u32 = 1 << 14;

/// Whether there is such an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is one.
    Linearizable,
    /// There is none.
    Broken,
    /// The search took too long. Counts as a failure.
    Unknown,
}

/// Judges the calls of one register, which holds nothing at first. Searches no longer than `limit`.
pub(crate) fn check(operations: &[Operation], limit: Duration) -> Verdict {
    Search::new(operations).run(Instant::now() + limit)
}

/// Place in the list of events; the first is its anchor.
type Place = usize;
/// The anchor stands before the first event and behind the last.
const ANCHOR: Place = 0;

/// The begin or the end of a call.
#[derive(Clone, Copy, Debug)]
struct Event {
    operation: usize,
    /// Where the call ends; `None` at an end.
    end: Option<Place>,
    before: Place,
    after: Place,
}

/// A call that was taken as the next one.
struct Choice {
    begin: Place,
    state: State,
}

struct Search<'a> {
    operations: &'a [Operation],
    events: Vec<Event>,
    /// Calls that have their place in the order.
    done: Box<[u64]>,
    state: State,
    tried: HashSet<(Box<[u64]>, State)>,
    choices: Vec<Choice>,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        // At the same moment a begin comes first: the two calls may have overlapped.
        let mut order: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * operations.len());
        for (index, operation) in operations.iter().enumerate() {
            order.push((operation.invoked_us, false, index));
            order.push((operation.completed_us.unwrap_or(u64::MAX), true, index));
        }
        order.sort_unstable();
        let anchor = Event {
            operation: 0,
            end: None,
            before: order.len(),
            after: if order.is_empty() { ANCHOR } else { 1 },
        };
        let mut events = vec![anchor];
        let mut begins = vec![ANCHOR; operations.len()];
        let n_events = order.len();
        for (at, (_moment, is_end, operation)) in order.into_iter().enumerate() {
            let place = at + 1;
            if is_end {
                events[begins[operation]].end = Some(place);
            } else {
                begins[operation] = place;
            }
            events.push(Event {
                operation,
                end: None,
                before: at,
                after: if place == n_events { ANCHOR } else { place + 1 },
            });
        }
        Self {
            operations,
            events,
            done: vec![0; operations.len().div_ceil(64)].into(),
            state: None,
            tried: HashSet::new(),
            choices: Vec::new(),
        }
    }

    fn run(mut self, deadline: Instant) -> Verdict {
        let mut place = self.events[ANCHOR].after;
        let mut steps = 0_u32;
        while self.events[ANCHOR].after != ANCHOR {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(STEPS_PER_LOOK) && Instant::now() >= deadline {
                return Verdict::Unknown;
            }
            let event = self.events[place];
            let taken = match event.end {
                Some(end) => self.take(place, end),
                // A call has ended that has no place yet, so what was chosen before it leads nowhere.
                None => match self.back() {
                    Some(next) => {
                        place = next;
                        continue;
                    }
                    None => return Verdict::Broken,
                },
            };
            place = if taken {
                self.events[ANCHOR].after
            } else {
                event.after
            };
        }
        Verdict::Linearizable
    }

    /// Takes the call that begins at `begin` as the next one, if its answer allows that and it wasn't tried before.
    fn take(&mut self, begin: Place, end: Place) -> bool {
        let index = self.events[begin].operation;
        let operation = &self.operations[index];
        let Some(state) = step(self.state, operation.input, operation.answer) else {
            return false;
        };
        self.done[index / 64] |= 1 << (index % 64);
        if !self.tried.insert((self.done.clone(), state)) {
            self.done[index / 64] &= !(1 << (index % 64));
            return false;
        }
        self.choices.push(Choice {
            begin,
            state: self.state,
        });
        self.state = state;
        self.unlink(begin);
        self.unlink(end);
        true
    }

    /// Takes the last choice back and gives the place to go on from.
    fn back(&mut self) -> Option<Place> {
        let Choice { begin, state } = self.choices.pop()?;
        let event = self.events[begin];
        self.state = state;
        self.done[event.operation / 64] &= !(1 << (event.operation % 64));
        // In the reverse order of their removal, so that each finds its neighbours as it left them.
        if let Some(end) = event.end {
            self.relink(end);
        }
        self.relink(begin);
        Some(event.after)
    }

    fn unlink(&mut self, place: Place) {
        let Event { before, after, .. } = self.events[place];
        self.events[before].after = after;
        self.events[after].before = before;
    }

    fn relink(&mut self, place: Place) {
        let Event { before, after, .. } = self.events[place];
        self.events[before].after = place;
        self.events[after].before = place;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Answer, Input};
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn call(input: Input, answer: Option<Answer>, from: u64, to: u64) -> Operation {
        Operation {
            input,
            answer,
            invoked_us: from,
            completed_us: answer.map(|_| to),
        }
    }

    fn write(value: u64, from: u64, to: u64) -> Operation {
        call(Input::Write(value), Some(Answer::Written), from, to)
    }

    fn read(value: State, from: u64, to: u64) -> Operation {
        call(Input::Read, Some(Answer::Value(value)), from, to)
    }

    fn cas(expected: State, new: u64, is_set: bool, from: u64, to: u64) -> Operation {
        let input = Input::Cas { expected, new };
        call(input, Some(Answer::Set(is_set)), from, to)
    }

    #[track_caller]
    fn expect(operations: &[Operation], expected: Verdict) {
        assert_eq!(check(operations, LIMIT), expected, "{operations:?}");
    }

    #[test]
    fn nothing_is_linearizable() {
        expect(&[], Verdict::Linearizable);
    }

    #[test]
    fn a_read_after_a_write_sees_it() {
        expect(
            &[write(1, 0, 1), read(Some(1), 2, 3)],
            Verdict::Linearizable,
        );
        expect(&[write(1, 0, 1), read(None, 2, 3)], Verdict::Broken);
    }

    #[test]
    fn a_read_beside_a_write_sees_either() {
        expect(
            &[write(1, 0, 5), read(Some(1), 2, 3)],
            Verdict::Linearizable,
        );
        expect(&[write(1, 0, 5), read(None, 2, 3)], Verdict::Linearizable);
    }

    #[test]
    fn time_does_not_run_backwards_between_two_reads() {
        let operations = [write(1, 0, 9), read(Some(1), 1, 2), read(None, 3, 4)];
        expect(&operations, Verdict::Broken);
    }

    #[test]
    fn a_write_that_was_never_answered_may_come_late_or_never() {
        let lost = call(Input::Write(2), None, 0, 0);
        for seen in [None, Some(2)] {
            expect(&[lost, read(seen, 10, 11)], Verdict::Linearizable);
        }
        let back = [lost, read(Some(2), 10, 11), read(None, 12, 13)];
        expect(&back, Verdict::Broken);
    }

    #[test]
    fn of_two_equal_compare_and_sets_one_succeeds() {
        let both = [cas(None, 1, true, 0, 5), cas(None, 2, true, 0, 5)];
        expect(&both, Verdict::Broken);
        let one = [cas(None, 1, true, 0, 5), cas(None, 2, false, 0, 5)];
        expect(&one, Verdict::Linearizable);
    }

    #[test]
    fn a_search_without_time_says_so() {
        // Writes that all overlap and reads that no order explains: as many orders as there are subsets.
        let mut operations: Vec<_> = (0..40).map(|value| write(value, 0, 1000)).collect();
        operations.push(read(Some(99), 1001, 1002));
        assert_eq!(check(&operations, Duration::ZERO), Verdict::Unknown);
    }

    /// Tries every order.
    fn by_force(operations: &[Operation], state: State, done: u32) -> bool {
        let open = |index: usize| done & (1 << index) == 0;
        let ends = |index: usize| operations[index].completed_us.unwrap_or(u64::MAX);
        (0..operations.len()).all(|index| !open(index))
            || (0..operations.len())
                .filter(|&index| open(index))
                .any(|index| {
                    let operation = &operations[index];
                    // Nothing that has ended before it began may still wait.
                    (0..operations.len())
                        .all(|other| !open(other) || ends(other) >= operation.invoked_us)
                        && step(state, operation.input, operation.answer)
                            .is_some_and(|state| by_force(operations, state, done | 1 << index))
                })
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let value = 0..3_u64;
        let state = proptest::option::of(0..3_u64);
        let what = prop_oneof![
            state
                .clone()
                .prop_map(|seen| (Input::Read, Answer::Value(seen))),
            value
                .clone()
                .prop_map(|value| (Input::Write(value), Answer::Written)),
            (state, value, any::<bool>()).prop_map(|(expected, new, is_set)| (
                Input::Cas { expected, new },
                Answer::Set(is_set)
            )),
        ];
        (what, 0..20_u64, 1..8_u64, 0..8_u8).prop_map(|((input, answer), from, lasts, lost)| {
            call(input, (lost > 0).then_some(answer), from, from + lasts)
        })
    }

    proptest! {
        #[test]
        fn the_search_agrees_with_trying_every_order(operations in proptest::collection::vec(operation(), 0..7)) {
            let expected = if by_force(&operations, None, 0) { Verdict::Linearizable } else { Verdict::Broken };
            prop_assert_eq!(check(&operations, LIMIT), expected);
        }
    }
}
