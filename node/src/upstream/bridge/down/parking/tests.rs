use lockgate_proto::jsonrpc::Limits;
use proptest::prelude::*;

use super::super::abilities::Abilities;
use super::super::call::{Allowance, Step};
use super::*;
use crate::config;
use crate::upstream::copy::through_bytes;

const WAIT_MS: u64 = 900;
const OWNERS: [Digest; 2] = [[1; 32], [2; 32]];

fn frame(text: &str) -> Frame {
    Frame::parse(text.to_owned().into(), &Limits::default()).unwrap()
}

fn turn(id: &str) -> Turn {
    Turn {
        id: id.into(),
        token: Some(format!("\"of {id}\"").into()),
        level: None,
        abilities: Abilities::of(r#"{"elicitation":{}}"#),
    }
}

fn call(n: u64) -> Call {
    let request = frame(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#);
    let allowance = Allowance::from(&config::Bridge::default());
    Call::new(n, &request, turn("1"), allowance)
}

fn ask(call: &mut Call, id: u64) {
    let question =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{}}}}"#);
    assert!(matches!(
        call.on_message(frame(&question), None),
        Step::Asked
    ));
}

fn bearer(owner: usize) -> Bearer {
    Bearer {
        owner: OWNERS[owner],
        request: [9; 32],
    }
}

/// Parks `call`; gives its ticket.
fn park(parking: &mut Parking, now_ms: u64, call: Call, owner: usize) -> Option<Ticket> {
    let mut kept = None;
    let question = |call: &Call, ticket: &Ticket| {
        kept = Some(*ticket);
        call.input_required("1", "state", None)
    };
    parking.park(now_ms, call, bearer(owner), question);
    kept
}

fn retry<'a>(owner: usize, responses: &'a str) -> Retry<'a> {
    Retry {
        bearer: bearer(owner),
        responses,
        turn: turn("2"),
    }
}

fn resume(
    parking: &mut Parking,
    now_ms: u64,
    ticket: &Ticket,
    retry: Retry<'_>,
) -> Result<Resumed, Refused> {
    let again = |call: &Call, id: &str| call.input_required(id, "state", None);
    parking.resume(now_ms, ticket, retry, again)
}

const ANSWER: &str = r#"{"ask-1":{"action":"accept"}}"#;

