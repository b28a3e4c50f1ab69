//! Scripts for the core.

mod world;

use super::*;

const SETTINGS: Settings = Settings {
    era: EraChoice::Auto,
    endpoints: 2,
    check_interval: Duration::from_secs(10),
    probe_interval: Duration::from_hours(1),
};

const BOTH: Eras = Eras {
    session: Some(true),
    stateless: Some(true),
};

fn era(word: &str) -> Era {
    match word {
        "s" => Era::Session,
        "t" => Era::Stateless,
        other => panic!("unknown era {other:?}"),
    }
}

/// One word of a script: the event that it stands for.
fn event(word: &str) -> Event {
    let (verb, rest) = word.split_once(':').unwrap_or((word, ""));
    let index = || rest.parse().unwrap();
    let fetched = |ttl| Event::Fetched {
        era: era(rest),
        done: true,
        ttl,
        has_untold: verb == "partly",
        shut_for: Duration::ZERO,
    };
    let unfetched = |secs| Event::unfetched(era(rest), Duration::from_secs(secs));
    let ended = |offered, secs| Event::ListenEnded {
        era: era(rest),
        offered,
        lasted: Duration::from_secs(secs),
    };
    match verb {
        "start" => Event::Started,
        "probed" => Event::Probed(match rest {
            "none" => None,
            eras => Some(Eras {
                session: Some(eras.contains('s')),
                stateless: Some(eras.contains('t')),
            }),
        }),
        "fetched" => fetched(None),
        "partly" => fetched(Some(Duration::from_secs(30))),
        "hasty" => fetched(Some(Duration::ZERO)),
        "unfetched" => unfetched(0),
        "shut" => unfetched(48),
        "changed" => Event::ListChanged(era(rest)),
        "deaf" => ended(false, 0),
        "dropped" => ended(true, 1),
        "worn" => ended(true, 3600),
        "refused" => Event::Refused(index()),
        "passed" => Event::Checked {
            endpoint: index(),
            passed: true,
        },
        "failed" => Event::Checked {
            endpoint: index(),
            passed: false,
        },
        "wanted" => Event::Wanted,
        "alien" => Event::ErasDoubted,
        "silent" => Event::TimerOver {
            timer: Timer::Health,
            silent: index() as u64,
        },
        "due" => Event::TimerOver {
            timer: match rest {
                "probe" => Timer::Probe,
                "again" => Timer::Reprobe,
                "s" | "t" => Timer::Fetch(era(rest)),
                index => Timer::Check(index.parse().unwrap()),
            },
            silent: 0,
        },
        other => panic!("unknown event {other:?}"),
    }
}

fn word(effect: Effect) -> String {
    let short = |era| match era {
        Era::Session => "s",
        Era::Stateless => "t",
    };
    match effect {
        Effect::Probe => "probe".to_owned(),
        Effect::Fetch { era, anew } => {
            format!("fetch:{}{}", short(era), if anew { "!" } else { "" })
        }
        Effect::Listen(era) => format!("listen:{}", short(era)),
        Effect::Check(endpoint) => format!("check:{endpoint}"),
        Effect::Arm(timer, after) => {
            let timer = match timer {
                Timer::Probe => "probe".to_owned(),
                Timer::Reprobe => "again".to_owned(),
                Timer::Fetch(era) => short(era).to_owned(),
                Timer::Check(endpoint) => endpoint.to_string(),
                Timer::Health => "health".to_owned(),
            };
            format!("{timer}@{}", after.as_millis())
        }
        Effect::Health { endpoint, healthy } => {
            format!("{endpoint}{}", if healthy { '+' } else { '-' })
        }
        Effect::Announce => "news".to_owned(),
    }
}

/// Plays `script`, words as in [`event`] or `+MS` to let time pass, and returns the effects of each event, `|` between.
fn play(settings: Settings, script: &str) -> (String, Machine) {
    let mut machine = Machine::new(settings, Eras::decreed(settings.era));
    let mut now = Instant::now();
    let mut lines = Vec::new();
    for step in script.split_whitespace() {
        if let Some(ms) = step.strip_prefix('+') {
            now += Duration::from_millis(ms.parse().unwrap());
            continue;
        }
        let mut effects = Vec::new();
        machine.on(event(step), now, &mut effects);
        let words: Vec<String> = effects.into_iter().map(word).collect();
        lines.push(words.join(" "));
    }
    (lines.join(" | "), machine)
}

