use lockgate_proto::jsonrpc::Limits;
use proptest::prelude::*;

use super::*;
use crate::upstream::copy::through_bytes;

const INTRODUCTION: &str = r#"{"capabilities":{"tools":{"listChanged":true},"prompts":{},"resources":{"listChanged":true,"subscribe":true}}}"#;
/// All three lists, and two resources of which one is named twice.
const ALL: &str = r#""toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a:1","a:\u0031","b:\"2\""]"#;
const META: &str = r#""_meta":{"io.modelcontextprotocol/subscriptionId":"l"}"#;

fn frame(text: &str) -> Frame {
    let text = format!(r#"{{"jsonrpc":"2.0",{text}}}"#);
    Frame::parse(text.into(), &Limits::default()).unwrap()
}

fn request(filter: &str) -> Frame {
    frame(&format!(
        r#""id":"l","method":"subscriptions/listen","params":{{"notifications":{{{filter}}}}}"#
    ))
}

/// A listen that has begun, with all the resources that it wants.
fn listening(filter: &str, introduction: Option<&str>) -> Listening {
    let (mut listening, wanted) = Listening::begin(&request(filter), introduction);
    listening.uris = wanted;
    listening
}

/// All that comes out, without what is the same in all messages.
fn taken(listening: &mut Listening) -> Vec<String> {
    let out = std::iter::from_fn(|| listening.take());
    out.map(|frame| {
        let text = frame.text().strip_prefix(r#"{"jsonrpc":"2.0","#).unwrap();
        text.replace(META, "@")
    })
    .collect()
}

#[track_caller]
fn acknowledges(filter: &str, introduction: Option<&str>, expected: &str) {
    let mut listening = listening(filter, introduction);
    listening.acknowledge();
    let expected = format!(
        r#""method":"notifications/subscriptions/acknowledged","params":{{@,"notifications":{{{expected}}}}}}}"#
    );
    assert_eq!(taken(&mut listening), [expected]);
}

#[test]
fn what_is_wanted_and_offered_is_acknowledged() {
    let both = r#""toolsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a:1","b:\"2\""]"#;
    acknowledges(ALL, Some(INTRODUCTION), both);
    acknowledges(
        r#""toolsListChanged":true,"resourcesListChanged":false"#,
        Some(INTRODUCTION),
        r#""toolsListChanged":true"#,
    );
    acknowledges("", Some(INTRODUCTION), "");
    acknowledges(ALL, Some("{}"), "");
    // A server without a stream of its own tells nothing, whatever it announces.
    acknowledges(ALL, None, "");
}

#[test]
fn what_the_server_refused_is_not_acknowledged() {
    let mut listening = listening(ALL, Some(INTRODUCTION));
    listening.uris.remove(0);
    listening.acknowledge();
    let told = taken(&mut listening).remove(0);
    assert!(
        told.contains(r#""resourceSubscriptions":["b:\"2\""]"#),
        "{told}"
    );
}

#[test]
fn resources_that_one_listen_follows_are_bounded() {
    let uris: Vec<String> = (0..=NAMED_MAX).map(|n| format!("\"u:{n}\"")).collect();
    let filter = format!(r#""resourceSubscriptions":[{}]"#, uris.join(","));
    let (_, wanted) = Listening::begin(&request(&filter), Some(INTRODUCTION));
    assert_eq!(wanted.len(), NAMED_MAX);
}

#[test]
fn an_update_goes_out_at_once_with_the_name_of_the_listen() {
    let mut listening = listening(ALL, Some(INTRODUCTION));
    let update =
        r#""method":"notifications/resources/updated","params":{"uri":"a:1","_meta":{"k": 1}}"#;
    listening.on_message(&frame(update), 0);
    assert_eq!(
        taken(&mut listening),
        [
            r#""method":"notifications/resources/updated","params":{"uri":"a:1","_meta":{"k": 1,"io.modelcontextprotocol/subscriptionId":"l"}}}"#
        ]
    );
}

/// Plays a script to a listen for all lists, of which the server tells tools and resources, and for two resources.
///
/// `t`, `p`, `r` a list changes, `u` a followed resource does, `x` another, `g` nobody heard the server for a while,
/// `.` half of the time passes after which changes are told, `-` as much, but nobody looks, `e` the session ends.
/// Told: `T`, `P`, `R` a list, `U` a resource, `E` the end.
#[track_caller]
fn check(script: &str, expected: &str) {
    let mut listening = listening(ALL, Some(INTRODUCTION));
    let (mut seen, mut now_ms) = (String::new(), 0);
    for word in script.chars() {
        happens(&mut listening, word, &mut now_ms);
        seen.extend(taken(&mut listening).iter().map(|told| letter(told)));
        listening = through_bytes(&listening);
    }
    assert_eq!(seen, expected, "{script}");
}

fn happens(listening: &mut Listening, word: char, now_ms: &mut u64) {
    let update =
        |uri| format!(r#""method":"notifications/resources/updated","params":{{"uri":"{uri}"}}"#);
    let text = match word {
        't' => r#""method":"notifications/tools/list_changed""#.to_owned(),
        'p' => r#""method":"notifications/prompts/list_changed""#.to_owned(),
        'r' => r#""method":"notifications/resources/list_changed""#.to_owned(),
        'u' => update("a:1"),
        'x' => update("c"),
        'g' => return listening.on_gap(*now_ms),
        'e' => return listening.end(),
        '.' => {
            *now_ms += DEBOUNCE_MS / 2;
            return listening.on_time(*now_ms);
        }
        '-' => {
            *now_ms += DEBOUNCE_MS / 2;
            return;
        }
        other => panic!("{other}"),
    };
    listening.on_message(&frame(&text), *now_ms);
}

fn letter(told: &str) -> char {
    let kinds = [
        ("tools/list_changed", 'T'),
        ("prompts/list_changed", 'P'),
        ("resources/list_changed", 'R'),
        ("resources/updated", 'U'),
        (r#""id":"l","result":{"resultType":"complete",@}"#, 'E'),
    ];
    let kind = kinds.iter().find(|(part, _)| told.contains(part));
    kind.unwrap_or_else(|| panic!("{told}")).1
}

#[test]
fn changes_of_a_list_are_told_once_after_a_while() {
    check("t", "");
    check("t.", "");
    check("t..", "T");
    check("ttt.t.", "T");
    check("t..t..", "TT");
    check("r.t.", "TR");
    // The server never said that it tells these.
    check("p..", "");
}

#[test]
fn a_server_that_never_stops_telling_holds_no_change_back() {
    check("tu-u-u-u", "UUTUU");
    check("t--x", "T");
    check("t-t-t", "T");
    check("t--g--g", "TUUTRUU");
}

#[test]
fn updates_of_resources_are_told_at_once_and_each() {
    check("uu", "UU");
    check("x", "");
    check("t.u.", "UT");
}

#[test]
fn after_a_gap_anything_may_have_changed() {
    check("g", "UU");
    check("g..", "UUTR");
    check("t.g.", "UUTR");
}

#[test]
fn a_goodbye_is_the_last() {
    check("e", "E");
    check("tetug..e", "E");
}

#[test]
fn a_listen_for_nothing_has_nothing_to_do() {
    let mut listening = listening("", Some(INTRODUCTION));
    listening.on_gap(0);
    assert_eq!((listening.due_ms(), taken(&mut listening).len()), (None, 0));
}

proptest! {
    /// A listen that moves at any time tells the same as one that stays, also what it was about to tell.
    #[test]
    fn a_listen_goes_on_elsewhere(
        events in prop::collection::vec(("[tpruxg.]", any::<bool>(), any::<bool>()), 0..80),
        at_end in any::<bool>(),
    ) {
        let mut goes = listening(ALL, Some(INTRODUCTION));
        let mut stays = goes.clone();
        let (mut now_ms, mut changed_ms) = (0, None);
        let (mut told, mut expected) = (Vec::new(), Vec::new());
        for (word, moves, takes) in events {
            let word = word.chars().next().unwrap();
            let mut same_ms = now_ms;
            happens(&mut goes, word, &mut now_ms);
            happens(&mut stays, word, &mut same_ms);
            if moves {
                goes = through_bytes(&goes);
            }
            if takes {
                told.extend(taken(&mut goes));
            }
            expected.extend(taken(&mut stays));
            // Nothing that is told waits for longer than it should, and nothing else waits.
            if matches!(word, 't' | 'r' | 'g') {
                changed_ms.get_or_insert(now_ms);
            }
            changed_ms = changed_ms.filter(|changed_ms| changed_ms + DEBOUNCE_MS > now_ms);
            prop_assert_eq!(goes.due_ms(), changed_ms.map(|changed_ms| changed_ms + DEBOUNCE_MS));
        }
        if at_end {
            goes.end();
            stays.end();
        }
        told.extend(taken(&mut goes));
        expected.extend(taken(&mut stays));
        prop_assert_eq!(told, expected);
        prop_assert_eq!(goes, stays);
    }
}
