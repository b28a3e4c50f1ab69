//! What a limit is counted for.

use std::fmt;
use std::sync::Arc;

/// One account: a rule of the configuration and whom it counts, for example `acme/principal/requests/1d` and `ci-bot`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which rule. The same text as long as the rule means the same, so that raising its number keeps the level.
    pub rule: Arc<str>,
    /// Whom it counts.
    pub subject: Arc<str>,
}

impl Key {
    /// The account of `subject` under `rule`.
    pub fn new(rule: impl Into<Arc<str>>, subject: impl Into<Arc<str>>) -> Self {
        Self {
            rule: rule.into(),
            subject: subject.into(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.rule, self.subject)
    }
}
