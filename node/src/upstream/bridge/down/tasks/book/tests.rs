use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::upstream::copy::{through_bytes, through_text};

const LIFE: u64 = 0xabc;
const ANN: Digest = [1; 32];
const BOB: Digest = [2; 32];

#[test]
fn a_task_is_its_owners_and_has_one_spelling() {
    let mut book = Book::new(LIFE);
    for n in 1..=10 {
        assert_eq!(book.enter(ANN, 0), n);
    }
    assert_eq!(book.id(10), "0000000000000abca");
    assert_eq!(Book::life_of(&book.id(10)), Some(LIFE));
    for (id, owner, expected) in [
        ("0000000000000abca", ANN, Some(10)),
        ("0000000000000abca", BOB, None),
        ("0000000000000abcA", ANN, None),
        ("0000000000000ABCa", ANN, None),
        ("0000000000000abc0a", ANN, None),
        ("0000000000000abc+a", ANN, None),
        ("0000000000000abda", ANN, None),
        ("0000000000000abcb", ANN, None),
        ("0000000000000abc", ANN, None),
        ("äääääääää", ANN, None),
        ("", ANN, None),
    ] {
        assert_eq!(book.find(id, &owner, 0), expected, "{id}");
    }
}

#[test]
fn the_end_that_was_told_first_makes_room_first() {
    let mut book = Book::new(LIFE);
    let [open, late, early, bobs, like_early] =
        [ANN, ANN, ANN, BOB, ANN].map(|owner| book.enter(owner, 0));
    for (n, told_ms) in [(late, 9), (early, 3), (bobs, 1), (like_early, 3)] {
        book.note_told(n, told_ms);
    }
    // Told again, it is no younger.
    book.note_told(early, 20);
    assert_eq!(book.make_room(Some(&ANN)), Some(early));
    assert_eq!(book.make_room(None), Some(bobs));
    assert_eq!(book.make_room(Some(&BOB)), None);
    assert_eq!(book.make_room(None), Some(like_early));
    assert!(!book.are_all_told());
    assert_eq!(book.make_room(None), Some(late));
    assert_eq!(book.make_room(None), None);
    assert_eq!(book.clear(), [open]);
    assert!(book.is_empty() && book.are_all_told());
}

#[test]
fn a_task_is_forgotten_in_its_time() {
    let mut book = Book::new(LIFE);
    let [idle, asked_for, told] = [1_000; 3].map(|now_ms| book.enter(ANN, now_ms));
    book.note_told(told, 1_000);
    assert!(book.expire(1_000 + TOLD_MS_MAX - 1).is_empty());
    // Who asks again for what has ended makes it known no longer.
    let id = book.id(told);
    assert_eq!(book.find(&id, &ANN, TOLD_MS_MAX), Some(told));
    assert_eq!(book.expire(1_000 + TOLD_MS_MAX), [told]);
    let id = book.id(asked_for);
    assert_eq!(book.find(&id, &ANN, 5_000), Some(asked_for));
    // The clock of the next node may be behind.
    assert_eq!(book.find(&id, &ANN, 10), Some(asked_for));
    assert!(book.expire(0).is_empty());
    assert!(book.expire(1_000 + IDLE_MS_MAX - 1).is_empty());
    assert_eq!(book.expire(1_000 + IDLE_MS_MAX), [idle]);
    assert_eq!(book.expire(5_000 + IDLE_MS_MAX), [asked_for]);
    assert!(book.is_empty());
}

#[test]
fn every_part_of_the_state_is_in_a_copy() {
    let mut book = Book::new(LIFE);
    let [gone, told] = [ANN, BOB].map(|owner| book.enter(owner, 5));
    book.remove(gone);
    book.note_told(told, 8);
    assert_eq!(
        serde_json::to_value(&book).unwrap(),
        serde_json::json!({
            "life": LIFE,
            "last": 2,
            "entries": {"2": {"owner": BOB, "used_ms": 5, "told_ms": 8}},
        })
    );
    assert_eq!(through_text(&book), book);
    assert_eq!(through_bytes(&book), book);
}