#[track_caller]
fn check(script: &str, want: &str) {
    assert_eq!(play(SETTINGS, script).0, want, "after {script:?}");
}

#[track_caller]
fn check_decreed(choice: EraChoice, script: &str, want: &str) {
    let settings = Settings {
        era: choice,
        ..SETTINGS
    };
    assert_eq!(play(settings, script).0, want, "after {script:?}");
}

fn phase(script: &str) -> (Phase, bool) {
    let machine = play(SETTINGS, script).1;
    (machine.phase(), machine.is_settled())
}

#[test]
fn a_server_is_probed_listed_and_listened_to() {
    check(
        "start probed:st fetched:s fetched:t",
        "health@10000 probe | fetch:s! fetch:t! again@3600000 news | listen:s news | listen:t news",
    );
}

#[test]
fn only_spoken_eras_are_fetched() {
    check(
        "start probed:t",
        "health@10000 probe | fetch:t! again@3600000 news",
    );
}

#[test]
fn an_era_that_was_lost_is_fetched_no_more() {
    check(
        "start probed:s fetched:s dropped:s probed:t due:s changed:s probed:s",
        "health@10000 probe | fetch:s! again@3600000 news | listen:s news | s@500 | \
         fetch:t! again@3600000 news |  |  | fetch:s! again@3600000 news",
    );
}

#[test]
fn a_silent_server_is_probed_again_with_back_off() {
    check(
        "start probed:none due:probe probed:none due:probe probed:none",
        "health@10000 probe | probe@500 news | probe | probe@1000 news | probe | probe@2000 news",
    );
}

#[test]
fn back_off_ends_at_half_a_minute() {
    assert_eq!(backoff(1), Duration::from_millis(500));
    assert_eq!(backoff(7), Duration::from_secs(30));
    assert_eq!(backoff(u32::MAX), Duration::from_secs(30));
}

#[test]
fn a_call_that_wants_a_dead_server_has_it_tried_at_once_and_once() {
    check(
        "start probed:none +200 wanted wanted probed:st",
        "health@10000 probe | probe@500 news | probe |  | fetch:s! fetch:t! again@3600000 news",
    );
}

#[test]
fn a_fresh_verdict_answers_a_call_without_another_attempt() {
    check(
        "start probed:none +50 wanted",
        "health@10000 probe | probe@500 news | news",
    );
}

#[test]
fn a_call_that_wants_a_living_server_gets_its_verdict() {
    check(
        "start probed:s +200 wanted",
        "health@10000 probe | fetch:s! again@3600000 news | news",
    );
}

#[test]
fn several_changes_lead_to_one_fetch() {
    check(
        "start probed:s fetched:s changed:s changed:s due:s changed:s fetched:s due:s",
        "health@10000 probe | fetch:s! again@3600000 news | listen:s news | s@100 |  | fetch:s |  | s@100 news | fetch:s",
    );
}

#[test]
fn without_a_stream_of_changes_the_list_is_fetched_when_its_life_is_over() {
    check(
        "start probed:t fetched:t deaf:t due:t fetched:t due:t hasty:t",
        "health@10000 probe | fetch:t! again@3600000 news | listen:t news | t@60000 | fetch:t | t@60000 news | fetch:t | t@5000 news",
    );
}

#[test]
fn what_no_stream_tells_of_is_fetched_when_its_life_is_over() {
    check(
        "start probed:t partly:t due:t partly:t changed:t due:t fetched:t",
        "health@10000 probe | fetch:t! again@3600000 news | listen:t t@30000 news | fetch:t | t@30000 news | t@100 | fetch:t | news",
    );
}

#[test]
fn a_stream_that_breaks_again_and_again_is_opened_ever_later() {
    check(
        "start probed:s fetched:s dropped:s due:s fetched:s dropped:s due:s fetched:s worn:s",
        "health@10000 probe | fetch:s! again@3600000 news | listen:s news | s@500 | fetch:s! | listen:s news | s@1000 | fetch:s! | listen:s news | s@500",
    );
}

