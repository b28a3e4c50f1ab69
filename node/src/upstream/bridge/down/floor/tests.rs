use std::time::Duration;

use lockgate_proto::jsonrpc::Limits;

use super::*;

/// Plays a script and says what became of the questions.
///
/// `+a` a call that can ask enters, `-a` leaves, `*l` a list enters, `?` a form is asked, `/` roots are, `t` time is over,
/// `>` it is and nobody looks.
/// Seen: `a` the call got a question, `!` it was given back at once, `0` it turned out to be nobody's.
fn check(script: &str, expected: &str) {
    let mut floor = Floor::default();
    let (mut calls, mut seen) = (Vec::<(char, Arc<Inbox>)>::new(), String::new());
    let mut now = Instant::now();
    let mut counts = std::collections::HashMap::new();
    let mut words = script.chars();
    while let Some(word) = words.next() {
        let asked = match word {
            '+' | '*' => {
                let name = words.next().unwrap();
                let inbox = Inbox::new(u64::from(name), word == '+');
                floor.enter(&inbox, now);
                calls.push((name, inbox));
                Ok(())
            }
            '-' => {
                let name = words.next().unwrap();
                let (_, inbox) = calls.iter().find(|(other, _)| *other == name).unwrap();
                floor.leave(inbox, now);
                Ok(())
            }
            '?' => floor.ask(frame("elicitation/create"), now + Duration::from_secs(1)),
            '/' => floor.ask(frame("roots/list"), now + Duration::from_secs(1)),
            '>' => {
                now += Duration::from_secs(1);
                continue;
            }
            't' => {
                let late = floor.take_nobodys(now + Duration::from_secs(1));
                seen.push_str(&"0".repeat(late.len()));
                Ok(())
            }
            other => panic!("{other}"),
        };
        if asked.is_err() {
            seen.push('!');
        }
        for (name, inbox) in &calls {
            let before = counts.insert(*name, inbox.len()).unwrap_or_default();
            seen.extend(std::iter::repeat_n(*name, inbox.len() - before));
        }
        seen.push_str(&"0".repeat(floor.take_nobodys(now).len()));
    }
    assert_eq!(seen, expected, "{script}");
}

fn frame(method: &str) -> Frame {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
    Frame::parse(text.into(), &Limits::default()).unwrap()
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
fn what_is_held_is_bounded() {
    let many = "/".repeat(HELD_MAX + 1);
    check(&many, "!");
}
