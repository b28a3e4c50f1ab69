//! The holder's side of a lease: it knows until when this node may serve.

use std::collections::VecDeque;
use std::time::Duration;

use super::Terms;

/// Renewals under way at most; an answer to an older one is too late to be of use.
const RENEWALS_MAX: usize = 16;

/// Lease of one life of one node. Times are those of a clock that goes on while the machine is suspended
/// (`CLOCK_BOOTTIME`), since any moment.
#[derive(Clone, Debug)]
pub struct Holder {
    terms: Terms,
    /// Number and time of renewals that were sent, oldest first.
    sent: VecDeque<(u64, Duration)>,
    next: u64,
    until: Duration,
}

impl Holder {
    /// Without a lease.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            sent: VecDeque::new(),
            next: 1,
            until: Duration::ZERO,
        }
    }

    /// Begins a renewal and returns its number. `now` is read before anything is sent: that is when a grant counts
    /// from.
    pub fn renew(&mut self, now: Duration) -> u64 {
        if self.sent.len() == RENEWALS_MAX {
            self.sent.pop_front();
        }
        let number = self.next;
        self.next += 1;
        self.sent.push_back((number, now));
        number
    }

    /// Takes the answer to a renewal: the leader grants `lasting`. One that is not awaited changes nothing.
    pub fn on_grant(&mut self, number: u64, lasting: Duration) {
        let Some(at) = self.sent.iter().position(|(sent, _)| *sent == number) else {
            return;
        };
        if let Some((_, sent_at)) = self.sent.remove(at) {
            let until = sent_at.saturating_add(self.terms.shortened(lasting));
            self.until = self.until.max(until);
        }
    }

    /// Gives the lease back, for good measure, before this node stops.
    pub fn give_up(&mut self) {
        self.sent.clear();
        self.until = Duration::ZERO;
    }

    /// Whether this node may serve at `now`.
    pub fn holds(&self, now: Duration) -> bool {
        now < self.until
    }

    /// When it may no longer, unless it renews.
    pub fn until(&self) -> Duration {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn holder() -> Holder {
        Holder::new(Terms::DEFAULT)
    }

    #[test]
    fn nobody_holds_what_was_not_granted() {
        let mut holder = holder();
        assert!(!holder.holds(Duration::ZERO));
        holder.renew(MS(10));
        assert!(!holder.holds(MS(10)));
    }

    #[test]
    fn a_grant_counts_from_before_it_was_asked_for_and_stops_early() {
        let mut holder = holder();
        let number = holder.renew(MS(1000));
        holder.on_grant(number, MS(1500));
        assert!(holder.holds(MS(1000 + 1424)));
        assert!(!holder.holds(MS(1000 + 1425)));
    }

    #[test]
    fn answers_in_any_order_never_shorten_a_lease() {
        let mut holder = holder();
        let (first, second) = (holder.renew(MS(0)), holder.renew(MS(250)));
        holder.on_grant(second, MS(1500));
        let until = holder.until();
        holder.on_grant(first, MS(1500));
        assert_eq!(holder.until(), until);
    }

    #[test]
    fn an_answer_counts_once_and_only_if_it_is_awaited() {
        let mut holder = holder();
        let number = holder.renew(MS(0));
        holder.on_grant(number, MS(100));
        holder.on_grant(number, MS(1500));
        holder.on_grant(99, MS(1500));
        assert_eq!(holder.until(), MS(95));
    }

    #[test]
    fn what_was_given_up_does_not_come_back() {
        let mut holder = holder();
        let (first, second) = (holder.renew(MS(0)), holder.renew(MS(1)));
        holder.on_grant(first, MS(1500));
        holder.give_up();
        holder.on_grant(second, MS(1500));
        assert!(!holder.holds(MS(2)));
    }
}