#[test]
fn a_server_without_any_catalog_is_down() {
    check(
        "start probed:s unfetched:s",
        "health@10000 probe | fetch:s! again@3600000 news | s@500 probe@500 news",
    );
    assert_eq!(phase("start probed:s unfetched:s"), (Phase::Down, true));
    assert_eq!(
        phase("start probed:st unfetched:s fetched:t"),
        (Phase::Up, true)
    );
}

#[test]
fn a_server_that_answers_and_gives_no_catalog_is_tried_again_with_back_off() {
    // The keeper's own timers (`s@…`) decide nothing here: the probe comes first.
    check(
        "start probed:s unfetched:s due:s due:probe probed:s unfetched:s due:s due:probe probed:s unfetched:s",
        "health@10000 probe | fetch:s! again@3600000 news | s@500 probe@500 news |  | probe \
         | fetch:s! again@3600000 news | s@1000 probe@1000 news |  | probe \
         | fetch:s! again@3600000 news | s@2000 probe@2000 news",
    );
    // A catalog ends the count.
    check(
        "start probed:s unfetched:s due:probe probed:s fetched:s changed:s due:s unfetched:s",
        "health@10000 probe | fetch:s! again@3600000 news | s@500 probe@500 news | probe \
         | fetch:s! again@3600000 news | listen:s again@3600000 news | s@100 | fetch:s | s@500 probe@500 news",
    );
}

#[test]
fn a_server_is_tried_again_when_its_breakers_let_it_be_asked() {
    check(
        "start probed:s shut:s",
        "health@10000 probe | fetch:s! again@3600000 news | s@48000 probe@48000 news",
    );
    check_decreed(
        EraChoice::Session,
        "start shut:s",
        "health@10000 fetch:s! | s@48000 news",
    );
}

#[test]
fn a_server_that_came_back_by_itself_is_probed_again() {
    // It was down when the timer ran out, and its probe found nobody, but the fetch that was under way did.
    check(
        "start probed:s fetched:s changed:s due:s refused:0 refused:1 due:again probed:none fetched:s due:again",
        "health@10000 probe | fetch:s! again@3600000 news | listen:s news | s@100 | fetch:s | 0- 0@500 | 1- 1@500 |  \
         | news | again@5000 news | probe",
    );
    // Nor is a look forgotten that was due before the first catalog was there.
    check(
        "start probed:s due:again",
        "health@10000 probe | fetch:s! again@3600000 news | probe",
    );
}

#[test]
fn both_eras_fail_as_one_attempt() {
    check(
        "start probed:st unfetched:s unfetched:t due:probe probed:st unfetched:t unfetched:s",
        "health@10000 probe | fetch:s! fetch:t! again@3600000 news | s@500 news | t@500 probe@500 news | probe \
         | fetch:s! fetch:t! again@3600000 news | t@1000 news | s@1000 probe@1000 news",
    );
}

#[test]
fn nothing_cuts_the_wait_short_of_a_server_that_answers_and_gives_no_catalog() {
    check(
        "start probed:s unfetched:s +6000 alien passed:0 due:probe probed:s +200 wanted",
        "health@10000 probe | fetch:s! again@3600000 news | s@500 probe@500 news |  | 0+ news | probe \
         | fetch:s! again@3600000 news | news",
    );
}

#[test]
fn a_server_is_up_when_its_catalog_is_there() {
    for (script, expected) in [
        ("start probed:s", (Phase::Probing, false)),
        (
            "start probed:s unfetched:s due:probe probed:s",
            (Phase::Down, true),
        ),
        (
            "start probed:s unfetched:s due:probe probed:s fetched:s",
            (Phase::Up, true),
        ),
        (
            "start probed:st fetched:s due:again probed:none",
            (Phase::Up, false),
        ),
        // What it had before it went down does not make it up again.
        (
            "start probed:st fetched:s fetched:t due:again probed: due:probe probed:st unfetched:s",
            (Phase::Down, true),
        ),
    ] {
        assert_eq!(phase(script), expected, "after {script:?}");
    }
}

#[test]
fn it_settles_when_the_first_attempts_have_ended() {
    assert_eq!(phase("start"), (Phase::Probing, false));
    assert_eq!(phase("start probed:none"), (Phase::Down, true));
    assert_eq!(phase("start probed:st fetched:s"), (Phase::Up, false));
    assert_eq!(
        phase("start probed:st fetched:s fetched:t"),
        (Phase::Up, true)
    );
    assert_eq!(phase("start probed:"), (Phase::Down, true));
}

