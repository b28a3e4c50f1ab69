//! What one line of a report is about.

use super::target::Target;

/// Targets that are measured as one: their connections take turns among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Name in the report.
    pub(crate) name: String,
    /// Targets; at least one.
    pub(crate) targets: Vec<Target>,
}

impl From<&Target> for Lane {
    fn from(target: &Target) -> Self {
        Self {
            name: target.name.clone(),
            targets: vec![target.clone()],
        }
    }
}