#[test]
fn a_round_is_used_once() {
    let mut parking = Parking::new(7, WAIT_MS);
    let mut first = call(1);
    ask(&mut first, 50);
    let ticket = park(&mut parking, 0, first, 0).unwrap();
    let on = resume(&mut parking, 1, &ticket, retry(0, ANSWER));
    let Ok(Resumed::On {
        mut call, answers, ..
    }) = on
    else {
        panic!("{on:?}");
    };
    assert!(answers[0].text().contains(r#""id":50,"#));
    assert_eq!(
        resume(&mut parking, 1, &ticket, retry(0, ANSWER)).unwrap_err(),
        Refused::Used
    );
    // The next round has a ticket of its own, and the old one stays used.
    ask(&mut call, 51);
    let next = park(&mut parking, 2, *call, 0).unwrap();
    assert_eq!(next.call, ticket.call);
    assert_eq!(next.round, 1);
    let old = resume(
        &mut parking,
        3,
        &ticket,
        retry(0, r#"{"ask-2":{"action":"accept"}}"#),
    );
    assert_eq!(old.unwrap_err(), Refused::Used);
    assert_eq!(parking.len(), 1);
}

#[test]
fn a_ticket_fits_one_caller_one_request_one_life_and_one_time() {
    let mut parking = Parking::new(7, WAIT_MS);
    let mut first = call(1);
    ask(&mut first, 50);
    let ticket = park(&mut parking, 0, first, 0).unwrap();
    let mut refused = |ticket: &Ticket, retry: Retry<'_>, now_ms, expected| {
        let seen = resume(&mut parking, now_ms, ticket, retry).unwrap_err();
        assert_eq!(seen, expected);
    };
    refused(&ticket, retry(1, ANSWER), 1, Refused::OtherOwner);
    let mut other = retry(0, ANSWER);
    other.bearer.request = [8; 32];
    refused(&ticket, other, 1, Refused::OtherRequest);
    refused(&ticket, retry(0, ANSWER), WAIT_MS, Refused::Expired);
    let of_other_life = Ticket { life: 8, ..ticket };
    refused(&of_other_life, retry(0, ANSWER), 1, Refused::OtherLife);
    let of_other_call = Ticket { call: 2, ..ticket };
    refused(&of_other_call, retry(0, ANSWER), 1, Refused::Used);
    let of_other_round = Ticket { round: 1, ..ticket };
    refused(&of_other_round, retry(0, ANSWER), 1, Refused::Used);
    assert!(resume(&mut parking, 1, &ticket, retry(0, ANSWER)).is_ok());
}

#[test]
fn missing_answers_are_asked_for_again_and_unknown_ones_ignored() {
    let mut parking = Parking::new(7, WAIT_MS);
    let mut first = call(1);
    ask(&mut first, 50);
    ask(&mut first, 51);
    let ticket = park(&mut parking, 0, first, 0).unwrap();
    let partly = resume(&mut parking, 1, &ticket, retry(0, ANSWER)).unwrap();
    assert!(matches!(partly, Resumed::Again(_)));
    let all = r#"{"ask-1":{"action":"accept"},"ask-2":{"action":"cancel"},"ask-9":7}"#;
    let on = resume(&mut parking, 1, &ticket, retry(0, all)).unwrap();
    assert!(matches!(on, Resumed::On { answers, .. } if answers.len() == 2));
}

#[test]
fn it_goes_on_elsewhere_as_data() {
    let mut parking = Parking::new(7, WAIT_MS);
    let mut first = call(1);
    ask(&mut first, 50);
    let ticket = park(&mut parking, 0, first, 0).unwrap();
    let mut moved = through_bytes(&parking);
    let on = resume(&mut moved, 1, &ticket, retry(0, ANSWER)).unwrap();
    assert!(matches!(on, Resumed::On { .. }));
}

/// What can happen to one of two calls, of two callers.
#[derive(Clone, Copy, Debug)]
enum Event {
    Begin,
    Ask,
    TakeBack,
    Quiet,
    Retry { by: usize, whole: bool },
    Answer,
    Leave,
    Later,
}

fn event() -> impl Strategy<Value = (usize, Event)> {
    let event = prop_oneof![
        2 => Just(Event::Begin),
        4 => Just(Event::Ask),
        1 => Just(Event::TakeBack),
        4 => Just(Event::Quiet),
        4 => (0..2_usize, any::<bool>()).prop_map(|(by, whole)| Event::Retry { by, whole }),
        2 => Just(Event::Answer),
        1 => Just(Event::Leave),
        1 => Just(Event::Later),
    ];
    (0..2_usize, event)
}

/// One call as its world sees it.
#[derive(Debug, Default)]
struct Side {
    running: Option<Box<Call>>,
    parked: Option<Ticket>,
    used: Vec<Ticket>,
    /// Those of them that were the last of calls with an answer.
    over: Vec<Ticket>,
    /// Ids of the server that wait for an answer.
    open: Vec<u64>,
    n_asked: usize,
    begun: usize,
    ended: usize,
}

#[derive(Debug)]
struct World {
    parking: Parking,
    sides: [Side; 2],
    now_ms: u64,
    ids: u64,
}

impl World {
    fn on(&mut self, at: usize, event: Event) {
        let idle = self.sides[at].running.is_none() && self.sides[at].parked.is_none();
        match event {
            Event::Begin if idle => {
                let side = &mut self.sides[at];
                side.running = Some(Box::new(call(at as u64 + 1)));
                (side.n_asked, side.begun) = (0, side.begun + 1);
            }
            Event::Later => {
                self.now_ms += WAIT_MS / 3;
                for (_, mut call) in self.parking.expire(self.now_ms) {
                    let side = &mut self.sides[call.n as usize - 1];
                    assert!(side.parked.take().is_some(), "nothing expires twice");
                    side.ended += 1;
                    assert_eq!(call.refuse_asked("late").len(), side.open.len());
                    side.open.clear();
                }
            }
            Event::Retry { by, whole } => self.retry(at, by, whole),
            _ => self.on_running(at, event),
        }
        assert_eq!(
            self.parking.len(),
            self.sides
                .iter()
                .filter(|side| side.parked.is_some())
                .count()
        );
    }

    fn on_running(&mut self, at: usize, event: Event) {
        let side = &mut self.sides[at];
        let Some(mut call) = side.running.take() else {
            return;
        };
        match event {
            Event::Ask if side.open.len() < 3 => {
                self.ids += 1;
                let question = format!(
                    r#"{{"jsonrpc":"2.0","id":{},"method":"elicitation/create","params":{{}}}}"#,
                    self.ids
                );
                if matches!(call.on_message(frame(&question), None), Step::Asked) {
                    side.open.push(self.ids);
                    side.n_asked += 1;
                }
            }
            Event::TakeBack => {
                if let Some(id) = side.open.pop() {
                    let text = format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
                    );
                    assert!(matches!(call.on_message(frame(&text), None), Step::Drop));
                }
            }
            Event::Quiet if call.is_asking() => {
                side.parked = park(&mut self.parking, self.now_ms, *call, at);
                assert!(side.parked.is_some());
                return;
            }
            Event::Answer => {
                let text = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
                let step = call.on_message(frame(text), None);
                let Step::Finish { status, frame } = step else {
                    panic!("{step:?}");
                };
                self.parking.answered(&call, bearer(at), (status, &frame));
                if call.parked.is_some() {
                    side.over.extend(side.used.last());
                }
                side.ended += 1;
                side.open.clear();
                return;
            }
            Event::Leave => {
                side.ended += 1;
                side.open.clear();
                return;
            }
            _ => {}
        }
        side.running = Some(call);
    }

    fn retry(&mut self, at: usize, by: usize, whole: bool) {
        let Self {
            parking,
            sides,
            now_ms,
            ..
        } = self;
        for used in &sides[at].used {
            let seen = resume(parking, *now_ms, used, retry(by, "{}"));
            let is_over = sides[at].over.contains(used) && used.expires_ms > *now_ms;
            match seen {
                Ok(Resumed::Over { frame, .. }) => {
                    assert!(is_over && by == at, "an answer for who had it already");
                    assert_eq!(frame.id(), Some("2"));
                }
                Ok(other) => panic!("a used ticket leads to no call: {other:?}"),
                Err(_) => assert!(!is_over || by != at, "an answer that is kept is given"),
            }
        }
        let side = &mut sides[at];
        let Some(ticket) = side.parked else { return };
        let last = if whole { side.n_asked } else { 0 };
        let answers: Vec<String> = (1..=last)
            .map(|n| format!(r#""ask-{n}":{{"action":"accept"}}"#))
            .collect();
        let responses = format!("{{{}}}", answers.join(","));
        match resume(parking, *now_ms, &ticket, retry(by, &responses)) {
            Ok(Resumed::On { call, answers, .. }) => {
                assert_eq!(by, at, "no answer of another caller");
                assert_eq!(call.n as usize, at + 1, "the caller's own call");
                let ids: Vec<u64> = answers
                    .iter()
                    .map(|answer| answer.id().unwrap().parse().unwrap())
                    .collect();
                assert_eq!(ids, side.open, "every question has its answer");
                side.open.clear();
                side.parked = None;
                side.used.push(ticket);
                side.running = Some(call);
            }
            Ok(Resumed::Again(_)) => assert!(by == at && !whole),
            Ok(Resumed::Over { .. }) => panic!("a call that waits is not over"),
            Err(refused) => assert!(by != at && refused == Refused::OtherOwner),
        }
    }
}

proptest! {
    #[test]
    fn every_call_ends_once_and_no_parked_call_is_left(
        events in prop::collection::vec(event(), 0..80),
    ) {
        let mut world = World {
            parking: Parking::new(7, WAIT_MS),
            sides: Default::default(),
            now_ms: 0,
            ids: 0,
        };
        for (at, event) in events {
            world.on(at, event);
        }
        for at in 0..2 {
            world.on(at, Event::Leave);
        }
        for _ in 0..3 {
            world.on(0, Event::Later);
        }
        for side in &world.sides {
            prop_assert_eq!(side.begun, side.ended);
        }
    }
}