#[test]
fn a_refused_call_has_the_endpoint_checked() {
    check(
        "start probed:s refused:1 refused:1 due:1 failed:1 due:1 passed:1 due:1",
        "health@10000 probe | fetch:s! again@3600000 news | 1- 1@500 |  | check:1 | 1- 1@1000 news | check:1 | 1+ news again@5000 | ",
    );
}

#[test]
fn a_silent_endpoint_is_checked_in_each_round() {
    check(
        "start probed:s silent:2 silent:3 passed:1",
        "health@10000 probe | fetch:s! again@3600000 news | check:1 health@10000 | check:0 health@10000 | 1+ news",
    );
}

#[test]
fn a_call_that_wants_a_dead_endpoint_has_it_checked_at_once() {
    check(
        "start probed:s refused:0 +200 wanted wanted passed:0",
        "health@10000 probe | fetch:s! again@3600000 news | 0- 0@500 | check:0 |  | 0+ news again@4800",
    );
}

#[test]
fn a_passed_check_revives_a_server_that_was_down() {
    check(
        "start probed:none refused:0 due:0 passed:0",
        "health@10000 probe | probe@500 news | 0- 0@500 | check:0 | 0+ news probe",
    );
}

#[test]
fn a_refused_era_is_probed_again_but_not_all_the_time() {
    check(
        "start probed:st +1000 alien +5000 alien alien probed:none alien",
        "health@10000 probe | fetch:s! fetch:t! again@3600000 news | again@4000 | probe |  | again@3600000 news | again@5000",
    );
}

#[test]
fn a_verdict_is_looked_at_again_from_time_to_time() {
    check(
        "start probed:s fetched:s due:again probed:none due:again probed:st",
        "health@10000 probe | fetch:s! again@3600000 news | listen:s news | probe | again@3600000 news | probe \
         | fetch:s fetch:t! again@3600000 news",
    );
    check(
        "start probed:none due:again",
        "health@10000 probe | probe@500 news | ",
    );
}

#[test]
fn an_endpoint_that_came_back_may_be_another_server() {
    check(
        "start probed:s fetched:s refused:1 +6000 due:1 passed:1 passed:1",
        "health@10000 probe | fetch:s! again@3600000 news | listen:s news | 1- 1@500 | check:1 | 1+ news probe | 1+ news",
    );
}

#[test]
fn silence_does_not_disprove_an_era() {
    let machine = play(
        SETTINGS,
        "start probed:st fetched:s fetched:t +6000 alien probed:none",
    )
    .1;
    assert_eq!(machine.eras(), BOTH);
    assert_eq!(machine.phase(), Phase::Up);
}

#[test]
fn a_decreed_era_is_not_probed() {
    check_decreed(
        EraChoice::Session,
        "start unfetched:s +200 wanted fetched:s alien",
        "health@10000 fetch:s! | s@500 news | fetch:s! | listen:s news | ",
    );
    let machine = Machine::new(SETTINGS, Eras::decreed(EraChoice::Stateless));
    assert_eq!(machine.eras().speaks(Era::Session), Some(false));
}

#[test]
fn checks_that_pass_do_not_hurry_a_server_that_answers_nothing_else() {
    check(
        "start refused:0 refused:1 probed:none passed:0 probed:none refused:0 passed:0 failed:0 passed:0",
        "health@10000 probe | 0- 0@500 | 1- 1@500 | probe@500 news | 0+ news probe | probe@1000 news | 0- 0@500 | 0+ news \
         | 0- 0@500 news | 0+ news probe",
    );
}

#[test]
fn an_endpoint_that_is_dead_does_not_make_checks_of_another_news() {
    check(
        "start refused:0 refused:1 probed:none passed:0 probed:none failed:1 passed:0 failed:1 passed:1",
        "health@10000 probe | 0- 0@500 | 1- 1@500 | probe@500 news | 0+ news probe | probe@1000 news | 1- 1@1000 news | \
         0+ news | 1- 1@2000 news | 1+ news probe",
    );
}
