//! Each invariant is broken once.

use super::super::fault::Fault;
use super::*;

const SECOND: u64 = 1_000_000;

/// Calls that were let through: of a tenant at a node, at these moments.
fn record(of: &[(usize, usize, u64)]) -> Record {
    let mut record = Record {
        calls: Vec::new(),
        executed_us: HashMap::new(),
        faults: Vec::new(),
        days: 1,
        calm_us: (0, 4 * SECOND),
        commits: 10.0,
    };
    for (at, (tenant, node, began_us)) in of.iter().enumerate() {
        let key = at.to_string();
        record.executed_us.insert(key.clone(), began_us + 1_000);
        record.calls.push(Call {
            tenant: *tenant,
            node: *node,
            key,
            began_us: *began_us,
            outcome: Outcome::Done,
        });
    }
    record
}

fn isolation() -> Injected {
    Injected {
        fault: Fault::IsolateFollower,
        node: 2,
        from_us: 10 * SECOND,
        healed_us: 17 * SECOND,
        recovered_us: 18 * SECOND,
        shown: None,
    }
}

/// `n` calls of a tenant, evenly over so many seconds.
fn even(tenant: usize, n: u64, seconds: u64) -> Vec<(usize, usize, u64)> {
    (0..n)
        .map(|at| (tenant, 0, at * seconds * SECOND / n))
        .collect()
}

#[test]
fn a_burst_and_a_rate_are_within_the_bound_and_one_call_more_is_not() {
    let mut calls = vec![(0, 0, 0); 100];
    assert!(bound(&record(&calls)).holds);
    calls.push((0, 0, 0));
    assert!(!bound(&record(&calls)).holds);
    assert!(bound(&record(&even(0, 1_000, 10))).holds);
    assert!(!bound(&record(&even(0, 1_300, 10))).holds);
}

#[test]
fn a_budget_is_spent_once() {
    let (daily, money) = (even(2, 1_200, 20), even(3, 500, 20));
    let spent = |daily: &[_], money: &[_]| record(&[daily, money].concat());
    assert!(budgets(&spent(&daily, &money)).holds);
    assert!(!budgets(&spent(&daily, &even(3, 501, 20))).holds);
    // What is lost is lost by a fault.
    let mut less = spent(&daily[..1_100], &money);
    assert!(!budgets(&less).holds);
    less.faults.push(isolation());
    assert!(budgets(&less).holds);
}

#[test]
fn an_isolated_node_stops_and_the_others_do_not() {
    let run = |calls: &[_]| {
        let mut record = record(calls);
        record.faults.push(isolation());
        // It is asked all the time.
        record.calls.push(Call {
            tenant: 0,
            node: 2,
            key: "refused".to_owned(),
            began_us: 13 * SECOND,
            outcome: Outcome::Failed,
        });
        isolated(&record).holds
    };
    let others = (0, 1, 13 * SECOND);
    assert!(run(&[others, (0, 2, 11 * SECOND)]));
    assert!(!run(&[others, (0, 2, 12 * SECOND)]));
    assert!(!run(&[]));
}

#[test]
fn a_refusal_by_another_quota_or_of_what_was_done_is_seen() {
    let call = |outcome: Outcome| Call {
        tenant: 0,
        node: 0,
        key: "k".to_owned(),
        began_us: 0,
        outcome,
    };
    let by = |quota: String| Outcome::Refused {
        quota,
        used_up: true,
    };
    let with = |outcomes: &[Outcome]| {
        let mut record = record(&[]);
        let calls = outcomes.iter().cloned();
        record.calls.extend(calls.map(call));
        record
    };
    let own = || by(TENANTS[0].quota());
    assert!(refusals(&with(&[own(), Outcome::Failed])).holds);
    assert!(!refusals(&with(&[Outcome::Failed])).holds);
    assert!(!refusals(&with(&[own(), by("another".to_owned())])).holds);
    assert!(!refusals(&with(&[own(), Outcome::Done])).holds);
    assert!(!refusals(&with(&[own(), Outcome::Wrong(String::new())])).holds);
    let mut executed = with(&[own()]);
    executed.executed_us.insert("k".to_owned(), 1);
    assert!(!refusals(&executed).holds);
}

#[test]
fn a_bucket_that_stays_empty_and_a_log_that_is_flooded_are_seen() {
    let mut calls = even(0, 400, 4);
    calls.extend(even(1, 8, 4));
    assert!(recovered(&record(&calls)).holds);
    let mut empty = record(&calls);
    for call in &empty.calls[..200] {
        empty.executed_us.remove(&call.key);
    }
    assert!(!recovered(&empty).holds);
    let mut record = record(&calls);
    assert!(commits(&record).holds);
    record.commits = 15.1;
    assert!(!commits(&record).holds);
}
