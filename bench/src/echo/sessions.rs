//! Which sessions of the echo are open.

use std::collections::HashSet;

const PREFIX: &str = "echo-";

/// Open sessions. An id is a counter: the echo guards nothing.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: HashSet<u64>,
    last: u64,
}

impl Sessions {
    /// Opens one and gives its id.
    pub(super) fn open(&mut self) -> String {
        self.last += 1;
        self.open.insert(self.last);
        format!("{PREFIX}{}", self.last)
    }

    /// Whether `id` is open.
    pub(super) fn contains(&self, id: &str) -> bool {
        number(id).is_some_and(|number| self.open.contains(&number))
    }

    /// Ends one; false when it was not open.
    pub(super) fn close(&mut self, id: &str) -> bool {
        number(id).is_some_and(|number| self.open.remove(&number))
    }
}

fn number(id: &str) -> Option<u64> {
    id.strip_prefix(PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Sessions;

    #[test]
    fn a_session_is_open_until_it_is_closed() {
        let mut sessions = Sessions::default();
        let id = sessions.open();
        assert!(sessions.contains(&id));
        assert!(sessions.close(&id));
        assert!(!sessions.contains(&id));
        assert!(!sessions.close(&id));
    }

    #[test]
    fn a_foreign_id_is_not_open() {
        assert!(!Sessions::default().contains("1"));
        assert!(!Sessions::default().contains("echo-x"));
    }
}
