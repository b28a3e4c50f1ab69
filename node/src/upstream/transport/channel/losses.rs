//! Figures of what a channel lost.

/// What was seen and not passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Lines and events that were not MCP: banners, debug prints.
    pub stray_lines: u64,
    /// Notifications that found their reader too slow.
    pub dropped: u64,
}
