//! What a caller may use. [`Access`] is compiled once per set of roles and tenant and answers in well under a
//! microsecond; [`ToolRules`] holds what the configuration says about single tools of a server.

mod access;
mod pattern;
mod pattern_set;
mod quota;
#[cfg(test)]
mod tests;
mod tool_rules;
mod uri;

pub use self::access::{Access, Verdict};
pub use self::pattern::PatternError;
pub use self::quota::{Draw, Quotas};
pub use self::tool_rules::ToolRules;
