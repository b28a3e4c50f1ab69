//! Which endpoint a call goes to. Pure: what the endpoints publish goes in, an index comes out.

use smallvec::SmallVec;

use crate::config::Balance;

use super::breaker::Gate;

/// One endpoint, as a chooser sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Whether the last sign of it was a good one.
    pub healthy: bool,
    /// Its breaker.
    pub gate: Gate,
    /// Calls in flight.
    pub in_flight: u32,
    /// Share under [`Balance::Weighted`].
    pub weight: u32,
    /// Whether this very call has failed there already.
    pub tried: bool,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Position in the list.
    pub index: usize,
    /// Whether the breaker is to be passed by: the endpoint stays in service because no more may be ejected.
    pub bypass: bool,
}

/// Chooses among `endpoints`. `ticket` is a number that grows by one with each call.
///
/// The best of these classes that is not empty, and within it what `balance` says; untried before tried:
/// 1. healthy, and the breaker lets calls or trial calls pass;
/// 2. the breaker lets calls pass: a server that is back must not wait for the next health check;
/// 3. ejected beyond `ejection_percent_max` (at least one may always be ejected when it is above 0): in service
///    in spite of its breaker, the one that would be tried again first.
///
/// `None` when every endpoint is ejected, rightly.
pub fn choose(
    balance: Balance,
    ticket: u64,
    endpoints: &[View],
    ejection_percent_max: u8,
) -> Option<Choice> {
    let classes: [fn(&View) -> bool; 4] = [
        |e| e.healthy && passes(e) && !e.tried,
        |e| passes(e) && !e.tried,
        |e| e.healthy && passes(e),
        passes,
    ];
    let index = classes
        .into_iter()
        .find_map(|class| pick(balance, ticket, endpoints, class));
    match index {
        Some(index) => Some(Choice {
            index,
            bypass: false,
        }),
        None => kept_in_service(endpoints, ejection_percent_max).map(|index| Choice {
            index,
            bypass: true,
        }),
    }
}

fn passes(endpoint: &View) -> bool {
    match endpoint.gate {
        Gate::Closed => true,
        Gate::HalfOpen { trials_left } => trials_left > 0,
        Gate::Open { .. } => false,
    }
}

fn pick(
    balance: Balance,
    ticket: u64,
    endpoints: &[View],
    class: fn(&View) -> bool,
) -> Option<usize> {
    let candidates = || endpoints.iter().enumerate().filter(|(_, e)| class(e));
    match balance {
        Balance::Failover => candidates().next(),
        Balance::RoundRobin => {
            let n = candidates().count() as u64;
            candidates().nth(usize::try_from(ticket.checked_rem(n)?).ok()?)
        }
        Balance::Weighted => {
            let total = candidates().map(|(_, e)| u64::from(e.weight)).sum();
            let mut point = spread(ticket, total)?;
            candidates().find(|(_, e)| {
                let weight = u64::from(e.weight);
                let hit = point < weight;
                point = point.saturating_sub(weight);
                hit
            })
        }
        Balance::LeastInFlight => {
            let n = endpoints.len() as u64;
            // Ties go round, so that idle endpoints share the load.
            let turn = |index: usize| (index as u64 + n - ticket % n) % n;
            candidates().min_by_key(|(index, e)| (e.in_flight, turn(*index)))
        }
    }
    .map(|(index, _)| index)
}