/// Something that happens to a book, and when. Tasks are told by their numbers, whether they are known or not.
#[derive(Clone, Debug)]
enum Event {
    Enter(Digest),
    Find(u64, Digest),
    Told(u64),
    MakeRoom(Option<Digest>),
    Expire,
    Remove(u64),
    Clear,
}

fn event() -> impl Strategy<Value = (Event, u64)> {
    let owner = || prop::sample::select(vec![ANN, BOB]);
    let n = || 0..12_u64;
    let event = prop_oneof![
        6 => owner().prop_map(Event::Enter),
        6 => (n(), owner()).prop_map(|(n, owner)| Event::Find(n, owner)),
        4 => n().prop_map(Event::Told),
        2 => prop::option::of(owner()).prop_map(Event::MakeRoom),
        4 => Just(Event::Expire),
        1 => n().prop_map(Event::Remove),
        1 => Just(Event::Clear),
    ];
    let later_ms = prop_oneof![
        4 => 0..TOLD_MS_MAX,
        1 => Just(TOLD_MS_MAX),
        1 => Just(IDLE_MS_MAX / 2),
    ];
    (event, later_ms)
}

/// What comes of an event: the tasks that are entered or found, those that are taken out, and what can be asked then.
type Outcome = (Option<u64>, Vec<u64>, (bool, bool));

fn come_of(book: &mut Book, event: &Event, now_ms: u64) -> Outcome {
    let (mut found, mut out) = (None, Vec::new());
    match event {
        Event::Enter(owner) => found = Some(book.enter(*owner, now_ms)),
        Event::Find(n, owner) => found = book.find(&book.id(*n), owner, now_ms),
        Event::Told(n) => book.note_told(*n, now_ms),
        Event::MakeRoom(owner) => out.extend(book.make_room(owner.as_ref())),
        Event::Expire => out = book.expire(now_ms),
        Event::Remove(n) => book.remove(*n),
        Event::Clear => out = book.clear(),
    }
    (found, out, (book.is_empty(), book.are_all_told()))
}

fn events() -> impl Strategy<Value = Vec<(Event, u64)>> {
    prop::collection::vec(event(), 0..60)
}

proptest! {
    /// Whatever happened before, the copy does with all that happens later as the original.
    #[test]
    fn a_copy_goes_on_as_the_original(before in events(), later in events()) {
        let (mut original, mut now_ms) = (Book::new(LIFE), 0);
        for (event, later_ms) in &before {
            now_ms += later_ms;
            come_of(&mut original, event, now_ms);
        }
        let mut copies = [through_text(&original), through_bytes(&original)];
        for copy in &copies {
            prop_assert_eq!(copy, &original);
        }
        for (event, later_ms) in &later {
            now_ms += later_ms;
            let expected = come_of(&mut original, event, now_ms);
            for copy in &mut copies {
                prop_assert_eq!(&come_of(copy, event, now_ms), &expected);
            }
        }
        for copy in &copies {
            prop_assert_eq!(copy, &original);
        }
    }

    #[test]
    fn every_task_is_found_until_it_is_taken_out_and_that_is_once(events in events()) {
        let (mut book, mut now_ms, mut known) = (Book::new(LIFE), 0, BTreeSet::new());
        for (event, later_ms) in &events {
            now_ms += later_ms;
            let is_known = |n| known.contains(&n);
            let (found, out, (is_empty, _)) = come_of(&mut book, event, now_ms);
            match event {
                Event::Enter(_) => prop_assert!(!is_known(found.unwrap())),
                Event::Find(..) => prop_assert!(found.is_none_or(is_known)),
                Event::Remove(n) => drop(known.remove(n)),
                _ => {}
            }
            known.extend(found);
            for n in out {
                prop_assert!(known.remove(&n), "taken out twice: {}", n);
            }
            prop_assert_eq!(is_empty, known.is_empty());
            let there: BTreeSet<u64> = book.owners().map(|(n, _)| n).collect();
            prop_assert_eq!(&there, &known);
        }
    }
}
