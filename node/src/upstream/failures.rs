//! Calls that their server failed: the last of them for whoever asks, and a line of the log now and then.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::shared::LastError;

/// Shortest time between two lines of one server: a log is to be read, and a failing server fails many.
const LINES_INTERVAL: Duration = Duration::from_secs(10);

/// The failed calls of one server.
#[derive(Debug, Default)]
pub(super) struct FailedCalls(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<LastError>,
    logged_at: Option<Instant>,
    /// Since then.
    n_unlogged: u64,
}

impl FailedCalls {
    /// Keeps a failure. `Some` when it is to be logged, with the number of those before it that were not.
    pub(super) fn note(&self, error: LastError) -> Option<u64> {
        let mut state = self.0.lock();
        let now = error.at;
        state.last = Some(error);
        let is_due = |at: Instant| now.saturating_duration_since(at) >= LINES_INTERVAL;
        if state.logged_at.is_none_or(is_due) {
            state.logged_at = Some(now);
            return Some(std::mem::take(&mut state.n_unlogged));
        }
        state.n_unlogged += 1;
        None
    }

    /// The last one.
    pub(super) fn last(&self) -> Option<LastError> {
        self.0.lock().last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_logged_at_once_and_the_rest_are_counted() {
        let (failed, began) = (FailedCalls::default(), Instant::now());
        let note = |secs: u64| {
            let at = began + Duration::from_secs(secs);
            let text = format!("{secs}").into();
            failed.note(LastError { text, at })
        };
        let logged = [0, 1, 9, 10, 11, 30].map(note);
        assert_eq!(logged, [Some(0), None, None, Some(2), None, Some(1)]);
        assert_eq!(&*failed.last().unwrap().text, "30");
    }
}
