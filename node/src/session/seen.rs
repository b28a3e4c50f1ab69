//! What one connection has shown of its session.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::call::Caller;

use super::id::SessionKey;

/// The session ids that a connection named first and last. Clients name the same one with every message, and to
/// decipher it costs more than to compare it.
///
/// It says which session that was, not that there still is one.
#[derive(Debug, Default)]
pub struct Seen {
    /// Nearly always the only one, and read without a lock.
    first: OnceLock<Opened>,
    last: Mutex<Option<Opened>>,
}

/// An id that was opened, with all that it is bound to.
#[derive(Debug)]
struct Opened {
    text: Box<str>,
    route: Box<str>,
    caller: Arc<Caller>,
    key: SessionKey,
}

impl Seen {
    /// Key of the session that `caller` names with `text` on `route`; `open` deciphers it, unless it is the one from
    /// before.
    pub(super) fn key(
        &self,
        caller: &Arc<Caller>,
        route: &str,
        text: &str,
        open: impl FnOnce() -> Option<SessionKey>,
    ) -> Option<SessionKey> {
        let known = |opened: &Opened| {
            let same = *opened.text == *text
                && *opened.route == *route
                && Arc::ptr_eq(&opened.caller, caller);
            same.then_some(opened.key)
        };
        let key = self.first.get().and_then(known);
        let key = key.or_else(|| self.last.lock().as_ref().and_then(known));
        if key.is_some() {
            return key;
        }
        let key = open()?;
        let opened = Opened {
            text: text.into(),
            route: route.into(),
            caller: Arc::clone(caller),
            key,
        };
        if let Err(another) = self.first.set(opened) {
            *self.last.lock() = Some(another);
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    fn caller() -> Arc<Caller> {
        Arc::new(Caller {
            principal: "ci".into(),
            tenant: None,
            roles: Vec::new(),
            credential: "ci".into(),
            in_audit: OnceLock::new(),
        })
    }

    #[test]
    fn an_id_is_deciphered_again_for_whatever_else_it_is_bound_to() {
        let (seen, ours, theirs) = (Seen::default(), caller(), caller());
        let mut n_opened = 0;
        let mut ask = |caller, route, text, key| {
            let before = n_opened;
            let found = seen.key(caller, route, text, || {
                n_opened += 1;
                key
            });
            (found, n_opened - before)
        };
        let (one, other) = (Some([1; 16]), Some([2; 16]));
        assert_eq!(ask(&ours, "/mcp", "a", one), (one, 1));
        assert_eq!(ask(&ours, "/mcp", "a", None), (one, 0));
        // What opens nothing changes nothing.
        assert_eq!(ask(&theirs, "/mcp", "a", None), (None, 1));
        assert_eq!(ask(&ours, "/s/x/mcp", "a", None), (None, 1));
        assert_eq!(ask(&ours, "/mcp", "A", None), (None, 1));
        assert_eq!(ask(&ours, "/mcp", "a", None), (one, 0));
        assert_eq!(ask(&ours, "/mcp", "b", other), (other, 1));
        assert_eq!(ask(&ours, "/mcp", "b", None), (other, 0));
        // The first is kept beside the last.
        assert_eq!(ask(&ours, "/mcp", "a", None), (one, 0));
        assert_eq!(ask(&ours, "/mcp", "c", one), (one, 1));
        assert_eq!(ask(&ours, "/mcp", "b", other), (other, 1));
        assert_eq!(ask(&ours, "/mcp", "a", None), (one, 0));
    }
}
