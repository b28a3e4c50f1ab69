use std::collections::{BTreeMap, BTreeSet};

use lockgate_proto::id::{Principal, Tenant};
use proptest::prelude::*;

use super::*;
use crate::upstream::Owner;
use crate::upstream::copy::{through_bytes, through_text};

fn key() -> Key {
    let (tenant, principal) = (Tenant::new("north"), Principal::new("ann"));
    let owner = Owner {
        tenant: Some(&tenant),
        principal: &principal,
        scoped: true,
    };
    Key::new(&owner, r#"{"roots":{}}"#.into()).in_lane(3)
}

#[test]
fn every_part_is_in_a_copy() {
    let mut account = Account::new(key(), true, false, 5);
    assert_eq!((account.number(), account.number()), (1, 2));
    account.note_level(Level::Warning);
    assert!(account.subscribe("a://x"));
    account.touch(7);
    assert_eq!(
        serde_json::to_value(&account).unwrap(),
        serde_json::json!({
            "key": {
                "tenant": "north",
                "principal": "ann",
                "scoped": true,
                "capabilities": r#"{"roots":{}}"#,
                "lane": 3,
            },
            "last": 2,
            "level": "warning",
            "has_turns": true,
            "asks_in_place": false,
            "subscriptions": {"a://x": 1},
            "used_ms": 7,
        })
    );
}

#[derive(Clone, Debug)]
enum Event {
    Number,
    Touch(u64),
    /// Somebody wants the log from this level on; whether the server agrees to say it.
    Raise(Level, bool),
    /// A listener of this resource; whether the server agrees to tell of it.
    Subscribe(u8, bool),
    /// A listener of this resource goes, if there is one.
    Unsubscribe(u8),
    /// The session goes on elsewhere.
    Moves(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let level = prop::sample::select(vec![Level::Debug, Level::Info, Level::Error]);
    prop_oneof![
        3 => Just(Event::Number),
        2 => (0..1_000_u64).prop_map(Event::Touch),
        2 => (level, any::<bool>()).prop_map(|(level, agrees)| Event::Raise(level, agrees)),
        4 => (0..3_u8, prop::bool::weighted(0.8)).prop_map(|(uri, agrees)| Event::Subscribe(uri, agrees)),
        3 => (0..3_u8).prop_map(Event::Unsubscribe),
        2 => any::<bool>().prop_map(Event::Moves),
    ]
}

proptest! {
    /// Wherever the session is: no number twice, the server logs what anybody wants, and is subscribed to what somebody
    /// listens to.
    #[test]
    fn a_session_goes_on_wherever_it_is(events in prop::collection::vec(event(), 0..100)) {
        let mut account = Account::new(key(), false, true, 0);
        let mut stays = account.clone();
        let mut numbers = BTreeSet::new();
        let mut listeners = BTreeMap::<u8, usize>::new();
        let (mut says, mut used_ms) = (None::<Level>, 0);
        for event in events {
            for account in [&mut account, &mut stays] {
                match event {
                    Event::Touch(ms) => account.touch(ms),
                    Event::Raise(level, agrees) => {
                        let is_needed = says.is_none_or(|says| level < says);
                        prop_assert_eq!(account.says_too_little(level), is_needed);
                        if is_needed && agrees {
                            account.note_level(level);
                        }
                    }
                    Event::Subscribe(uri, agrees) => {
                        let is_first = !listeners.contains_key(&uri);
                        prop_assert_eq!(account.subscribe(&uri.to_string()), is_first);
                        if is_first && !agrees {
                            account.forget_subscription(&uri.to_string());
                        }
                    }
                    Event::Unsubscribe(uri) => {
                        let is_last = listeners.get(&uri) == Some(&1);
                        prop_assert_eq!(account.unsubscribe(&uri.to_string()), is_last);
                    }
                    Event::Number | Event::Moves(_) => {}
                }
            }
            match event {
                Event::Number => {
                    let n = account.number();
                    prop_assert_eq!(stays.number(), n);
                    prop_assert!(numbers.insert(n), "{} twice", n);
                }
                Event::Touch(ms) => used_ms = used_ms.max(ms),
                Event::Raise(level, true) => says = Some(says.map_or(level, |says| says.min(level))),
                Event::Raise(..) => {}
                Event::Subscribe(uri, agrees) => {
                    if agrees || listeners.contains_key(&uri) {
                        *listeners.entry(uri).or_default() += 1;
                    }
                }
                Event::Unsubscribe(uri) => {
                    if let Some(n) = listeners.get_mut(&uri) {
                        *n -= 1;
                    }
                    listeners.retain(|_, n| *n > 0);
                }
                Event::Moves(true) => account = through_text(&account),
                Event::Moves(false) => account = through_bytes(&account),
            }
            prop_assert_eq!(&account, &stays);
            prop_assert_eq!(account.used_ms(), used_ms);
        }
    }
}
