//! What is wrong with a configuration: every problem names the key, the line and the remedy.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One thing that is wrong, or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line in the file, from 1. `None` when the text did not come from a file or the line is not known.
    pub line: Option<u32>,
    /// Key, for example `servers.github.timeout`. Empty for the file as a whole.
    pub key: String,
    /// What is wrong, without full stop.
    pub what: String,
    /// What to do about it, without full stop.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// How strictly a text is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rigour {
    /// Somebody writes it now, and hears of each slip.
    #[default]
    Written,
    /// A cluster runs with it: what an earlier version took without a word is told, and taken.
    InForce,
}

/// Why a configuration was refused: everything that is wrong, in the order of the file.
///
/// Shown one problem a line, as `FILE:LINE: KEY: what; remedy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Problems {
    /// File that was read, as it was named. `None` for settings that came over the API.
    pub file: Option<PathBuf>,
    /// At least one.
    pub list: Vec<Problem>,
}

impl Problems {
    /// A refusal for one reason that has no line.
    pub(crate) fn one(file: Option<&Path>, what: String, remedy: &str) -> Self {
        let problem = Problem {
            line: None,
            key: String::new(),
            what,
            remedy: remedy.to_owned(),
        };
        Self {
            file: file.map(Path::to_owned),
            list: vec![problem],
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write_at(f, self.file.as_deref(), problem)?;
        }
        Ok(())
    }
}

fn write_at(f: &mut fmt::Formatter<'_>, file: Option<&Path>, problem: &Problem) -> fmt::Result {
    match (file, problem.line) {
        (Some(file), Some(line)) => write!(f, "{}:{line}: {problem}", file.display()),
        (Some(file), None) => write!(f, "{}: {problem}", file.display()),
        (None, _) => write!(f, "{problem}"),
    }
}