/// Position of `ticket` in 0..total, such that `total` tickets in a row meet each position once and neighbours lie
/// far apart: a stride near the golden ratio that has no divisor in common with `total`. `None` for 0.
fn spread(ticket: u64, total: u64) -> Option<u64> {
    let mut stride = ((total as f64 * 0.618) as u64).max(1);
    while gcd(stride, total) != 1 {
        stride += 1;
    }
    let turn = ticket.checked_rem(total)?;
    u64::try_from(u128::from(turn) * u128::from(stride) % u128::from(total)).ok()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The endpoint whose calls pass its open breaker by when none passes any.
fn kept_in_service(endpoints: &[View], ejection_percent_max: u8) -> Option<usize> {
    kept(endpoints, ejection_percent_max).first().copied()
}

/// Endpoints that stay in service in spite of their open breakers because no more than `ejection_percent_max` may be
/// ejected (at least one when that is above 0): those that would be tried again first, untried before tried.
pub fn kept(endpoints: &[View], ejection_percent_max: u8) -> SmallVec<[usize; 8]> {
    let allowed = endpoints.len() * usize::from(ejection_percent_max.min(100)) / 100;
    let allowed = if ejection_percent_max > 0 {
        allowed.max(1)
    } else {
        0
    };
    let n_out = endpoints.iter().filter(|e| !passes(e)).count();
    let open = endpoints
        .iter()
        .enumerate()
        .filter_map(|(index, e)| match e.gate {
            Gate::Open { retry_after, .. } => Some((e.tried, retry_after, index)),
            Gate::Closed | Gate::HalfOpen { .. } => None,
        });
    let mut open: SmallVec<[_; 8]> = open.collect();
    open.sort_unstable();
    open.truncate(n_out.saturating_sub(allowed));
    open.into_iter().map(|(.., index)| index).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::upstream::breaker::Cause;

    /// One letter an endpoint: `a`live, `d`own but the breaker passes, `h`alf open, `H`alf open without trials left,
    /// `o`pen for one second, `O`pen for two; in a line with `t`ried as a suffix.
    fn views(text: &str) -> Vec<View> {
        text.split(' ')
            .map(|word| {
                let open = |secs| Gate::Open {
                    retry_after: Duration::from_secs(secs),
                    cause: Cause::Failing,
                };
                let (healthy, gate) = match &word[..1] {
                    "a" => (true, Gate::Closed),
                    "d" => (false, Gate::Closed),
                    "h" => (true, Gate::HalfOpen { trials_left: 1 }),
                    "H" => (true, Gate::HalfOpen { trials_left: 0 }),
                    "o" => (false, open(1)),
                    "O" => (false, open(2)),
                    other => panic!("unknown endpoint {other:?}"),
                };
                View {
                    healthy,
                    gate,
                    in_flight: 0,
                    weight: 1,
                    tried: word.ends_with('t'),
                }
            })
            .collect()
    }

    #[track_caller]
    fn check(balance: Balance, endpoints: &str, want: &str) {
        let views = views(endpoints);
        let got: String = (0..want.len() as u64)
            .map(|ticket| match choose(balance, ticket, &views, 50) {
                Some(choice) => char::from(b'0' + choice.index as u8),
                None => '-',
            })
            .collect();
        assert_eq!(got, want, "{balance:?} over {endpoints:?}");
    }

    #[test]
    fn failover_takes_the_first_that_is_well() {
        check(Balance::Failover, "a a a", "000");
        check(Balance::Failover, "d a a", "111");
        check(Balance::Failover, "o d a", "222");
        check(Balance::Failover, "o d O", "111");
    }

    #[test]
    fn a_half_open_endpoint_gets_its_trial_calls() {
        check(Balance::Failover, "h a", "00");
        check(Balance::Failover, "H a", "11");
    }

    #[test]
    fn a_failed_endpoint_is_not_tried_twice_while_there_is_another() {
        check(Balance::Failover, "at d", "1");
        check(Balance::Failover, "at o", "0");
    }

    #[test]
    fn round_robin_leaves_out_the_sick() {
        check(Balance::RoundRobin, "a a a", "012012");
        check(Balance::RoundRobin, "a o a", "020202");
    }

    #[test]
    fn only_so_many_are_ejected() {
        check(Balance::Failover, "O o", "1");
        let views = views("O o");
        let choice = choose(Balance::Failover, 0, &views, 50).unwrap();
        assert!(choice.bypass);
        assert_eq!(choose(Balance::Failover, 0, &views, 100), None);
    }

    #[test]
    fn those_that_are_tried_again_first_are_kept() {
        #[track_caller]
        fn check(endpoints: &str, percent: u8, want: &[usize]) {
            let got = kept(&views(endpoints), percent);
            assert_eq!(got.as_slice(), want, "{endpoints:?} at {percent}");
        }
        check("O o O", 0, &[1, 0, 2]);
        check("O o O", 33, &[1, 0]);
        check("O o O", 67, &[1]);
        check("O o O", 100, &[]);
        check("O o a", 33, &[1]);
        check("O o a", 67, &[]);
        check("O ot H", 50, &[0, 1]);
        check("o", 0, &[0]);
        check("o", 1, &[]);
    }

    #[test]
    fn a_single_endpoint_can_be_ejected() {
        check(Balance::RoundRobin, "o", "-");
    }

    #[test]
    fn least_in_flight_takes_turns_among_equals() {
        check(Balance::LeastInFlight, "a a", "0101");
        let mut views = views("a a a");
        views[0].in_flight = 3;
        views[1].in_flight = 1;
        views[2].in_flight = 2;
        for ticket in 0..9 {
            let choice = choose(Balance::LeastInFlight, ticket, &views, 50).unwrap();
            assert_eq!(choice.index, 1);
        }
    }

    #[test]
    fn weights_are_spread_smoothly() {
        let mut views = views("a a a");
        views[0].weight = 5;
        let got: Vec<usize> = (0..7)
            .filter_map(|ticket| choose(Balance::Weighted, ticket, &views, 50))
            .map(|choice| choice.index)
            .collect();
        assert_eq!(got, [0, 0, 0, 1, 0, 2, 0]);
    }

    proptest! {
        #[test]
        fn weights_are_met_exactly_in_every_full_turn(weights in prop::collection::vec(0_u32..9, 1..6), start in 0_u64..1000) {
            let views: Vec<View> = weights.iter().map(|&weight| View { weight, ..views("a")[0] }).collect();
            let total: u32 = weights.iter().sum();
            let mut got = vec![0_u32; weights.len()];
            for ticket in start..start + u64::from(total) {
                got[choose(Balance::Weighted, ticket, &views, 50).unwrap().index] += 1;
            }
            prop_assert_eq!(got, weights);
        }

        #[test]
        fn never_rests_while_one_endpoint_passes(text in "[adoO]t?( [adoO]t?){0,5}", ticket in 0_u64..100) {
            let views = views(&text);
            for balance in [Balance::Failover, Balance::RoundRobin, Balance::Weighted, Balance::LeastInFlight] {
                let choice = choose(balance, ticket, &views, 100);
                prop_assert_eq!(choice.is_some(), views.iter().any(passes));
                if let Some(choice) = choice {
                    prop_assert!(passes(&views[choice.index]) && !choice.bypass);
                }
            }
        }
    }
}
