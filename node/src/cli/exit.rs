//! How a verb ends.

use std::process::ExitCode;

/// Exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: refused or failed.
    Failed,
    /// 2: the command line is wrong.
    Usage,
    /// 3: could not check.
    Unchecked,
    /// 78: a start was refused for its configuration, and would be again (`EX_CONFIG` of sysexits.h).
    Misconfigured,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unchecked => 3,
            Exit::Misconfigured => 78,
        })
    }
}

/// Why a verb did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Exit status.
    pub exit: Exit,
    /// What is wrong, without full stop.
    pub message: String,
    /// What to do about it, without full stop. Empty when the message says it.
    pub remedy: String,
}

impl Failure {
    /// A failure with status 1.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl From<crate::config::Problems> for Failure {
    fn from(problems: crate::config::Problems) -> Self {
        // Each problem carries its own remedy.
        Self::new(problems.to_string(), "")
    }
}
